"""The HTML page in a real browser: what it tells, what it draws, and what a reader can do with it.

Pictures are the same on all Pythons, so this runs on the newest. Screenshots are kept in out/html, to be looked at.
"""

import asyncio
import json
import re
import runpy
import sys
import threading
import time

import pytest

import boucle
from browser import HEIGHT, MISSING, Browser
from conftest import EXAMPLES, ROOT
from pages import bar, colours, drawn, saved, shown, step_of, text, view

pytestmark = [
    pytest.mark.measures,
    pytest.mark.skipif(sys.version_info < (3, 13), reason="pages are the same on all Pythons: tried on the newest"),
    pytest.mark.skipif(bool(MISSING), reason=str(MISSING)),
]

PICTURES = ROOT / "out" / "html"
SCENES = ROOT / "crates" / "boucle-chronology" / "tests" / "golden"
STEPS = 1_000_000


@pytest.fixture(scope="module")
def chromium():
    PICTURES.mkdir(parents=True, exist_ok=True)
    with Browser() as browser:
        yield browser


@pytest.fixture
def browser(chromium):
    """A page that complains, or asks for anything but itself, fails the test."""
    chromium.prefer("light")
    yield chromium
    assert chromium.messages() == []
    assert [address for address in chromium.requests() if not re.match(r"file:///\S+\.html|about:blank", address)] == []


@pytest.fixture(scope="module")
def starvation(tmp_path_factory):
    """The page of the example in which run1 lets run2 wait for a second."""
    main = runpy.run_path(str(EXAMPLES / "starvation.py"))["main"]
    with boucle.record(program="starvation.py") as chronology:
        boucle.run(main())
    return saved(chronology, tmp_path_factory)


@pytest.fixture(scope="module")
def crowd(tmp_path_factory):
    """The page of 200 tasks, one of which blocks."""

    async def handle(number):
        for turn in range(3):
            await asyncio.sleep(0.001 * (number % 37))
            if number == 77 and turn == 1:
                time.sleep(0.12)

    async def main():
        await asyncio.gather(*(asyncio.create_task(handle(n), name=f"request-{n}") for n in range(200)))

    with boucle.record(program="crowd.py") as chronology:
        boucle.run(main())
    return saved(chronology, tmp_path_factory)


