"""Runs the linters: rustfmt, clippy, rustdoc, ruff, mypy, and stubtest, which compares the stub with the binary."""

import sys

import environments
from gate import ROOT, Gate


def rust(gate, interpreters):
    """Formatting, lints and the links of the documentation. Code for older Pythons only is linted for the oldest."""
    oldest, newest = interpreters[0], interpreters[-1]
    python = {"PYO3_PYTHON": newest}
    strict = ["--", "-D", "warnings"]
    gate.run("rustfmt", ["cargo", "fmt", "--all", "--check"])
    gate.run("clippy", ["cargo", "clippy", "--workspace", "--all-targets", *strict], python)
    injecting = ["-p", "boucle-python", "--features", "panic-injection,mutations"]
    gate.run("clippy, with panic injection", ["cargo", "clippy", *injecting, "--all-targets", *strict], python)
    if oldest != newest:
        # In a folder of its own, or each run would compile what knows of Python for both anew.
        apart = ["-p", "boucle-python", "--target-dir", ROOT / "target" / "oldest"]
        gate.run(
            "clippy, for the oldest Python",
            ["cargo", "clippy", *apart, "--all-targets", *strict],
            {"PYO3_PYTHON": oldest},
        )
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
        rust(gate, list(found.values()))
        python(gate, list(found)[-1])
    else:
        gate.fail("Python", environments.NONE_FOUND)
    sys.exit(gate.close())


if __name__ == "__main__":
    main()
