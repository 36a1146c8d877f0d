"""BOUCLE_STATS=FILE: a line of counts for each process that ends."""

import json

import pytest

from conftest import run_python

PROGRAM = """
import asyncio, gc, sys, warnings
import boucle

async def main():
    await asyncio.gather(*(asyncio.sleep(0) for _ in range(10)))
    await asyncio.get_running_loop().create_task(asyncio.sleep(0), name="named")

boucle.run(main())
boucle.run(main())
"""


@pytest.fixture
def stats(tmp_path):
    """Runs a program. Returns its lines."""

    def stats(program):
        path = tmp_path / "stats"
        result = run_python("-W", "ignore", "-c", program, BOUCLE_STATS=str(path))
        assert result.returncode == 0, result.stderr
        assert "Exception ignored" not in result.stderr, result.stderr
        return [json.loads(line) for line in path.read_text().splitlines()] if path.exists() else []

    return stats


def test_loops_turns_steps_and_tasks_are_counted(stats):
    (line,) = stats(PROGRAM)
    assert sorted(line) == ["loops", "native_tasks", "pid", "steps", "turns"]
    assert line["loops"] == 2
    # Each run makes main, ten of gather, one with a name; asyncio.Runner ends with two of its own on newer Pythons.
    assert 24 <= line["native_tasks"] <= 30
    assert line["turns"] >= 6
    assert line["steps"] >= line["native_tasks"]


def test_an_open_loop_counts_too(stats):
    (line,) = stats("import boucle; loop = boucle.new_event_loop(); loop.call_soon(loop.stop); loop.run_forever()")
    assert (line["loops"], line["turns"], line["steps"]) == (1, 1, 1)


def test_a_loop_that_was_forgotten_counts_too(stats):
    (line,) = stats(
        "import boucle, gc; loop = boucle.new_event_loop(); loop.call_soon(loop.stop); loop.run_forever(); "
        "del loop; gc.collect()"
    )
    assert (line["loops"], line["turns"]) == (1, 1)


def test_a_loop_whose_sockets_went_first_counts_too(stats):
    (line,) = stats(
        "import boucle; loop = boucle.new_event_loop(); loop.call_soon(loop.stop); loop.run_forever(); "
        "loop._ssock.close(); loop._csock.close(); del loop"
    )
    assert (line["loops"], line["turns"]) == (1, 1)


def test_closing_twice_counts_once(stats):
    (line,) = stats(
        "import boucle; loop = boucle.new_event_loop(); loop.call_soon(loop.stop); loop.run_forever(); "
        "loop.close(); loop.close()"
    )
    assert (line["loops"], line["turns"]) == (1, 1)


def test_a_process_without_a_loop_says_so(stats):
    (line,) = stats("import boucle")
    assert (line["loops"], line["turns"], line["native_tasks"]) == (0, 0, 0)


def test_asyncios_loops_are_not_counted(stats):
    (line,) = stats("import asyncio, boucle; loop = asyncio.SelectorEventLoop(); loop.close()")
    assert line["loops"] == 0


def test_asyncios_tasks_are_not_counted(tmp_path):
    path = tmp_path / "stats"
    result = run_python("-c", PROGRAM, BOUCLE_STATS=str(path), BOUCLE_TASKS="c")
    assert result.returncode == 0, result.stderr
    assert json.loads(path.read_text())["native_tasks"] == 0


def test_each_process_writes_a_line_and_a_forked_one_none(stats):
    lines = stats(
        PROGRAM
        + """
import os, subprocess
subprocess.run([sys.executable, "-c", "import boucle; boucle.new_event_loop().close()"], check=True)
child = os.fork()
if child == 0:
    sys.exit()
os.waitpid(child, 0)
"""
    )
    assert [line["loops"] for line in lines] == [1, 2]
    assert lines[0]["pid"] != lines[1]["pid"]


def test_subclasses_are_loops(stats):
    (line,) = stats("import boucle; loop = type('Mine', (boucle.Loop,), {})(); loop.close()")
    assert line["loops"] == 1
