"""Runs the differential test for an hour, or for SOAK minutes, with other programs each time.

The Pythons that are found share the time. IO=1 runs programs with sockets instead of tasks: all kinds share a Python's
time, or IO names one of them. SOAK_SUBJECT names what is compared with asyncio instead of boucle, and
SOAK_SEED repeats a run. A program that ends its process is named too.
"""

import os
import random
import sys

import environments
from gate import ROOT, Gate

TESTS = ROOT / "tests"
IO_KINDS = ["transports", "streams", "sockets", "connections"]


def kinds():
    """What programs are run: None stands for those of tasks."""
    wanted = os.environ.get("IO", "")
    if wanted in ("", "0"):
        return [None]
    return IO_KINDS if wanted == "1" else [wanted]


def soak(gate, version, minutes, seed):
    """Search on one Python."""
    build = [sys.executable, ROOT / "tools" / "environments.py", "build", "--python", version, "--with", "test"]
    if not gate.run(f"Python {version}, build", build):
        return
    for kind in kinds():
        search(gate, version, kind, minutes / len(kinds()), seed)


def search(gate, version, kind, minutes, seed):
    """Search in programs of one kind. Says which one ran when the process was ended by a crash or a hang."""
    title = f"Python {version}, {kind}" if kind else f"Python {version}"
    notebook = ROOT / "build" / f"soak-{version}.txt"
    notebook.parent.mkdir(exist_ok=True)
    subject = os.environ.get("SOAK_SUBJECT", "boucle")
    command = [environments.python_of(version), "-m", "differential", "--subject", subject]
    command += ["--amount", f"{minutes * 60:.0f}s", "--seed", seed, "--title", f"soak: {title}"]
    command += ["--io", kind] if kind else []
    clean = {"PYTHONPATH": str(TESTS)}
    # Empty, unless the search did not come to its end.
    notebook.write_text("")
    good = gate.run(title, [*command, "--notebook", notebook], clean, cwd=TESTS)
    if not good and (program := notebook.read_text()):
        print(f"soak: {title} ended in this program:\n    {program}", flush=True)


def main():
    gate = Gate("soak")
    versions = list(environments.interpreters())
    minutes = float(os.environ.get("SOAK", "60"))
    # Rounds count their seeds up: runs begin far from each other.
    seed = int(os.environ.get("SOAK_SEED", random.randrange(10**9)))
    for version in versions:
        soak(gate, version, minutes / len(versions), seed)
    if not versions:
        gate.fail("Python", environments.NONE_FOUND)
    sys.exit(gate.close())


if __name__ == "__main__":
    main()
