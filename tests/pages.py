"""What tests ask of a chronology's page in a browser: where a step is, which colours are there, what a part says.

The page keeps what it has read as `viewer`, see the end of the crate's html/viewer.js.
"""

import time
from types import SimpleNamespace


def saved(chronology, tmp_path_factory):
    path = tmp_path_factory.mktemp("page") / "run.html"
    chronology.save(path)
    return SimpleNamespace(chronology=chronology, path=path, address=path.as_uri())


def shown(browser, page, place=""):
    """Opens a page at a place and waits until it is drawn."""
    browser.open(page.address + place)
    deadline = time.monotonic() + 60
    while not browser.run("return !!window.viewer || !document.getElementById('trouble').hidden"):
        assert time.monotonic() < deadline, "the page was not drawn"
        time.sleep(0.02)
    assert browser.run("return document.getElementById('trouble').textContent") == ""


def drawn(browser):
    """Waits until what was changed is drawn and stands in the address."""
    browser.run("return new Promise((done) => setTimeout(() => requestAnimationFrame(done), 250))")


def text(browser, selector):
    return browser.run("return document.querySelector(arguments[0]).innerText", selector)


def step_of(browser, name, blocking=True):
    """The step of a task past the threshold, or its last one."""
    return browser.run(
        """const { run } = viewer;
        const steps = [...Array(run.count).keys()].filter((step) => run.nameOf(step) === arguments[0]);
        const blocks = steps.filter((step) => run.starvationBy(step));
        return arguments[1] ? blocks[0] : steps[steps.length - 1]""",
        name,
        blocking,
    )


def bar(browser, step, of_thread=False):
    """The rectangle of a step in the window: x, y, width, height."""
    return SimpleNamespace(
        **browser.run(
            """const { timeline, run } = viewer;
            const lane = arguments[1] ? run.laneOfThread[run.thread[arguments[0]]] : run.laneOf(arguments[0]);
            const { x, y, width, height } = timeline.rectangle(arguments[0], lane);
            const box = timeline.canvas.getBoundingClientRect();
            return { x: box.x + x, y: box.y + y, width, height }""",
            step,
            of_thread,
        )
    )


def colours(browser, x, y, width, height):
    """How often each named colour is in a rectangle of the window, as a share of its pixels."""
    return browser.run(
        """const { timeline } = viewer;
        const box = timeline.canvas.getBoundingClientRect();
        const copy = document.createElement("canvas");
        [copy.width, copy.height] = [timeline.canvas.width, timeline.canvas.height];
        const context = copy.getContext("2d", { willReadFrequently: true });
        context.drawImage(timeline.canvas, 0, 0);
        const [x, y, width, height] = arguments;
        const { data } = context.getImageData(Math.round(x - box.x), Math.round(y - box.y), width, height);
        const named = {};
        for (const name of ["running", "blocking", "hatch", "ready", "ready-edge", "awaiting"]) {
          const probe = new OffscreenCanvas(1, 1).getContext("2d");
          probe.fillStyle = timeline.colour[name];
          probe.fillRect(0, 0, 1, 1);
          named[probe.getImageData(0, 0, 1, 1).data.join()] = name;
        }
        const shares = {};
        for (let at = 0; at < data.length; at += 4) {
          const name = named[data.slice(at, at + 4).join()] ?? "other";
          shares[name] = (shares[name] ?? 0) + 4 / data.length;
        }
        return shares""",
        x,
        y,
        max(int(width), 1),
        max(int(height), 1),
    )


def view(browser):
    """The range of time that is seen, in seconds."""
    seen = browser.run("return viewer.timeline.view")
    return SimpleNamespace(start=seen["from"] / 1e9, to=seen["to"] / 1e9)
