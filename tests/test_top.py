"""boucle top: the live view of another process, in a real terminal."""

import json
import os
import re
import shutil
import signal
import subprocess
import sys
import sysconfig
import time
from pathlib import Path

import pexpect
import pyte
import pytest

import boucle
from boucle import _cli
from conftest import ROOT

pytestmark = pytest.mark.skipif(sys.version_info < (3, 13), reason="one program for all Pythons: tried on the newest")

STARVATION = ROOT / "crates" / "boucle-chronology" / "tests" / "golden" / "starvation.boucle"
COMMAND = [sys.executable, "-c", "import sys; from boucle._cli import main; sys.exit(main())"]
PATIENCE = 60
"""Seconds: nothing here takes that long, however loaded the machine is."""


def run(*arguments, **environment):
    """What `boucle top` prints, and its status."""
    command = [*COMMAND, "top", *map(str, arguments)]
    return subprocess.run(
        command,
        capture_output=True,
        text=True,
        timeout=PATIENCE,
        env=os.environ | environment,
        stdin=subprocess.DEVNULL,
    )


class Terminal:
    """A terminal in which `boucle top` runs, and what it shows."""

    def __init__(self, *arguments, columns=100, rows=30, **environment):
        self._screen = pyte.Screen(columns, rows)
        self._stream = pyte.ByteStream(self._screen)
        self._process = pexpect.spawn(
            COMMAND[0],
            [*COMMAND[1:], "top", *map(str, arguments)],
            dimensions=(rows, columns),
            env=os.environ | {"TERM": "xterm-256color", "NO_COLOR": ""} | environment,
        )

    def __enter__(self):
        return self

    def __exit__(self, *exception):
        self._process.close(force=True)

    def lines(self):
        """The lines on the screen now."""
        while True:
            try:
                self._stream.feed(self._process.read_nonblocking(65536, timeout=0.05))
            except (pexpect.TIMEOUT, pexpect.EOF):
                return [line.rstrip() for line in self._screen.display]

    def wait_for(self, *patterns, gone=()):
        """The lines, once each pattern is found in one of them, and none of `gone`."""
        deadline = time.monotonic() + PATIENCE
        while time.monotonic() < deadline:
            lines = self.lines()
            text = "\n".join(lines)
            found = all(re.search(pattern, text, re.MULTILINE) for pattern in patterns)
            if found and not any(re.search(pattern, text, re.MULTILINE) for pattern in gone):
                return lines
        pytest.fail(f"{patterns} did not come, or {gone} did not go:\n" + "\n".join(self.lines()))

    def type(self, keys):
        """Press keys."""
        self._process.send(keys)

    def resize(self, columns, rows):
        """Make the window as large as this."""
        self._process.setwinsize(rows, columns)
        self._screen.resize(rows, columns)

    def colours(self, text):
        """The colours, foreground and background, in which a text begins."""
        for row, line in enumerate(self._screen.display):
            if text in line:
                cell = self._screen.buffer[row][line.index(text)]
                return cell.fg, cell.bg
        raise AssertionError(f"{text!r} is not on the screen")

    def status(self):
        """The status with which it ended."""
        self._process.expect(pexpect.EOF, timeout=PATIENCE)
        self._process.wait()
        return self._process.exitstatus


def test_help_and_wrong_calls():
    result = run("--help")
    assert (result.returncode, result.stderr) == (0, "")
    assert result.stdout.startswith("usage: boucle top [OPTIONS] PID\n")
    for option in ("--interval", "--window", "--threshold", "--once", "--json", "--replay"):
        assert option in result.stdout
    assert run("--version").stdout == f"boucle-top {boucle.__version__}\n"
    for arguments in ([], ["shop"], ["1", "2"], ["--fast", "1"]):
        result = run(*arguments)
        assert (result.returncode, result.stdout) == (2, "")
        assert result.stderr.startswith("boucle top: ")
        assert "boucle top --help explains" in result.stderr


def test_the_command_lists_it():
    listed = subprocess.run([*COMMAND, "--help"], capture_output=True, text=True, timeout=PATIENCE).stdout
    assert re.search(r"^    top +the live view of another process", listed, re.MULTILINE)


def test_the_viewer_has_the_version_of_the_package():
    extra = re.search(r'^top = \["boucle-top==(.*?)"\]', (ROOT / "pyproject.toml").read_text(), re.MULTILINE)
    assert extra.group(1) == boucle.__version__


def test_without_the_viewer_it_says_what_to_install(tmp_path):
    # A Python for which no program was ever installed: only a link, without an environment around it.
    python = tmp_path / "python3"
    python.symlink_to(Path(sys.executable).resolve())
    command = [python, "-c", "import sys; from boucle._cli import main; sys.exit(main())", "top", "1"]
    package = str(Path(boucle.__file__).parent.parent)
    scripts = Path(sysconfig.get_path("scripts", vars={"base": sys.base_prefix}))
    if (scripts / "boucle-top").exists():
        pytest.skip("the Python behind this environment has the viewer")
    environment = {"PATH": str(tmp_path), "PYTHONPATH": package, "HOME": str(tmp_path)}
    result = subprocess.run(command, capture_output=True, text=True, timeout=PATIENCE, env=environment)
    assert result.returncode == 1
    assert "pip install 'boucle[top]'" in result.stderr


