"""Runs the differential test for an hour, or for SOAK minutes, with other programs each time.

The Pythons that are found share the time. SOAK_SUBJECT names what is compared with asyncio instead of boucle, and
SOAK_SEED repeats a run. A program that ends its process is named too.
"""

import os
import random
import sys

import environments
from gate import ROOT, Gate

TESTS = ROOT / "tests"


def soak(gate, version, minutes, seed):
    """Search on one Python. Says which program ran when the process was ended by a crash or a hang."""
    build = [sys.executable, ROOT / "tools" / "environments.py", "build", "--python", version, "--with", "test"]
    if not gate.run(f"Python {version}, build", build):
        return
    notebook = ROOT / "build" / f"soak-{version}.txt"
    notebook.parent.mkdir(exist_ok=True)
    subject = os.environ.get("SOAK_SUBJECT", "boucle")
    command = [environments.python_of(version), "-m", "differential", "--subject", subject]
    command += ["--amount", f"{minutes * 60:.0f}s", "--seed", seed, "--title", f"soak: Python {version}"]
    clean = {"PYTHONPATH": str(TESTS)}
    # Empty, unless the search did not come to its end.
    notebook.write_text("")
    good = gate.run(f"Python {version}", [*command, "--notebook", notebook], clean, cwd=TESTS)
    if not good and (program := notebook.read_text()):
        print(f"soak: Python {version} ended in this program:\n    {program}", flush=True)


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
