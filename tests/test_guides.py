"""The guides of docs/ are true: their files and commands are taken from their text, and run."""

import contextlib
import json
import os
import re
import signal
import subprocess
import sys
import urllib.request
from pathlib import Path

import pytest

import boucle
from conftest import EXAMPLES, ROOT

pytestmark = pytest.mark.skipif(sys.version_info < (3, 13), reason="guides are the same for all: run on the newest")

# The commands of the environment in which the tests run come first.
PATH = f"{Path(sys.executable).parent}{os.pathsep}{os.environ['PATH']}"


def blocks(guide, language):
    """The code blocks of a guide in this language."""
    return re.findall(rf"^```{language}\n(.*?)^```$", (ROOT / "docs" / f"{guide}.md").read_text(), re.M | re.S)


def commands(guide, beginning):
    """The commands of a guide that begin like this."""
    lines = [line for block in blocks(guide, "sh") for line in block.splitlines()]
    found = [line for line in lines if line.startswith(beginning)]
    assert found, f"{guide}.md has no command {beginning!r}"
    return found


def write_file(guide, name, folder):
    """Write the block that begins with this file's name."""
    (content,) = [block for block in blocks(guide, "python") if block.startswith(f"# {name}\n")]
    (folder / name).write_text(content)


def environment():
    clean = {key: value for key, value in os.environ.items() if not key.startswith(("BOUCLE_", "GITHUB_", "PYTEST_"))}
    return clean | {"PATH": PATH}


def shell(command, folder):
    """Run a command as a reader would, in a folder."""
    return subprocess.run(
        ["sh", "-c", command], cwd=folder, env=environment(), capture_output=True, text=True, timeout=100
    )


def succeed(command, folder):
    result = shell(command, folder)
    assert result.returncode == 0, result.stdout + result.stderr
    return result.stdout


@contextlib.contextmanager
def server(command, folder, log):
    """Starts a server, on a free port, and ends it as Ctrl-C does. Yields its process and address."""
    with (
        open(log, "w") as file,
        subprocess.Popen(
            ["sh", "-c", f"exec env {command} --port 0"], cwd=folder, env=environment(), stderr=file
        ) as process,
    ):
        try:
            address = None
            while address is None:
                assert process.poll() is None, log.read_text()
                found = re.search(r"running on (http://\S+)", log.read_text())
                address = found and found[1]
            yield process, address
        finally:
            process.send_signal(signal.SIGINT)
            process.wait(60)


def ask(address):
    with urllib.request.urlopen(address, timeout=60) as response:
        return response.read().decode()


class TestBlockingTests:
    def test_the_test_fails(self, tmp_path):
        write_file("blocking-tests", "test_shop.py", tmp_path)
        (command,) = commands("blocking-tests", "pytest")
        result = shell(command, tmp_path)
        assert result.returncode == pytest.ExitCode.TESTS_FAILED, result.stdout + result.stderr
        assert re.search(
            r"^event loop blocked .* \(at most 50 ms\): Task-2 \(price\) at test_shop\.py:[67] ", result.stdout, re.M
        )
        assert re.search(r"^had to wait: Task-3 3\d\d ms$", result.stdout, re.M)
        assert "1 failed" in result.stdout

    def test_it_passes_without_the_option(self, tmp_path):
        write_file("blocking-tests", "test_shop.py", tmp_path)
        assert "1 passed" in succeed("pytest", tmp_path)

    def test_the_option_can_stand_in_the_configuration(self, tmp_path):
        write_file("blocking-tests", "test_shop.py", tmp_path)
        (configuration,) = blocks("blocking-tests", "toml")
        (tmp_path / "pyproject.toml").write_text(configuration)
        assert "1 failed" in shell("pytest", tmp_path).stdout


def test_streams(tmp_path):
    write_file("streams", "greet.py", tmp_path)
    assert succeed("python greet.py", tmp_path) == "b'hello world\\n'\n"


def test_teaching(tmp_path):
    (tmp_path / "examples").symlink_to(EXAMPLES)
    for command in commands("teaching", "python ") + commands("teaching", "boucle record"):
        succeed(command, tmp_path)
    assert (tmp_path / "pieces.svg").read_text().startswith("<svg")
    assert (tmp_path / "starvation.svg").read_text().startswith("<svg")
    (cell,) = [block for block in blocks("teaching", "python") if block.startswith("%%chronology")]
    notebook = json.loads((EXAMPLES / "first_steps.ipynb").read_text())
    assert cell.rstrip() in ["".join(cell["source"]) for cell in notebook["cells"]]


class TestStutters:
    @pytest.fixture
    def shop(self, tmp_path):
        """A folder with the application."""
        write_file("stutters", "shop.py", tmp_path)
        return tmp_path

    def test_the_recording_says_who_it_was(self, shop):
        (record,) = commands("stutters", "boucle record")
        (dump,) = commands("stutters", "boucle dump")
        with server(record, shop, shop / "log") as (process, address):
            assert ask(f"{address}/report") == "6000001.5"
            assert ask(address) == "hello"
            succeed(dump.replace("PID", str(process.pid)), shop)
        for command in commands("stutters", "boucle show"):
            shown = succeed(command, shop)
        assert (shop / "run.svg").read_text().startswith("<svg")
        # The last command prints the analysis.
        culprits = {starvation["coroutine"] for starvation in json.loads(shown)["starvations"]}
        assert "RequestResponseCycle.run_asgi" in culprits
        assert "RequestResponseCycle.run_asgi" in {it.coroutine for it in boucle.load(shop / "last.boucle").starvations}

    @pytest.mark.skipif(not hasattr(boucle, "watch"), reason="this build has no watchdog")
    @pytest.mark.parametrize("named", [False, True])
    def test_the_watchdog_says_which_line_it_is(self, shop, named):
        (watch,) = commands("stutters", "BOUCLE_WATCH")
        if named:
            (wrapping,) = [block for block in blocks("stutters", "python") if "asgi.named" in block]
            with open(shop / "shop.py", "a") as file:
                file.write(wrapping)
        with server(watch, shop, shop / "log") as (_, address):
            assert ask(f"{address}/report") == "6000001.5"
        who = r"GET /report \(Task-\d+\)" if named else r"Task-\d+ \(RequestResponseCycle\.run_asgi\)"
        log = (shop / "log").read_text()
        assert re.search(rf"^boucle: event loop blocked \d+ ms and counting: {who} at shop\.py:1[45]  ", log, re.M), log