def test_once_prints_one_screen():
    result = run("--once", "--replay", STARVATION, COLUMNS="100", LINES="20")
    assert (result.returncode, result.stderr) == (0, "")
    lines = result.stdout.splitlines()
    assert len(lines) == 20
    assert all(len(line) <= 100 for line in lines)
    assert "\x1b" not in result.stdout
    assert re.search(r"^ !✓ run1 +1\.00 s", result.stdout, re.MULTILINE)
    assert re.search(r"1\.00 s +run1 +starvation\.py:7", result.stdout)


def test_json_is_the_analysis():
    result = run("--json", "--replay", STARVATION)
    shown = subprocess.run([*COMMAND, "show", "--json", STARVATION], capture_output=True, text=True, timeout=PATIENCE)
    assert json.loads(result.stdout) == json.loads(shown.stdout)


def test_what_cannot_be_read_is_told(tmp_path):
    nothing = tmp_path / "nothing.boucle"
    result = run("--once", "--replay", nothing)
    assert (result.returncode, result.stdout) == (1, "")
    assert str(nothing) in result.stderr
    nothing.write_bytes(b"something else")
    assert f"boucle top: error: {nothing}: " in run("--json", "--replay", nothing).stderr
    # A view needs a terminal.
    result = run("--replay", STARVATION)
    assert result.returncode == 1
    assert "--once" in result.stderr


def test_a_recording_plays_and_keys_answer():
    with Terminal("--replay", STARVATION) as terminal:
        terminal.wait_for(r"BLOCKED .* and counting: run1 \(pieces\) from starvation\.py:7 on", r"◆ run2")
        terminal.wait_for(r"the recording ends here", r"run1", r"run2")
        terminal.type("n")
        terminal.wait_for("task▾")
        terminal.type("/run\r")
        terminal.wait_for('2 with "run"', gone=["Task-1"])
        terminal.resize(60, 12)
        terminal.wait_for("the recording ends here")
        terminal.resize(100, 30)
        terminal.type("\t\r")
        terminal.wait_for("who was ready and had to wait")
        terminal.type("\x1b")
        terminal.wait_for(r"task▾", gone=["who was ready"])
        terminal.type("q")
        assert terminal.status() == 0


def test_colours_can_be_refused():
    with Terminal("--replay", STARVATION) as terminal:
        terminal.wait_for("the recording ends here")
        assert terminal.colours("the recording ends here")[1] != "default"
    with Terminal("--replay", STARVATION, NO_COLOR="1") as terminal:
        terminal.wait_for("the recording ends here")
        assert terminal.colours("the recording ends here") == ("default", "default")


PROGRAM = """
import asyncio, itertools, signal, sys, time
import boucle

async def chat():
    while True:
        await asyncio.sleep(0.01)

async def busy():
    while True:
        sum(range(10_000))
        await asyncio.sleep(0.001)

async def report():
    while True:
        command = await asyncio.to_thread(sys.stdin.readline)
        if command == "block\\n":
            print("blocking", flush=True)
            sys.stdin.readline()
        elif command == "freeze\\n":
            print("freezing", flush=True)
            time.sleep(3600)
        elif command == "compute\\n":
            print("computing", flush=True)
            sum(itertools.repeat(1, 10**12))

async def main():
    asyncio.create_task(chat(), name="chat")
    asyncio.create_task(busy(), name="worker")
    await asyncio.create_task(report(), name="GET /report")

async def announce():
    print("running", flush=True)
    await main()

boucle.run(announce())
"""


class Program:
    """A process whose loop is watched: a busy task, a chat, and a request that blocks when it is told to."""

    def __init__(self, **environment):
        command = [sys.executable, "-c", PROGRAM]
        environment = os.environ | {"BOUCLE_RECORD": ""} | environment
        self._process = subprocess.Popen(
            command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True, env=environment
        )
        assert self._process.stdout.readline() == "running\n"
        self.pid = self._process.pid

    def __enter__(self):
        return self

    def __exit__(self, *exception):
        self._process.kill()
        self._process.communicate()

    def say(self, command, answer=None):
        """Tell it what to do, and wait until it says that it begins."""
        self._process.stdin.write(f"{command}\n")
        self._process.stdin.flush()
        if answer:
            assert self._process.stdout.readline() == f"{answer}\n"

    def signal(self, number):
        """Send a signal."""
        self._process.send_signal(number)


@pytest.fixture(scope="module")
def program():
    with Program() as program:
        yield program


def test_a_program_is_shown_with_its_tasks_and_what_they_do(program):
    with Terminal(program.pid) as terminal:
        lines = terminal.wait_for(
            r"worker .* in busy", r"chat .* in chat", r"○ GET /report .* in report", "not blocked"
        )
        assert re.match(rf" boucle top  -c · pid {program.pid} · CPython {sys.version_info[0]}\.", lines[0])
        assert re.search(r"busy +\d.*% .*\d steps/s", lines[1])
        # The one that computes becomes the busiest.
        terminal.wait_for(r"busy▾.*\n.*worker")
        terminal.type("n")
        terminal.wait_for(r"task▾.*\n.*_set_result")
        terminal.type("q")
        assert terminal.status() == 0


