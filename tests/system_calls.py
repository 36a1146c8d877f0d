"""What a program asks of the kernel, as strace sees it."""

import os
import shutil
import subprocess
import sys

import pytest


def need_strace():
    """Skips the test where strace is missing or not allowed."""
    if shutil.which("strace") is None:
        pytest.skip("strace is not installed: `make test` installs it where it may")
    allowed = subprocess.run(["strace", "-o", "/dev/null", "true"], capture_output=True, text=True)
    if allowed.returncode:
        pytest.skip(f"strace may not trace here: {allowed.stderr.strip()}")


def traced(folder, calls, program, **environment):
    """Run a program, with these calls traced. Returns what it printed, and a line for each call that has returned."""
    need_strace()
    log = folder / "trace"
    clean = {name: value for name, value in os.environ.items() if not name.startswith(("BOUCLE_", "PYTHON", "MALLOC_"))}
    command = ["strace", "-f", "-e", f"trace={calls}", "-e", "signal=none", "-o", log, sys.executable, "-c", program]
    result = subprocess.run(command, capture_output=True, text=True, timeout=100, env=clean | environment)
    assert result.returncode == 0, result.stderr
    lines = log.read_text(errors="replace").splitlines()
    return result.stdout, [line for line in lines if " = " in line]
