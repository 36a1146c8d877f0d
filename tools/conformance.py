"""Runs CPython's own asyncio tests on boucle, on every Python found.

First the harness, which puts boucle's loop under CPython's tests; it lies outside of this project. Then the matrix,
which puts boucle's tasks and futures there: conformance/matrix.py.

To call it without make:

    python3 tools/conformance.py          results in out/conformance-3.13.json, out/matrix-3.13.json and so on
    python3 tools/conformance.py debug    the harness with each loop in debug mode; in out/conformance-debug-3.13.json
"""

import argparse
import json
import sys

import environments
from gate import ROOT, Gate

HARNESS = ROOT.parent / "shared" / "conformance" / "run_cpython_asyncio_tests.py"
MATRIX = ROOT / "conformance" / "matrix.py"
OUT = ROOT / "out"
# What the harness is told of the loop, and where it finds it; the names of results.
MODES = {
    "normal": (["--loop", "boucle"], "conformance"),
    "debug": (["--loop", "debug_loop", "--path", ROOT / "tools"], "conformance-debug"),
}


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("mode", nargs="?", choices=MODES, default="normal")
    mode = parser.parse_args().mode
    gate = Gate("conformance")
    versions = list(environments.interpreters())
    if not HARNESS.exists():
        gate.fail("harness", "../shared/conformance is missing: it is not part of this repository")
    if not versions:
        gate.fail("Python", environments.NONE_FOUND)
    OUT.mkdir(exist_ok=True)
    totals = [f"Python {version}: {'; '.join(run(gate, version, mode)) or 'nothing ran'}" for version in versions]
    print("\n" + "\n".join(totals))
    sys.exit(gate.close())


def run(gate, version, mode):
    """Run the tests on one Python. Returns their totals as texts."""
    build = [sys.executable, ROOT / "tools" / "environments.py", "build", "--python", version, "--with", "nothing"]
    if not gate.run(f"Python {version}, build", build):
        return ["not built"]
    totals = []
    if HARNESS.exists():
        totals.append(run_harness(gate, version, mode))
    if mode == "normal":
        totals.append(run_matrix(gate, version))
    return totals


def run_harness(gate, version, mode):
    loop, name = MODES[mode]
    results = OUT / f"{name}-{version}.json"
    results.unlink(missing_ok=True)
    command = [environments.python_of(version), HARNESS, *loop, "--retry", "0", "--quiet", "--json", results]
    gate.run(f"Python {version}, CPython's tests", command, cwd=OUT)
    if not results.exists():
        return "no results"
    total = json.loads(results.read_text())["total"]
    return ", ".join(f"{count} {name.replace('_', ' ')}" for name, count in total.items())


def run_matrix(gate, version):
    results = OUT / f"matrix-{version}.json"
    results.unlink(missing_ok=True)
    command = [environments.python_of(version), MATRIX, "--json", results]
    gate.run(f"Python {version}, matrix of tasks and futures", command, cwd=OUT)
    if not results.exists():
        return "matrix: no results"
    total = json.loads(results.read_text())["total"]
    return "matrix: " + ", ".join(f"{count} {name}" for name, count in total.items())


if __name__ == "__main__":
    main()