def test_what_blocks_is_shown_while_it_does_and_afterwards(program):
    with Terminal(program.pid) as terminal:
        terminal.wait_for("not blocked")
        program.say("block", "blocking")
        terminal.wait_for(r"BLOCKED .* and counting: GET /report \(report\)", r"► GET /report")
        program.say("go on")
        lines = terminal.wait_for("not blocked", r"ago +\S+ m?s +GET /report", r"GET /report blocked for .*waited")
        assert any(re.search(r"!○ GET /report", line) for line in lines)
        assert any(re.search(r"~○ chat", line) for line in lines)
        terminal.type("\t\r")
        terminal.wait_for("who was ready and had to wait", r"chat +\S+ m?s")


def test_details_of_a_task_go_on(program):
    with Terminal(program.pid) as terminal:
        terminal.wait_for("worker .* in busy")
        terminal.type("/work\r")
        terminal.wait_for('1 with "work"')
        terminal.type("\r")
        terminal.wait_for("task worker · busy", "longest waits", "last steps", "woken by .*_set_result")
        terminal.type("q")
        terminal.wait_for(r'1 with "work"')


def test_a_pause_keeps_the_picture(program):
    with Terminal(program.pid) as terminal:
        terminal.wait_for("worker .* in busy")
        terminal.type("p")
        before = terminal.wait_for("paused")
        time.sleep(1)
        assert terminal.lines() == before
        terminal.type("p")
        terminal.wait_for("not blocked", gone=["paused"])
        assert terminal.lines()[0] != before[0]


def test_a_stopped_process_says_so(program):
    with Terminal(program.pid) as terminal:
        terminal.wait_for("not blocked")
        program.signal(signal.SIGSTOP)
        try:
            terminal.wait_for("the process is stopped", "worker .* in busy")
            # One that was stopped before somebody looks is seen too.
            assert "the process is stopped" in run("--once", program.pid).stdout
        finally:
            program.signal(signal.SIGCONT)
        terminal.wait_for("not blocked", gone=["is stopped"])


@pytest.mark.parametrize(("command", "answer"), [("freeze", "freezing"), ("compute", "computing")])
def test_a_frozen_process_is_seen(command, answer):
    with Program() as program:
        program.say(command, answer)
        # While C code computes it holds the GIL: nothing in the process could answer.
        with Terminal(program.pid) as terminal:
            blocked = r"BLOCKED (\S+) s and counting: GET /report \(report\)"
            seconds = [float(re.search(blocked, "\n".join(terminal.wait_for(blocked))).group(1))]
            terminal.wait_for(r"► GET /report", r"s and counting +GET /report")
            deadline = time.monotonic() + PATIENCE
            while seconds[-1] < seconds[0] + 1 and time.monotonic() < deadline:
                seconds.append(float(re.search(blocked, "\n".join(terminal.wait_for(blocked))).group(1)))
            assert seconds[-1] >= seconds[0] + 1
            assert seconds == sorted(seconds)
        # A loaded machine may have made others long before.
        starvation = json.loads(run("--json", program.pid).stdout)["starvations"][-1]
        assert (starvation["task"], starvation["coroutine"]) == ("GET /report", "report")
        assert starvation["duration"] >= seconds[-1]


def test_the_end_of_a_process_keeps_its_last_picture():
    with Program() as program, Terminal(program.pid) as terminal:
        terminal.wait_for("worker .* in busy")
        program.signal(signal.SIGKILL)
        terminal.wait_for("the process has ended: its last picture", "worker .* in busy", r"\bended\b")
        terminal.type("n")
        terminal.wait_for("task▾")
        terminal.type("q")
        assert terminal.status() == 0


def test_what_cannot_be_watched_is_told_in_words():
    with subprocess.Popen(["sleep", "3600"]) as other:
        try:
            result = run("--once", other.pid)
            assert result.returncode == 1
            assert f"process {other.pid} shows no boucle" in result.stderr
        finally:
            other.kill()
    result = run(other.pid)
    assert result.returncode == 1
    assert f"there is no process {other.pid}" in result.stderr
    with Program(BOUCLE_RECORD="0") as program:
        assert "BOUCLE_RECORD=0" in run("--once", program.pid).stderr


@pytest.mark.skipif(os.geteuid() != 0, reason="only root can be another user")
def test_another_user_may_not_look(program, tmp_path):
    viewer = shutil.copy(_cli._viewer(), tmp_path)
    for folder in (tmp_path, *tmp_path.parents[:-2]):
        folder.chmod(0o755)
    command = [viewer, "--once", str(program.pid)]
    result = subprocess.run(command, capture_output=True, text=True, timeout=PATIENCE, user=65534, group=65534)
    assert result.returncode == 1
    assert "belongs to another user" in result.stderr
