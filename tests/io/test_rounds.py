"""After many rounds of I/O everything is back where it was: descriptors, memory, tasks, callbacks."""

import shutil
from pathlib import Path

import pytest

from conftest import FACTORIES, run_python

PROGRAM = Path(__file__).with_name("rounds.py")
KINDS = ["tcp", "tls", "udp", "unix", "pipe", "subprocess"]


@pytest.mark.parametrize("name", FACTORIES)
@pytest.mark.parametrize("kind", KINDS)
def test_nothing_is_left_behind(kind, name):
    if kind == "tls" and shutil.which("openssl") is None:
        pytest.skip("openssl is missing, which makes the certificate")
    result = run_python(PROGRAM, "--rounds", 300, "--kinds", kind, "--loop", name)
    assert result.returncode == 0, result.stdout + result.stderr
    assert "everything is back where it was" in result.stdout


@pytest.mark.parametrize("leak", ["descriptor", "object", "memory", "task", "timer", "reader"])
def test_what_is_left_behind_is_noticed(leak):
    result = run_python(PROGRAM, "--rounds", 300, "--kinds", "unix", "--leak", leak)
    assert result.returncode == 1, result.stdout + result.stderr
    noticed = {"descriptor": "descriptors", "object": "objects", "task": "tasks", "timer": "timers"}
    assert f"more {noticed.get(leak, 'watched' if leak == 'reader' else 'memory')}" in result.stdout
