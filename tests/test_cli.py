"""The command boucle: what it prints, where, and with which status."""

import asyncio
import os
import re
import signal
import subprocess
import sys
import time

import pytest

from conftest import EXAMPLES, ROOT, run_boucle, run_python

COMMAND = [sys.executable, "-c", "import sys; from boucle._cli import main; sys.exit(main())"]


def test_help_reads_well():
    result = run_boucle("--help")
    assert result.returncode == 0
    for word in ("run", "record", "show", "kernel"):
        assert re.search(rf"^    {word} ", result.stdout, re.MULTILINE), result.stdout
    assert run_boucle().returncode == 2
    assert "usage: boucle" in run_boucle("record").stderr


def without_a_reader(*arguments):
    """Run the command where nobody reads what it prints, as at the end of `boucle ... | head -0`."""
    reading, writing = os.pipe()
    os.close(reading)
    try:
        return subprocess.run(
            [*COMMAND, *map(str, arguments)], stdout=writing, stderr=subprocess.PIPE, text=True, timeout=120, cwd=ROOT
        )
    finally:
        os.close(writing)


@pytest.mark.parametrize("unbuffered", ["", "1"])
@pytest.mark.parametrize(
    ("arguments", "status"),
    [(["--help"], 0), (["--version"], 0), (["show", "--help"], 0), ([], 2), (["top", "--help"], 0)],
)
def test_help_that_nobody_reads_to_the_end(arguments, status, unbuffered, monkeypatch):
    monkeypatch.setenv("PYTHONUNBUFFERED", unbuffered)
    result = without_a_reader(*arguments)
    assert (result.returncode, result.stderr) == (status, "")


def test_module_and_command_are_the_same():
    import boucle

    assert run_python("-m", "boucle", "--version").stdout == f"boucle {boucle.__version__}\n"
    assert run_boucle("--version").stdout == f"boucle {boucle.__version__}\n"


@pytest.mark.parametrize(
    ("statement", "status", "error"),
    [
        ("pass", 0, ""),
        ("raise SystemExit(7)", 7, ""),
        ("raise SystemExit('a reason')", 1, "a reason\n"),
        ("raise SystemExit", 0, ""),
    ],
)
def test_the_status_is_the_programs(tmp_path, statement, status, error):
    program = tmp_path / "program.py"
    program.write_text(f"import asyncio\nasync def main(): pass\nasyncio.run(main())\n{statement}\n")
    result = run_boucle("run", program)
    assert (result.returncode, result.stdout, result.stderr) == (status, "", error)


def test_a_traceback_begins_with_the_program(tmp_path):
    program = tmp_path / "program.py"
    program.write_text("import asyncio\nasync def main(): 1 / 0\nasyncio.run(main())\n")
    result = run_boucle("run", program)
    assert result.returncode == 1
    lines = result.stderr.splitlines()
    assert lines[0] == "Traceback (most recent call last):"
    assert str(program) in lines[1]
    assert "runpy" not in result.stderr
    assert "ZeroDivisionError: division by zero" in lines


def test_a_file_that_is_not_there():
    result = run_boucle("run", "nowhere.py")
    assert result.returncode == 1
    assert "nowhere.py" in result.stderr
    result = run_boucle("show", "nowhere.boucle")
    assert (result.returncode, result.stderr.splitlines()) == (
        1,
        ["boucle: error: [Errno 2] No such file or directory: 'nowhere.boucle'"],
    )


def test_a_program_that_runs_another_loop_is_told(tmp_path):
    program = tmp_path / "program.py"
    program.write_text(
        "import asyncio\nloop = asyncio.SelectorEventLoop()\nloop.run_until_complete(asyncio.sleep(0))\n"
    )
    result = run_boucle("run", program)
    assert result.returncode == 0
    assert "never ran a boucle loop: it ran asyncio.unix_events._UnixSelectorEventLoop" in result.stderr
    program.write_text("print('no loop')\n")
    result = run_boucle("record", "-o", tmp_path / "run.txt", program)
    assert "the program never ran an event loop" in result.stderr
    assert result.stdout == "no loop\n"


def test_record_refuses_a_name_before_it_runs(tmp_path):
    result = run_boucle("record", "-o", "run.gif", EXAMPLES / "pieces.py")
    assert result.returncode == 1
    assert result.stdout == ""
    assert "run.gif" in result.stderr
    assert ".html, .svg, .txt, .json, .pftrace and .boucle" in result.stderr


