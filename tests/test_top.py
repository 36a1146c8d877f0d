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

STARVATION = ROOT / "crates" / "boucle-chronology" / "tests" / "golden" / "starvation.boucle"
COMMAND = [sys.executable, "-c", "import sys; from boucle._cli import main; sys.exit(main())"]
PATIENCE = 60
"""Seconds: nothing here takes that long, however loaded the machine is."""


def run(*arguments, **environment):
    """What `boucle top` prints, and its status."""
    command = [*COMMAND, "top", *map(str, arguments)]
    return subprocess.run(
        command, capture_output=True, text=True, timeout=PATIENCE, env=os.environ | environment, stdin=subprocess.DEVNULL
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
