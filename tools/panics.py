"""Builds boucle with panics and mistakes to inject, for the newest Python found: the package in build/panics.

What `make test` does, by hand:

    python3 tools/panics.py
    PYTHONPATH=build/panics .venv/3.13/bin/python -m pytest tests/test_panics.py tests/differential
"""

import os
import shutil
import subprocess
import sys

import environments
from gate import ROOT, target

FOLDER = ROOT / "build" / "panics"


def main():
    found = environments.interpreters()
    if not found:
        sys.exit(f"panics: {environments.NONE_FOUND}")
    # An extension module leaves Python's symbols to the interpreter that loads it; maturin says so to PyO3 by this too.
    variables = target("panics") | {"PYO3_PYTHON": list(found.values())[-1], "PYO3_BUILD_EXTENSION_MODULE": "1"}
    command = ["cargo", "build", "-p", "boucle-python", "--features", "panic-injection,mutations"]
    status = subprocess.run(command, cwd=ROOT, env=os.environ | variables).returncode
    if status:
        sys.exit(status)
    package = FOLDER / "boucle"
    shutil.rmtree(FOLDER, ignore_errors=True)
    shutil.copytree(ROOT / "python" / "boucle", package, ignore=shutil.ignore_patterns("__pycache__"))
    shutil.copy(ROOT / "target" / "panics" / "debug" / "lib_boucle.so", package / "_boucle.so")


if __name__ == "__main__":
    main()