@pytest.fixture
def recording(tmp_path):
    path = tmp_path / "run.boucle"
    program = tmp_path / "program.py"
    program.write_text("import asyncio\nasync def main(): await asyncio.sleep(0.01)\nasyncio.run(main())\n")
    result = run_boucle("record", "-o", path, program)
    assert result.returncode == 0, result.stderr
    assert re.fullmatch(r"boucle: recorded 0\.\d\d s, \d+ steps: .*run\.boucle\n", result.stderr)
    return path


@pytest.mark.parametrize("options", [[], ["--json"], ["--annotate", "--threshold", "1us"]])
def test_a_recording_that_nobody_reads_to_the_end(recording, options):
    result = without_a_reader("show", recording, *options)
    assert (result.returncode, result.stderr) == (0, "")


def test_show_prints_text_and_converts(recording, tmp_path):
    text = run_boucle("show", recording, "--width", "80")
    assert text.returncode == 0
    assert "program.py" in text.stdout
    assert "\x1b" not in text.stdout, "no colours where nobody can see them"
    assert max(map(len, text.stdout.splitlines())) <= 80
    svg = tmp_path / "run.svg"
    assert run_boucle("show", recording, "-o", svg).returncode == 0
    assert svg.read_text().startswith("<svg")
    page = tmp_path / "run.html"
    assert run_boucle("show", recording, "-o", page).returncode == 0
    assert page.read_text().startswith("<!DOCTYPE html>")
    trace = tmp_path / "run.pftrace"
    assert run_boucle("show", recording, "-o", trace).returncode == 0
    assert trace.read_bytes()


@pytest.mark.parametrize(("setting", "coloured"), [({}, True), ({"NO_COLOR": "1"}, False), ({"TERM": "dumb"}, False)])
def test_a_terminal_gets_colours(recording, setting, coloured):
    import pty

    ours, theirs = pty.openpty()
    environment = {**os.environ, "TERM": "xterm", "COLUMNS": "100", **setting}
    environment.pop("NO_COLOR", None) if "NO_COLOR" not in setting else None
    process = subprocess.Popen([*COMMAND, "show", str(recording)], stdout=theirs, env=environment, cwd=ROOT)
    os.close(theirs)
    output = b""
    while True:
        try:
            data = os.read(ours, 4096)
        except OSError:
            break
        if not data:
            break
        output += data
    os.close(ours)
    assert process.wait(timeout=30) == 0
    assert (b"\x1b[" in output) is coloured


@pytest.mark.parametrize(
    ("threshold", "starvations"), [("5ms", 1), ("0.005", 1), ("5000us", 1), ("500ms", 0), ("0.5s", 0)]
)
def test_the_threshold_can_be_given(tmp_path, threshold, starvations):
    import json

    program = tmp_path / "program.py"
    program.write_text("import asyncio, time\nasync def main(): time.sleep(0.05)\nasyncio.run(main())\n")
    path = tmp_path / "run.json"
    assert run_boucle("record", "--threshold", threshold, "-o", path, program).returncode == 0
    assert len(json.loads(path.read_text())["starvations"]) == starvations


@pytest.mark.parametrize("threshold", ["soon", "-1s", "0", "1h"])
def test_a_threshold_that_is_none(threshold):
    result = run_boucle("show", f"--threshold={threshold}", "run.boucle")
    assert result.returncode == 2
    assert "is no time: write 50ms" in result.stderr


@pytest.mark.parametrize(("number", "status"), [(signal.SIGINT, 130), (signal.SIGTERM, 143)])
def test_record_saves_when_the_program_is_asked_to_end(tmp_path, number, status):
    program = tmp_path / "program.py"
    program.write_text(
        "import asyncio\n"
        "async def main():\n"
        "    print('ready', flush=True)\n"
        "    await asyncio.sleep(60)\n"
        "asyncio.run(main())\n"
    )
    path = tmp_path / "run.txt"
    process = subprocess.Popen(
        [*COMMAND, "record", "-o", str(path), str(program)], stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True
    )
    assert process.stdout.readline() == "ready\n"
    time.sleep(0.05)
    process.send_signal(number)
    process.communicate(timeout=30)
    assert process.returncode == status
    assert "program.py" in path.read_text()


def test_the_loop_is_ours_for_asyncio_run():
    async def kind():
        return type(asyncio.get_running_loop()).__module__

    import boucle

    assert boucle.run(kind()) == "boucle._loop"
