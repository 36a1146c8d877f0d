"""A gate: commands that must all succeed. All of them run; at its end the gate says which did not.

    gate = Gate("lint")
    gate.run("rustfmt", ["cargo", "fmt", "--check"])
    sys.exit(gate.close())

What a command prints is passed on as it is, so that a runner's own closing line can be read.
"""

import os
import signal
import subprocess
import sys
import time
from pathlib import Path

if sys.version_info < (3, 10):  # noqa: UP036, that is what it is here to say
    sys.exit("Python 3.10 or newer is needed: make PYTHON=python3.13 ...")

ROOT = Path(__file__).resolve().parent.parent


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
        # A shell that starts us in the background ignores Ctrl-C for us, and our commands would inherit that.
        signal.signal(signal.SIGINT, signal.default_int_handler)
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
