"""Runs CPython's own asyncio tests on boucle, on every Python found. The harness lies outside of this project.

To call it without make:

    python3 tools/conformance.py          results in out/conformance-3.13.json and so on
    python3 tools/conformance.py debug    each loop in debug mode; in out/conformance-debug-3.13.json
"""

import argparse
import json
import sys

import environments
from gate import ROOT, Gate

HARNESS = ROOT.parent / "shared" / "conformance" / "run_cpython_asyncio_tests.py"
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
    elif not versions:
        gate.fail("Python", environments.NONE_FOUND)
    else:
        OUT.mkdir(exist_ok=True)
        totals = [f"Python {version}: {run(gate, version, mode)}" for version in versions]
        print("\n" + "\n".join(totals))
    sys.exit(gate.close())


def run(gate, version, mode):
    """Run the tests on one Python. Returns their totals as text."""
    build = [sys.executable, ROOT / "tools" / "environments.py", "build", "--python", version, "--with", "nothing"]
    if not gate.run(f"Python {version}, build", build):
        return "not built"
    loop, name = MODES[mode]
    results = OUT / f"{name}-{version}.json"
    results.unlink(missing_ok=True)
    python = environments.python_of(version)
    command = [python, HARNESS, *loop, "--retry", "0", "--quiet", "--json", results]
    gate.run(f"Python {version}, CPython's tests", command, cwd=OUT)
    if not results.exists():
        return "no results"
    total = json.loads(results.read_text())["total"]
    return ", ".join(f"{count} {name.replace('_', ' ')}" for name, count in total.items())


if __name__ == "__main__":
    main()
