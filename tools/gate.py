"""A gate: commands that must all succeed. All of them run; at its end the gate says which did not.

    gate = Gate("lint")
    gate.run("rustfmt", ["cargo", "fmt", "--check"])
    sys.exit(gate.close())

What a command prints is passed on as it is, so that a runner's own closing line can be read. Commands that run side by
side are kept apart: what one prints comes as a whole, when it ends.
"""

import contextlib
import os
import shutil
import signal
import subprocess
import sys
import tempfile
import time
from pathlib import Path

if sys.version_info < (3, 10):  # noqa: UP036, that is what it is here to say
    sys.exit("Python 3.10 or newer is needed: make PYTHON=python3.13 ...")

ROOT = Path(__file__).resolve().parent.parent

# Seconds between two lines that say how far commands are that run side by side.
PROGRESS = 60

# Seconds in which a command is to end that a terminal, or we, have interrupted: tests end what they have started.
LAST_WORDS = 10


def target(name):
    """Where cargo keeps what it builds with other flags than the rest: each set of flags has a folder of its own."""
    return {"CARGO_TARGET_DIR": str(ROOT / "target" / name)}


class Gate:
    """A named series of commands."""

    def __init__(self, name):
        self._name = name
        self._outcomes = []

    def run(self, title, command, environment=None, cwd=ROOT):
        """Run a command with these variables added. Returns whether it succeeded."""
        _heed_interrupts()
        command = [str(word) for word in command]
        print(f"\n--- {title}: {' '.join(command)}", flush=True)
        began = time.monotonic()
        try:
            status = subprocess.run(
                command, cwd=cwd, env=os.environ | (environment or {}), stdin=subprocess.DEVNULL
            ).returncode
        except OSError as error:
            print(f"{command[0]}: {error.strerror}", flush=True)
            status = 127
        return self._note(title, status, began)

    def run_side_by_side(self, commands, at_once):
        """Run commands, {title: command}, so many at once. They must not write the same files."""
        if at_once < 2 or len(commands) < 2:
            for title, command in commands.items():
                self.run(title, command)
            return
        _heed_interrupts()
        waiting, running = list(commands.items()), []
        try:
            said = time.monotonic()
            while waiting or running:
                while waiting and len(running) < at_once:
                    running.append(_Captured(*waiting.pop(0)))
                time.sleep(0.1)
                for captured in [captured for captured in running if captured.has_ended()]:
                    running.remove(captured)
                    captured.pass_on()
                    self._note(captured.title, captured.status, captured.began)
                if time.monotonic() >= said + PROGRESS:
                    said = time.monotonic()
                    for captured in running:
                        print(captured.progress(), flush=True)
        finally:
            for captured in running:
                captured.end()

    def _note(self, title, status, began):
        """Note how a command ended. Returns whether it succeeded."""
        outcome = "passed" if status == 0 else f"FAILED with status {status}"
        self._outcomes.append((status == 0, f"{title}: {outcome} ({time.monotonic() - began:.0f} s)"))
        return status == 0

    def fail(self, title, reason):
        """Note something that failed without a command."""
        self._outcomes.append((False, f"{title}: FAILED, {reason}"))

    def skip(self, title, reason):
        """Note something that was not done, which is no failure."""
        self._outcomes.append((True, f"{title}: skipped, {reason}"))

    def close(self):
        """Say how it went. Returns the exit status."""
        print()
        for _, line in self._outcomes:
            print(f"{self._name}: {line}")
        sys.stdout.flush()
        return 0 if all(good for good, _ in self._outcomes) else 1


def _heed_interrupts():
    """A shell that starts us in the background ignores Ctrl-C for us, and our commands would inherit that."""
    signal.signal(signal.SIGINT, signal.default_int_handler)


class _Captured:
    """A command that runs beside others: what it prints goes to a file."""

    def __init__(self, title, command):
        self.title = title
        self.began = time.monotonic()
        self.status = None
        self._command = [str(word) for word in command]
        self._output = tempfile.TemporaryFile("w+b")  # noqa: SIM115, pass_on() closes it
        self._process = None
        print(f"\n--- {title}, beside others: {' '.join(self._command)}", flush=True)
        try:
            self._process = subprocess.Popen(
                self._command, cwd=ROOT, stdin=subprocess.DEVNULL, stdout=self._output, stderr=subprocess.STDOUT
            )
        except OSError as error:
            self._output.write(f"{self._command[0]}: {error.strerror}\n".encode())
            self.status = 127

    def has_ended(self):
        """Whether it has. Then it has a status."""
        if self._process:
            self.status = self._process.poll()
        return self.status is not None

    def progress(self):
        """How long it has been running, and the last whole line it has printed."""
        # Our own reads must not move the place where the command, which shares it, writes.
        size = os.fstat(self._output.fileno()).st_size
        lines = os.pread(self._output.fileno(), 4096, max(0, size - 4096)).decode(errors="replace").splitlines()[:-1]
        return f"--- {self.title}, {time.monotonic() - self.began:.0f} s: {lines[-1].strip() if lines else '...'}"

    def pass_on(self):
        """Print what it has printed."""
        print(f"\n--- {self.title}, which ran for {time.monotonic() - self.began:.0f} s, has printed:", flush=True)
        with self._output:
            self._output.seek(0)
            shutil.copyfileobj(self._output, sys.stdout.buffer)
        sys.stdout.flush()

    def end(self):
        """End it, since we were interrupted: by a terminal, which has told it too, or by someone who told only us."""
        for tell in (None, signal.SIGINT, signal.SIGKILL) if self._process else ():
            if tell:
                self._process.send_signal(tell)
            with contextlib.suppress(subprocess.TimeoutExpired):
                self._process.wait(LAST_WORDS)
                break
        self.pass_on()
