"""The programs of examples/ do what they say: run by python, and by boucle."""

import subprocess
import sys
import time

import pytest

from conftest import EXAMPLES, run_boucle, run_python


@pytest.fixture(params=["python", "boucle run"])
def run(request):
    """Runs an example. Returns its output and how long it took."""

    def run(name):
        began = time.monotonic()
        result = run_python(EXAMPLES / name) if request.param == "python" else run_boucle("run", EXAMPLES / name)
        assert result.returncode == 0, result.stderr
        assert result.stderr == ""
        return result.stdout.splitlines(), time.monotonic() - began

    return run


def test_pieces(run):
    output, took = run("pieces.py")
    assert output == [
        *("run1 start", "run2 start", "run1 middle", "run2 middle", "run1 end", "run2 end"),
        "['run1 in pieces', 'run2 in pieces'] on 1 thread",
    ]
    assert took >= 1.5


def test_starvation(run):
    output, took = run("starvation.py")
    assert output == [
        *("run1 start", "run2 start", "run1 middle", "run1 end", "run2 middle", "run2 end"),
        "['run1 in pieces', 'run2 in pieces']",
    ]
    assert took >= 2.5


def test_breathing(run):
    output, _ = run("breathing.py")
    assert output == ["sum of squares: 2666664666667000000", "the clock ticked during the computation: True"]


def test_no_lock_needed(run):
    output, _ = run("no_lock_needed.py")
    assert output[0].split() == ["coroutines,", "no", "lock:", "200000", "of", "200000"]
    assert output[1].split() == ["threads,", "a", "lock:", "4000", "of", "4000"]
    without = output[2].split()
    assert without[:3] == ["threads,", "no", "lock:"]
    assert int(without[3]) < 4000


def test_real_events(run):
    output, _ = run("real_events.py")
    assert output == ["nothing yet: True", "socket: hello", "pipe: world"]


def test_ways_to_launch():
    result = run_python(EXAMPLES / "ways_to_launch.py")
    assert result.returncode == 0, result.stderr
    lines = result.stdout.splitlines()
    assert len(lines) == 3 + (sys.version_info >= (3, 11)) + (sys.version_info >= (3, 12))
    assert all(line.endswith(" boucle.Loop") for line in lines), result.stdout


PRINT_LOOP = (
    "import asyncio\nasync def main(): print(type(asyncio.get_running_loop()).__module__)\nasyncio.run(main())\n"
)


def test_boucle_run_runs_a_file(tmp_path):
    (tmp_path / "neighbour.py").write_text("value = 'imported'\n")
    program = tmp_path / "program.py"
    program.write_text("import sys, neighbour\nprint(sys.argv[1:], neighbour.value, __name__)\n" + PRINT_LOOP)
    result = run_boucle("run", program, "--option", "argument")
    assert result.stdout.splitlines() == ["['--option', 'argument'] imported __main__", "boucle._loop"], result.stderr


def test_boucle_run_runs_a_module(tmp_path):
    (tmp_path / "package").mkdir()
    (tmp_path / "package" / "__init__.py").write_text("")
    (tmp_path / "package" / "__main__.py").write_text("import sys\nprint(sys.argv[1:])\n" + PRINT_LOOP)
    command = "import sys; from boucle._cli import main; sys.exit(main())"
    result = subprocess.run(
        [sys.executable, "-c", command, "run", "-m", "package", "argument"],
        capture_output=True,
        text=True,
        cwd=tmp_path,
        timeout=60,
    )
    assert result.stdout.splitlines() == ["['argument']", "boucle._loop"], result.stderr
