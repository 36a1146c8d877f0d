"""Programs that ask for a watchdog by their environment or on the command line, a server among them."""

import os
import re
import signal
import subprocess
import sys
import threading
import time
import urllib.request

import pytest

from conftest import ROOT, run_boucle, run_python

pytestmark = pytest.mark.measures


def test_the_garbage_collector_is_named():
    """A collection of many objects holds the step that happens to allocate."""
    result = run_python(
        "-c",
        """if True:
        import asyncio, boucle, gc, time
        gc.disable()
        nodes = [[] for _ in range(3_000_000)]
        for node in nodes:
            node.append(node)
        seen = []
        watch = boucle.watch(0.05, on_starvation=seen.append)
        async def main():
            await asyncio.sleep(0.01)
            gc.collect()
            await asyncio.sleep(0.05)
        boucle.run(main())
        watch.stop()
        print({incident.cause for incident in seen})
        """,
        timeout=300,
    )
    assert result.stdout.strip() == "{'garbage collector'}", result.stderr


def test_the_end_of_the_program_ends_the_threads():
    for _ in range(3):
        result = run_python(
            *("-c", "import boucle, asyncio, time; boucle.run(asyncio.sleep(0.01)); time.sleep(0.01)"),
            BOUCLE_WATCH="50ms",
        )
        assert (result.returncode, result.stderr) == (0, "")


PROGRAM = """if True:
    import asyncio, time
    async def main():
        await asyncio.sleep(0.01)
        time.sleep(0.2)
        await asyncio.sleep(0.01)
    asyncio.run(main())
"""


@pytest.mark.parametrize("value", ["50ms", "0.05s", "0.05", " 50 ms "])
def test_the_environment_asks_for_a_watch(value):
    result = run_python("-c", "import boucle; boucle.install()\n" + PROGRAM, BOUCLE_WATCH=value)
    live, over = result.stderr.splitlines()
    assert re.match(r"boucle: event loop blocked \d+ ms and counting: Task-1 \(main\) at <string>:6", live)
    assert re.match(r"boucle: event loop was blocked for \d+ ms by Task-1 \(main\)", over)


@pytest.mark.parametrize("value", ["often", "0.0001", "-1s", "50 lightyears"])
def test_a_wrong_time_in_the_environment_is_refused(value):
    result = run_python("-c", "import boucle", BOUCLE_WATCH=value)
    assert f"ValueError: BOUCLE_WATCH={value}: expected a time such as 50ms" in result.stderr


def test_the_watchdog_needs_the_recorder():
    result = run_python("-c", "import boucle; boucle.watch()", BOUCLE_RECORD="0")
    assert "ValueError: the watchdog needs the recorder" in result.stderr
    result = run_python("-c", "import boucle", BOUCLE_RECORD="0", BOUCLE_WATCH="50ms")
    assert "ValueError: BOUCLE_WATCH needs the recorder" in result.stderr


@pytest.mark.parametrize("option", ["--watch", "--watch=100ms"])
def test_the_command_watches(tmp_path, option):
    program = tmp_path / "program.py"
    program.write_text(PROGRAM)
    result = run_boucle("run", option, program)
    assert len(result.stderr.splitlines()) == 2
    assert f"{program}:5  time.sleep(0.2)  [sleep]" in result.stderr


@pytest.fixture
def serve():
    """Starts the application and returns its process, its port, and what it has written to stderr with the time."""
    started = []

    def serve(**environment):
        clean = {name: value for name, value in os.environ.items() if not name.startswith(("BOUCLE_", "PYTHON"))}
        command = ["-m", "uvicorn", "watched_app:app", "--loop", "boucle:new_event_loop", "--port", "0"]
        process = subprocess.Popen(
            [sys.executable, *command, "--no-access-log"],
            cwd=ROOT / "tests",
            env=clean | {"BOUCLE_WATCH": "50ms"} | environment,
            stderr=subprocess.PIPE,
            text=True,
        )
        started.append(process)
        lines = []
        for line in process.stderr:
            listening = re.search(r"running on http://127\.0\.0\.1:(\d+)", line)
            if listening:
                break
        else:
            raise AssertionError(f"the server ended with status {process.wait()}")

        def read():
            for line in process.stderr:
                lines.append((time.monotonic(), line.rstrip("\n")))

        reader = threading.Thread(target=read)
        reader.start()
        return process, int(listening[1]), lines, reader

    yield serve
    for process in started:
        if process.poll() is None:
            process.kill()
        process.wait()
        process.stderr.close()


@pytest.mark.parametrize("log", ["", "1"])
def test_a_server_that_parses_much_json_says_so_while_it_does(serve, log):
    process, port, lines, reader = serve(LOG=log)
    with urllib.request.urlopen(f"http://127.0.0.1:{port}/report?password=secret", timeout=120) as answer:
        assert answer.read().endswith(b" rows")
    answered = time.monotonic()
    process.send_signal(signal.SIGINT)
    assert process.wait(timeout=60) == 0
    reader.join()

    text = "\n".join(line for _, line in lines)
    assert "secret" not in text
    place = r"at watched_app\.py:\d+  rows = json\.loads\(body\)  \[C code holding the GIL\]"
    live = rf"event loop blocked (\d+) ms and counting: GET /report \(Task-\d+\) {place}"
    # All wait for about as long; the server has a task that wakes up now and then.
    waiting = r"; (\d+) tasks are waiting, longest Task-\d+ \((?:chat|Server\.serve)\) \d+ ms"
    # While the handler holds the GIL, a line that needs none.
    [(at, _)] = [line for line in lines if re.match(f"boucle: {live}{waiting}", line[1])]
    assert at < answered
    blocked = r"event loop was blocked for .* by GET /report \(Task-\d+\)"
    over = re.search(rf"{blocked} {place}(?: for [^;]*)?; (\d+) had to wait: ", text)
    assert int(over[1]) >= 37
    assert "process pool" in text
    if log:
        late = re.search(rf"WARNING boucle {live}{waiting} \(told .* late: the GIL was held\)", text)
        assert int(late[2]) >= 37
        assert "WARNING boucle event loop was blocked for" in text