@pytest.fixture(scope="module")
def million(tmp_path_factory):
    """The page of a million steps of two threads; one step is just past the threshold."""

    async def spin(steps):
        for _ in range(steps):
            await asyncio.sleep(0)

    async def main():
        tasks = 100
        steps = STEPS // 2 // tasks
        await asyncio.gather(*(asyncio.create_task(spin(steps), name=f"spinner-{n}") for n in range(tasks)))

    # So long that no step is looked at: one that the machine made long would be nobody's fault, and no block.
    with boucle.record(program="million.py", threshold=1000) as chronology:
        threads = [threading.Thread(target=lambda: boucle.run(main())) for _ in range(2)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
    # Whichever task's step was the longest is past this threshold, by next to nothing.
    chronology.threshold = max(task["longest_step"] for task in json.loads(chronology.json())["tasks"]) - 2e-6
    return saved(chronology, tmp_path_factory)


def test_the_page_says_in_words_who_starved_whom(browser, starvation):
    shown(browser, starvation)
    assert re.match(r"2 starvations, 2\.\d+ s of 2\.\d+ s", text(browser, "h1"))
    assert re.search(r"run\d held the processor for 1\.\d+ s", text(browser, ".story"))
    rows = browser.run("return [...document.querySelectorAll('#starvations tbody tr')].map((row) => row.innerText)")
    found = starvation.chronology.starvations
    assert [row.split("\t")[1] for row in rows] == [of.task for of in found] == ["run1", "run2"]
    assert all(row.split("\t")[2] == "pieces" and "starvation.py:" in row for row in rows)
    assert re.search(r"run2 1\.\d s$", rows[0])


def test_the_picture_has_blocks_and_waits_where_they_were(browser, starvation):
    shown(browser, starvation)
    browser.screenshot(PICTURES / "starvation.light.png")
    block = step_of(browser, "run1")
    for of_thread in (True, False):
        box = bar(browser, block, of_thread)
        # Before the threshold it runs, past it it is hatched; a text is in the middle.
        assert colours(browser, box.x + 2, box.y, 6, box.height)["running"] > 0.9
        hatched = colours(browser, box.x + box.width - 60, box.y, 50, box.height)
        # The edges of the hatching are neither the one colour nor the other.
        assert hatched["blocking"] > 0.25
        assert hatched["hatch"] > 0.05
        assert hatched.get("ready", 0) == 0
        before = colours(browser, box.x - 60, box.y, 20, box.height)
        assert before.get("blocking", 0) == 0
    victim = bar(browser, step_of(browser, "run2"))
    waiting = colours(browser, victim.x - 100, victim.y + 4, 60, victim.height - 8)
    assert waiting["ready"] > 0.8
    awaiting = colours(browser, bar(browser, block).x - 60, bar(browser, block).y, 30, bar(browser, block).height)
    assert 0.05 < awaiting["awaiting"] < 0.2


def test_pointing_at_a_bar_tells_it(browser, starvation):
    shown(browser, starvation)
    box = bar(browser, step_of(browser, "run1"), of_thread=True)
    browser.point(box.x + box.width / 2, box.y + 8)
    tooltip = text(browser, "#tooltip")
    assert re.match(r"run1 held the processor for 1\.\d\d s at 0\.\d+ s, after waiting \d", tooltip)
    assert re.search(r"run2 was ready and waited 1\.\d s for run1", tooltip)
    victim = bar(browser, step_of(browser, "run2"))
    browser.point(victim.x - 50, victim.y + 8)
    assert re.match(
        r"run2 was ready and waited 1\.\d s for run1\s+starvation\.py:\d+ → end in", text(browser, "#tooltip")
    )
    browser.point(5, 5)
    assert browser.run("return document.getElementById('tooltip').hidden")


def test_a_click_shows_details_that_lead_on(browser, starvation):
    shown(browser, starvation)
    block = step_of(browser, "run1")
    box = bar(browser, block)
    browser.click(box.x + box.width / 2, box.y + 8)
    panel = text(browser, "#panel")
    assert panel.startswith("run1 held the processor for 1.")
    for part in ("pieces", "woken by", "Had to wait meanwhile"):
        assert part in panel
    assert "time.sleep(1)" in text(browser, "#panel .line.held")
    assert "async def pieces" in text(browser, "#panel pre")
    browser.run(
        "[...document.querySelectorAll('#panel .waits button')].find((one) => one.textContent === 'run2').click()"
    )
    assert text(browser, "#panel").startswith("run2 held the processor")
    assert "Had to wait for" in text(browser, "#panel")
    waker = browser.run(
        """const terms = [...document.querySelectorAll("#panel dt")];
        const button = terms.find((term) => term.textContent === "woken by").nextSibling.querySelector("button");
        button.click();
        return button.textContent"""
    )
    assert "_set_result_unless_cancelled" in waker
    assert "_set_result_unless_cancelled held the processor" in text(browser, "#panel")
    # The name of a lane tells about the whole task.
    lane = bar(browser, block)
    browser.click(60, lane.y + 4)
    assert "longest step" in text(browser, "#panel")


def test_the_table_leads_to_the_picture(browser, starvation):
    shown(browser, starvation)
    browser.run("document.querySelectorAll('#starvations tbody tr')[1].querySelector('button').click()")
    assert text(browser, "#panel").startswith("run2 held the processor for 1.")
    assert browser.run("return document.querySelector('#starvations tr.selected').rowIndex") == 2
    drawn(browser)
    assert f"step={step_of(browser, 'run2')}" in browser.run("return location.hash")


def test_the_wheel_zooms_where_the_pointer_is(browser, starvation):
    shown(browser, starvation)
    canvas = browser.run("const box = viewer.canvas.getBoundingClientRect(); return { x: box.x, y: box.y }")
    under = "return viewer.timeline.timeAt(500) / 1e9"
    time_there = browser.run(under)
    browser.turn_wheel(canvas["x"] + 500, canvas["y"] + 100, -300)
    drawn(browser)
    assert view(browser).to - view(browser).start < 2
    assert browser.run(under) == pytest.approx(time_there, abs=1e-4)
    before = view(browser)
    browser.drag(canvas["x"] + 500, canvas["y"] + 150, canvas["x"] + 400, canvas["y"] + 150)
    drawn(browser)
    after = view(browser)
    assert after.start > before.start
    assert after.to - after.start == pytest.approx(before.to - before.start)
    for key, narrower in (("w", True), ("+", True), ("s", False), ("-", False)):
        width = view(browser).to - view(browser).start
        browser.press(key)
        drawn(browser)
        assert (view(browser).to - view(browser).start < width) == narrower, key
    browser.press("a")
    drawn(browser)
    assert view(browser).start < after.start
    browser.press("0")
    drawn(browser)
    assert view(browser).start == 0
    assert browser.run("return location.hash") == ""


def test_a_place_has_an_address(browser, starvation):
    shown(browser, starvation)
    block = step_of(browser, "run1")
    shown(browser, starvation, f"#from=0.4&to=0.9&step={block}")
    assert view(browser).start == pytest.approx(0.4)
    assert view(browser).to == pytest.approx(0.9)
    assert text(browser, "#panel").startswith("run1 held")
    browser.screenshot(PICTURES / "starvation.place.png")
    browser.press("+")
    drawn(browser)
    address = browser.run("return location.hash")
    assert re.fullmatch(rf"#from=0\.\d+&to=0\.\d+&step={block}", address)
    browser.run("location.hash = '#from=1&to=2'")
    drawn(browser)
    assert view(browser).to == pytest.approx(2)
    assert text(browser, "#panel").startswith("Details")
    # What makes no sense shows the whole recording.
    shown(browser, starvation, "#from=9&to=x&step=99999")
    assert view(browser).start == 0
    assert browser.run("return viewer.timeline.selected") == -1


def test_everything_can_be_reached_by_keys(browser, starvation):
    shown(browser, starvation)
    browser.press("n")
    assert text(browser, "#panel").startswith("run1 held")
    browser.press("n")
    assert text(browser, "#panel").startswith("run2 held")
    browser.press("p")
    assert text(browser, "#panel").startswith("run1 held")
    assert "run2 was ready and waited" in browser.run("return document.getElementById('status').textContent")
    browser.run("viewer.canvas.focus()")
    browser.press("left")
    assert re.match(r"run1 held the processor for [\d.]+ [µm]s", text(browser, "#panel"))
    browser.press("right")
    browser.press("enter")
    drawn(browser)
    assert view(browser).start > 0.1
    browser.press("?")
    assert "zoom" in text(browser, "#keys")
    browser.press("escape")
    assert text(browser, "#panel").startswith("Details")
    unnamed = browser.run(
        """const reachable = document.querySelectorAll("button, input, [tabindex='0']");
        const isNamed = (one) => one.textContent.trim() || one.ariaLabel || one.labels?.length;
        return [...reachable].filter((one) => !isNamed(one)).length"""
    )
    assert unnamed == 0


def test_search_finds_tasks_coroutines_and_files(browser, crowd):
    shown(browser, crowd)
    browser.press("/")
    browser.write("request-15")
    browser.press("enter")
    drawn(browser)
    # request-15 and request-150 to request-159
    assert text(browser, "#found") == "1 of 11"
    assert text(browser, "#panel").startswith("request-15 held")
    browser.press("enter")
    assert text(browser, "#found") == "2 of 11"
    assert text(browser, "#panel").startswith("request-150 held")
    browser.press("shift", "enter")
    browser.press("shift", "enter")
    assert text(browser, "#found") == "11 of 11"
    browser.run("document.getElementById('query').value = 'test_html.py'")
    browser.press("enter")
    assert re.match(r"1 of 20\d", text(browser, "#found"))
    browser.run("document.getElementById('query').value = 'no such task'")
    browser.press("enter")
    assert text(browser, "#found") == "nothing found"


def test_the_lane_of_a_block_is_scrolled_to(browser, crowd):
    shown(browser, crowd)
    browser.screenshot(PICTURES / "crowd.light.png")
    browser.press("n")
    drawn(browser)
    assert text(browser, "#panel").startswith("request-77 held the processor for 1")
    box = bar(browser, step_of(browser, "request-77"))
    assert 0 < box.y < HEIGHT
    assert colours(browser, box.x, box.y, box.width, box.height)["blocking"] > 0.2
    browser.screenshot(PICTURES / "crowd.block.png")
    lanes = browser.run("return viewer.timeline.rows.length")
    browser.run("document.getElementById('hide-idle').click()")
    browser.run(
        """const { timeline, run } = viewer;
        timeline.show(run.start[arguments[0]] - 1e4, run.end[arguments[0]] + 1e4);
        viewer.changed()""",
        step_of(browser, "request-36", blocking=False),
    )
    drawn(browser)
    assert 0 < browser.run("return viewer.timeline.rows.length") < lanes
    browser.screenshot(PICTURES / "crowd.active.png")


def test_dark_and_print(browser, starvation, crowd):
    for name, page in (("starvation", starvation), ("crowd", crowd)):
        shown(browser, page)
        browser.press("n")
        light = browser.run("return viewer.timeline.colour.page")
        browser.prefer("dark")
        drawn(browser)
        assert browser.run("return viewer.timeline.colour.page") != light
        browser.screenshot(PICTURES / f"{name}.dark.png")
        browser.print(PICTURES / f"{name}.pdf")
        # Printing is light, also for who prefers dark, and leaves the page as it was.
        assert browser.run("return viewer.timeline.colour.page") != light
        browser.prefer("light")
        drawn(browser)


def test_causes_places_and_advice_of_a_watched_run(browser, tmp_path_factory):
    shown(browser, saved(boucle.load(SCENES / "watched.boucle"), tmp_path_factory))
    assert "GET /report held the processor for 703 ms at shop.py:31 (sleep)" in text(browser, ".story")
    browser.press("n")
    panel = text(browser, "#panel")
    for part in (
        "await asyncio.sleep(…) instead",
        "478 ms here, sleep",
        "shop.py:31 in report",
        "225 ms here, Python code",
    ):
        assert part in panel
    assert "socket 10.0.0.3:5432" in text(browser, "#starvations")
    browser.run("document.querySelector('#panel summary').click()")
    assert re.search(r"pause|total", text(browser, "#panel details ol"))
    browser.screenshot(PICTURES / "watched.png")


def test_names_are_never_markup(browser, tmp_path_factory):
    evil = '</script><img src=x onerror="window.broken=1"><script>window.broken=1</script>'

    async def main():
        await asyncio.create_task(asyncio.sleep(0), name=evil)
        task = asyncio.create_task(block(), name=evil)
        await task

    async def block():
        time.sleep(0.06)

    with boucle.record(program=evil) as chronology:
        boucle.run(main())
    shown(browser, saved(chronology, tmp_path_factory))
    browser.press("n")
    box = bar(browser, browser.run("return viewer.run.starvations[0].step"))
    browser.point(box.x + 2, box.y + 5)
    assert "</script><img src=x" in text(browser, "#panel h2")
    assert "</script><img src=x" in text(browser, "#tooltip")
    assert browser.run("return [window.broken ?? null, document.images.length, document.scripts.length]") == [
        None,
        0,
        2,
    ]


def test_a_damaged_page_says_so(browser, starvation, tmp_path):
    damaged = tmp_path / "damaged.html"
    damaged.write_text(re.sub(r'(id="data">.{60}).{8}', r"\1AAAAAAAA", starvation.path.read_text()))
    browser.open(damaged.as_uri())
    browser.run("return new Promise((done) => setTimeout(done, 300))")
    assert "cannot be shown" in text(browser, "#trouble")
    assert any("Uncaught" in message for message in browser.messages())


def test_quantities_read_as_in_other_pictures(browser, starvation):
    """The same table as in the tests of quantity.rs."""
    shown(browser, starvation)
    expected = {
        0: ["0 s", "0 s"],
        80: ["80 ns", "80 ns"],
        999: ["999 ns", "999 ns"],
        1_250: ["1.3 µs", "1.25 µs"],
        310_400: ["310 µs", "310 µs"],
        9_960_000: ["10 ms", "9.96 ms"],
        9_996_000: ["10 ms", "10.0 ms"],
        52_345_678: ["52 ms", "52.3 ms"],
        999_600_000: ["1.0 s", "1.00 s"],
        12_340_000_000: ["12 s", "12.3 s"],
        119_600_000_000: ["2 min", "2 min"],
        125_400_000_000: ["2 min 5 s", "2 min 5 s"],
        3_720_000_000_000: ["1 h 2 min", "1 h 2 min"],
    }
    told = browser.run("return arguments[0].map((time) => [short(time), precise(time)])", list(expected))
    assert dict(zip(expected, told, strict=True)) == expected
    shares = browser.run("return [0, 0.0001, 0.001, 0.0995, 0.8, 1].map(percent)")
    assert shares == ["0 %", "< 0.1 %", "0.1 %", "10 %", "80 %", "100 %"]
    assert browser.run("return [count(1, 'task'), count(12345, 'step')]") == ["1 task", "12,345 steps"]


@pytest.mark.timeout(600)
def test_a_million_steps_open_and_a_block_among_them_is_seen(browser, million, capsys):
    shown(browser, million)
    browser.screenshot(PICTURES / "million.png")
    marks = browser.run(
        "return performance.getEntriesByType('mark').map((mark) => [mark.name, Math.round(mark.startTime)])"
    )
    steps, size = browser.run("return viewer.run.count"), million.path.stat().st_size
    frames = {}
    for name, zoom in (("all", 1), ("a tenth", 0.1), ("a thousandth", 0.01)):
        frames[name] = browser.run(
            """viewer.timeline.zoom(arguments[0]);
            const begin = performance.now();
            for (let frame = 0; frame < 20; frame += 1) viewer.timeline.draw();
            return Number(((performance.now() - begin) / 20).toFixed(1))""",
            zoom,
        )
    with capsys.disabled():
        print(f"\n{steps} steps, {size / 1e6:.1f} MB; after ms: {json.dumps(marks)}; ms a frame: {json.dumps(frames)}")
    assert steps >= STEPS
    assert size < 8_000_000
    assert dict(marks)["boucle: drawn"] < 30_000
    browser.press("0")
    drawn(browser)
    block = browser.run(
        """const { run } = viewer;
        return run.starvations.find(({ step }) => run.durationOf(step) - run.threshold < 1e4).step"""
    )
    # What is past the threshold is a small part of a pixel, and shown as two.
    box = bar(browser, block, of_thread=True)
    end = colours(browser, int(box.x + box.width) - 3, box.y + 2, 6, box.height - 4)
    assert end["blocking"] == pytest.approx(2 / 6)
