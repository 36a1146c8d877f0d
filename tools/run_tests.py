"""Runs all tests: Rust's, loom's, Python's on every Python found, and the injected panics.

All of them run, also when one fails. Each runner's own closing lines stand in the output. Two Pythons are tested at
once; tests/conftest.py says which tests take turns then.
"""

import os
import shutil
import subprocess
import sys

import environments
import panics
from gate import ROOT, Gate, target

# The extension module holds no Rust tests: it is tested through Python.
WORKSPACE = ["--workspace", "--exclude", "boucle-python"]


def rust(gate):
    """The tests of the crates that know no Python."""
    runner = ["nextest", "run"] if shutil.which("cargo-nextest") else ["test"]
    gate.run("Rust tests", ["cargo", *runner, *WORKSPACE])
    gate.run("Rust doctests", ["cargo", "test", "--doc", *WORKSPACE])
    # Optimised, since loom tries very many orders; without the slow steps of a release, which bring it nothing.
    optimised = {"CARGO_PROFILE_RELEASE_LTO": "off", "CARGO_PROFILE_RELEASE_CODEGEN_UNITS": "16"}
    gate.run(
        "loom",
        ["cargo", "test", "-p", "boucle-core", "--release", "--lib", "loom"],
        target("loom") | optimised | {"RUSTFLAGS": "--cfg loom"},
    )


# What tests use that is no Python package, and what does not happen without it: {program: (packages, loss)}.
PROGRAMS = {
    "strace": (["strace"], "no system calls are counted"),
    "chromedriver": (["chromium", "chromium-driver"], "no page is tried in a browser"),
}


def program(gate, name):
    """A program that tests use: installed where it is missing and may be. They skip without it."""
    packages, loss = PROGRAMS[name]
    if shutil.which(name):
        return
    if shutil.which("apt-get") is None or os.geteuid() != 0:
        gate.skip(name, f"it is missing, and only root with apt-get could install it: {loss}")
        return
    print(f"\n--- {name} is missing: apt-get install {' '.join(packages)}", flush=True)
    for command in (["update", "--quiet"], ["install", "--quiet", "--yes", "--no-install-recommends", *packages]):
        subprocess.run(["apt-get", *command], stdin=subprocess.DEVNULL)
    if shutil.which(name) is None:
        gate.skip(name, f"it is missing and cannot be installed: {loss}")


def pythons(gate, versions):
    """The Python tests on each Python: built one after the other, for a build takes every processor, and tested two at
    once, for tests mostly wait."""
    commands = {}
    # The newest first: it has the most tests.
    for version in reversed(versions):
        build = [sys.executable, ROOT / "tools" / "environments.py", "build", "--python", version, "--with", "test"]
        if gate.run(f"Python {version}, build", build):
            commands[f"Python {version}, tests"] = [environments.python_of(version), "-m", "pytest"]
    gate.run_side_by_side(commands, at_once=min(2, os.cpu_count() or 1))


def injected(gate, version):
    """A panic in each native slot, and mistakes in tasks, on one Python: the code is the same in all."""
    if gate.run("injected panics and mistakes, build", [sys.executable, ROOT / "tools" / "panics.py"]):
        differential = ROOT / "tests" / "differential"
        tests = [
            ROOT / "tests" / "test_panics.py",
            differential / "test_mutations.py",
            differential / "io" / "test_io_mutations.py",
        ]
        command = [environments.python_of(version), "-m", "pytest", "-q", *tests]
        gate.run("injected panics and mistakes, tests", command, {"PYTHONPATH": str(panics.FOLDER)})


def main():
    gate = Gate("test")
    rust(gate)
    for name in PROGRAMS:
        program(gate, name)
    versions = list(environments.interpreters())
    pythons(gate, versions)
    if versions:
        injected(gate, versions[-1])
    else:
        gate.fail("Python", environments.NONE_FOUND)
    status = gate.close()
    print(f"test: Pythons tested: {', '.join(versions) or 'none'}")
    sys.exit(status)


if __name__ == "__main__":
    main()
