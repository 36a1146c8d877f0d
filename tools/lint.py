"""Runs the linters: rustfmt, clippy, rustdoc, ruff, mypy, and stubtest, which compares the stub with the binary."""

import sys

import environments
from gate import ROOT, Gate


def rust(gate, interpreter):
    """Formatting, lints and the links of the documentation."""
    python = {"PYO3_PYTHON": interpreter}
    strict = ["--", "-D", "warnings"]
    gate.run("rustfmt", ["cargo", "fmt", "--all", "--check"])
    gate.run("clippy", ["cargo", "clippy", "--workspace", "--all-targets", *strict], python)
    injecting = ["-p", "boucle-python", "--features", "panic-injection,mutations"]
    gate.run("clippy, with panic injection", ["cargo", "clippy", *injecting, "--all-targets", *strict], python)
    gate.run(
        "rustdoc",
        ["cargo", "doc", "--workspace", "--exclude", "boucle-python", "--no-deps", "--document-private-items"],
        {"RUSTDOCFLAGS": "-D warnings"},
    )


def python(gate, version):
    """Style, formatting and types of the Python code, in the environment of one Python."""
    build = [sys.executable, ROOT / "tools" / "environments.py", "build", "--python", version, "--with", "lint"]
    if not gate.run("environment", build):
        return
    python = environments.python_of(version)
    gate.run("ruff", [python, "-m", "ruff", "check", "."])
    gate.run("ruff format", [python, "-m", "ruff", "format", "--check", "."])
    gate.run("mypy", [python, "-m", "mypy", "python/boucle", "python/pytest_boucle"])
    gate.run("stubtest", [python, "-m", "mypy.stubtest", "boucle._boucle", "--mypy-config-file", "pyproject.toml"])


def main():
    gate = Gate("lint")
    found = environments.interpreters()
    if found:
        version, interpreter = list(found.items())[-1]
        rust(gate, interpreter)
        python(gate, version)
    else:
        gate.fail("Python", environments.NONE_FOUND)
    sys.exit(gate.close())


if __name__ == "__main__":
    main()
