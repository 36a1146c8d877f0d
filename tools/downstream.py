"""Runs the released test suites of projects that live on asyncio, on asyncio and on boucle, and compares test by test.

    python3 tools/downstream.py                          every suite of the table
    python3 tools/downstream.py anyio --wheel FILE       one suite, with a wheel that is there already

A suite comes from its project's source distribution and runs unchanged, on the newest Python found, in an environment
of its own. asyncio is the oracle: a test that fails on both says nothing of boucle, one with another outcome fails the
gate. Both run at once, each in a process, so that they have the same machine. Outcomes that differ are tried again one
loop after the other, together at first and each test alone at last: those that agree in one of the tries depend on more
than the loop, and are only named. Differences on purpose stand in the table, each with its reason; one that is not seen
any more fails the gate too.

How a suite gets onto boucle without a change: its environment has a sitecustomize.py that calls boucle.install() in
every process of the suite, also in those that tests start. Two things prove that it did, or the comparison could be
one of asyncio with itself. The loops that a run makes are counted, by class: a loop of another class than boucle's
fails the gate. And boucle itself says with BOUCLE_STATS what each process has run on it: loops, turns and native tasks,
none of which may be missing.

Everything lies in build/downstream: the sources, what pytest printed, each test's outcome.
"""

import argparse
import hashlib
import json
import os
import shutil
import subprocess
import sys
import tarfile
from collections import Counter
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from pathlib import Path

import environments
from gate import ROOT, Gate

FOLDER = ROOT / "build" / "downstream"
LOOPS = ("asyncio", "boucle")
OURS = "boucle._loop.Loop"
STATISTICS = ("loops", "turns", "native_tasks")
TRIES = 3
TRIED_ALONE = 60  # more than so many differences are no accident
LONGEST_RUN = 2400  # seconds
ON_BOUCLE = """\
import os

if os.environ.get("BOUCLE_DOWNSTREAM") == "boucle":
    import asyncio

    import boucle

    boucle.install()
    asyncio.EventLoop = boucle.Loop
    if "BOUCLE_DOWNSTREAM_NAMES" in os.environ:
        asyncio.SelectorEventLoop = asyncio.DefaultEventLoopPolicy._loop_factory = boucle.Loop
"""


@dataclass(frozen=True)
class Suite:
    """The tests of a release."""

    name: str
    project: str  # its name on PyPI
    version: str
    requirements: tuple  # what its tests need, as arguments of pip in the folder of the sources
    options: tuple  # of pytest
    on_purpose: dict = field(default_factory=dict)  # tests with another outcome on boucle, and why
    names_classes: bool = False  # asks for asyncio's loop or policy by name, which are ours then
    installed_tests: bool = False  # the tests are a part of the package, which was built from the sources


ANYIO = (
    "blockbuster==1.5.29",
    "hypothesis==6.170.17",
    "psutil==7.2.2",
    "pytest==9.2.0",
    "pytest-mock==3.17.0",
    "pytest-timeout==2.4.0",
    "trustme==1.2.1",
    "truststore==0.10.5",
)
# Without trio and uvloop, which anyio's tests skip where they are missing.
ON_THIS_MACHINE = ("-m", "not network")
UVICORN = (
    "a2wsgi==1.10.10",
    "cryptography==50.0.2",
    "httptools==0.9.0",
    "httpx2==2.16.2",
    "pytest==9.2.0",
    "pytest-mock==3.15.1",
    "pytest-timeout==2.4.0",
    "pytest-xdist[psutil]==3.8.0",
    "python-dotenv==1.2.4",
    "PyYAML==6.0.4",
    "trustme==1.2.1",
    "watchfiles==1.3.0",
    "websockets==17.4",
    "wsproto==1.3.2",
    "zttp==0.0.35",
)
TORNADO = ("--no-binary", "tornado", "pytest==9.2.0", "pytest-timeout==2.4.0")
# What the package's own runner takes, and as quietly; and no configuration of a folder above.
TORNADOS_TESTS = (
    "--rootdir=.",
    "--config-file=/dev/null",
    "--override-ini=python_files=*_test.py",
    "--downstream-quiet=tornado.access",
    "tornado/test",
)
AIOHTTP_DIFFERS = {
    "tests/test_web_functional.py::test_keepalive_expires_on_time[pyloop]": (
        "moves the loop's clock by patching time(), and timers go by the monotonic clock: docs/compatibility.md"
    ),
}
WITHOUT_BENCHMARKS = ("-n0", "--ignore=tests/benchmarks")
UVICORN_DIFFERS = {
    "tests/test_auto_detection.py::test_loop_auto": "asks whether the class of the loop stands in asyncio",
    **{
        f"tests/test_config.py::test_get_loop_factory[asyncio-{name}]": "is named after the class of the loop"
        for name in ("_UnixSelectorEventLoop", "Loop")
    },
}
ANYIO_DIFFERS = {
    f"tests/test_sockets.py::TestUDPSocketBackpressure::{test}[{loop}-{kind}]": (
        "asyncio of 3.13.0 counts 8 bytes too many for each datagram, and never resumes writing: docs/compatibility.md"
    )
    for test in (
        "test_send_waits_for_the_os_to_accept_the_datagram",
        "test_cancelled_send_does_not_buffer_the_next_datagram",
    )
    for loop in ("asyncio", "asyncio+eager")
    for kind in ("unconnected", "connected")
}
SUITES = [
    # anyio's tests run every loop in debug mode; users do not.
    Suite("anyio", "anyio", "4.16.0", ANYIO, ON_THIS_MACHINE, ANYIO_DIFFERS),
    Suite("anyio-debug-off", "anyio", "4.16.0", ANYIO, (*ON_THIS_MACHINE, "--downstream-debug-off"), ANYIO_DIFFERS),
    # In one process, so that the loops can be counted.
    Suite("aiohttp", "aiohttp", "3.14.5", ("-r", "requirements/test.txt"), ("-n0", "--no-cov"), AIOHTTP_DIFFERS),
    # Without uvloop, which uvicorn would take by itself, and without its benchmarks.
    Suite(
        "uvicorn",
        "uvicorn",
        "0.54.0",
        UVICORN,
        ("-n0", "--ignore=tests/benchmarks"),
        UVICORN_DIFFERS,
        names_classes=True,
    ),
    Suite("tornado", "tornado", "6.6.1", TORNADO, TORNADOS_TESTS, names_classes=True, installed_tests=True),
]


class Installed:
    """A suite whose sources and environment are there."""

    def __init__(self, suite, version, interpreter, wheel):
        self._suite = suite
        self._environment = ROOT / ".venv" / f"downstream-{suite.project}-{version}"
        self._sources = FOLDER / f"{suite.project}-{suite.version}"
        self._version = version
        if not self._python.exists():
            _run([interpreter, "-m", "venv", self._environment])
        self._get_sources()
        self._install(wheel)

    @property
    def _python(self):
        return self._environment / "bin" / "python"

    @property
    def _packages(self):
        return self._environment / "lib" / f"python{self._version}" / "site-packages"

    def _pip(self, *arguments):
        _run([self._python, "-m", "pip", *arguments], cwd=self._sources if self._sources.exists() else FOLDER)

    def _get_sources(self):
        if self._sources.exists():
            return
        name = self._suite.project
        release = f"{name}=={self._suite.version}"
        self._pip("download", "--quiet", "--no-deps", "--no-binary", name, "--dest", FOLDER, release)
        # Without the package itself: the installed one is to be imported, with its compiled parts.
        package = f"{self._sources.name}/{name}/"
        with tarfile.open(f"{self._sources}.tar.gz") as archive:
            archive.extraction_filter = getattr(tarfile, "data_filter", None)
            archive.extractall(FOLDER, [member for member in archive if not member.name.startswith(package)])

    def _install(self, wheel):
        stamp = self._environment / "downstream.stamp"
        made_of = (self._suite.version, self._suite.requirements, ON_BOUCLE)
        digest = hashlib.sha256(repr(made_of).encode() + wheel.read_bytes())
        if stamp.exists() and stamp.read_text() == digest.hexdigest():
            return
        stamp.unlink(missing_ok=True)
        self._pip("install", "--quiet", f"{self._suite.project}=={self._suite.version}", *self._suite.requirements)
        self._pip("install", "--quiet", "--no-deps", "--force-reinstall", wheel)
        (self._packages / "sitecustomize.py").write_text(ON_BOUCLE)
        stamp.write_text(digest.hexdigest())

    def run(self, loop, tests=()):
        """Run the suite, or only these tests of it, on a loop."""
        name = f"{self._suite.name}-{loop}" + ("-again" if tests else "")
        results, output = FOLDER / f"{name}.jsonl", FOLDER / f"{name}.txt"
        stats = FOLDER / f"{name}.stats"
        results.unlink(missing_ok=True)
        stats.unlink(missing_ok=True)
        command = [self._python, "-m", "pytest", "-p", "downstream_plugin", "-p", "no:cacheprovider"]
        options = self._suite.options
        if tests and self._suite.installed_tests:
            options = options[:-1]  # the last names all tests
        command += ["--downstream-results", results, *options, *tests]
        environment = os.environ | {"BOUCLE_DOWNSTREAM": loop, "PYTHONPATH": str(ROOT / "tools"), "PYTEST_ADDOPTS": ""}
        environment["BOUCLE_STATS"] = str(stats)
        if self._suite.names_classes:
            environment["BOUCLE_DOWNSTREAM_NAMES"] = "1"
        with output.open("wb") as printed:
            try:
                subprocess.run(
                    [str(word) for word in command],
                    cwd=self._packages if self._suite.installed_tests else self._sources,
                    env=environment,
                    stdin=subprocess.DEVNULL,
                    stdout=printed,
                    stderr=subprocess.STDOUT,
                    timeout=LONGEST_RUN,
                )
            except subprocess.TimeoutExpired:
                print(f"downstream: stopped after {LONGEST_RUN} s, see {output.relative_to(ROOT)}", flush=True)
        return Results(*(path.read_text().splitlines() if path.exists() else [] for path in (results, stats)))


class Results:
    """What became of each test in a run."""

    def __init__(self, lines, stats):
        self.stats = Counter(processes=len(stats))
        for process in map(json.loads, stats):
            self.stats.update({name: process[name] for name in STATISTICS})
        self.outcomes = {}
        self.reasons = {}
        self.loops = {}
        for line in map(json.loads, lines):
            if "loops" in line:
                self.loops = line["loops"]
            else:
                self._add(**line)

    def _add(self, test, outcome, why):
        former = self.outcomes.get(test, "unfinished")
        # A test can pass and then fail in its teardown; one with subtests has an outcome for each.
        if outcome not in former.split(", "):
            self.outcomes[test] = outcome if former == "unfinished" else f"{former}, {outcome}"
        self.reasons[test] = why or self.reasons.get(test, "")

    def reason(self, test):
        """The last line of why a test failed."""
        lines = self.reasons.get(test, "").strip().splitlines()
        return lines[-1] if lines else ""

    def counts(self):
        counts = Counter(self.outcomes.values())
        return ", ".join(f"{count} {outcome}" for outcome, count in counts.most_common()) or "nothing ran"

    def made(self):
        made = ", ".join(f"{count} loops of {name}" for name, count in self.loops.items()) or "no loops"
        ran = ", ".join(f"{count} {name.replace('_', ' ')}" for name, count in self.stats.items())
        return f"{made}; on boucle: {ran}"


def at_once(installed):
    """The suite's run on each loop."""
    with ThreadPoolExecutor() as threads:
        return list(threads.map(installed.run, LOOPS))


def different(oracle, subject):
    """The tests that became something else."""
    tests = oracle.outcomes | subject.outcomes
    return [test for test in tests if oracle.outcomes.get(test) != subject.outcomes.get(test)]


def settled(installed, tests):
    """Try these tests again on both loops. Returns those that agree in one of the tries."""
    left = list(tests)
    for attempt in range(TRIES):
        alone = attempt == TRIES - 1 and len(left) <= TRIED_ALONE
        groups = [[test] for test in left] if alone else [left]
        left = [test for group in groups if group for test in _differ_again(installed, group)]
    return [test for test in tests if test not in left]


def _differ_again(installed, tests):
    oracle, subject = (installed.run(loop, tests) for loop in LOOPS)
    # A test that is in neither run has not agreed.
    differences = different(oracle, subject)
    return [test for test in tests if test in differences or test not in oracle.outcomes]


def compare(gate, suite, installed):
    """Run a suite on both loops. Returns its row of the table and prints what differs."""
    oracle, subject = both = at_once(installed)
    differing = different(oracle, subject)
    on_purpose = [test for test in differing if test in suite.on_purpose]
    accidents = settled(installed, [test for test in differing if test not in on_purpose])
    left = [test for test in differing if test not in on_purpose + accidents]
    for title, tests in (("different", left), ("on purpose", on_purpose), ("agreed when tried again", accidents)):
        for test in tests:
            print(f"{title}: {test}")
            if test in on_purpose:
                print(f"    {suite.on_purpose[test]}")
            for loop, results in zip(LOOPS, both, strict=True):
                print(f"    on {loop}: {results.outcomes.get(test, 'absent')}. {results.reason(test)}".rstrip())
    foreign = {name: count for name, count in subject.loops.items() if name != OURS}
    if not subject.loops.get(OURS):
        gate.fail(suite.name, f"no loop of boucle was made; see {FOLDER.relative_to(ROOT)}")
    for name in STATISTICS:
        if not subject.stats[name]:
            gate.fail(suite.name, f"no {name.replace('_', ' ')} of boucle, says BOUCLE_STATS")
        if oracle.stats[name]:
            gate.fail(suite.name, f"the run on asyncio had {oracle.stats[name]} {name.replace('_', ' ')} of boucle")
    if foreign:
        gate.fail(suite.name, f"loops of other classes than boucle's were made: {foreign}")
    if left:
        gate.fail(suite.name, f"{len(left)} tests have another outcome than on asyncio")
    for test in set(suite.on_purpose) - set(on_purpose):
        gate.fail(suite.name, f"{test} does not differ: remove it from tools/downstream.py")
    tests = len(oracle.outcomes | subject.outcomes)
    same = tests - len(left) - len(on_purpose)
    row = [suite.name, suite.version, tests, same, len(left), len(on_purpose), len(accidents)]
    return [*map(str, row), *(f"{results.counts()}; {results.made()}" for results in both)]


def table(rows):
    """Rows under each other; the last two columns of each on lines of their own."""
    head = ["suite", "version", "tests", "same", "different", "on purpose", "agreed again"]
    widths = [max(len(row[column]) for row in [head, *rows]) for column in range(len(head))]
    yield "  ".join(word.ljust(width) for word, width in zip(head, widths, strict=True)).rstrip()
    for row in rows:
        yield "  ".join(word.ljust(width) for word, width in zip(row[: len(head)], widths, strict=True)).rstrip()
        yield from (f"    {loop}: {text}" for loop, text in zip(LOOPS, row[len(head) :], strict=True))


def wheel_of(version, interpreter, given):
    """A copy of boucle's wheel: a build beside us does not change what the two runs compare."""
    if not given:
        environments.build(version, interpreter)
        (given,) = (ROOT / "dist" / version).glob("*.whl")
    copy = FOLDER / "wheel" / given.name
    copy.parent.mkdir(parents=True, exist_ok=True)
    if given.resolve() != copy.resolve():
        shutil.copyfile(given, copy)
    return copy


def _run(command, cwd=ROOT):
    command = [str(word) for word in command]
    try:
        subprocess.run(command, check=True, cwd=cwd)
    except subprocess.CalledProcessError as error:
        sys.exit(f"downstream: `{' '.join(command)}` failed with status {error.returncode}")


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("suites", nargs="*", help=f"of {', '.join(suite.name for suite in SUITES)} (default: all)")
    parser.add_argument("--wheel", type=Path, help="boucle's wheel; built from the sources where it is not given")
    options = parser.parse_args()
    if unknown := set(options.suites) - {suite.name for suite in SUITES}:
        parser.error(f"no such suite: {', '.join(unknown)}")
    gate = Gate("downstream")
    found = environments.interpreters()
    if not found:
        gate.fail("Python", environments.NONE_FOUND)
        sys.exit(gate.close())
    version, interpreter = list(found.items())[-1]
    wheel = wheel_of(version, interpreter, options.wheel)
    rows = []
    for suite in SUITES:
        if not options.suites or suite.name in options.suites:
            print(f"\n--- {suite.name} {suite.version}, on Python {version}", flush=True)
            rows.append(compare(gate, suite, Installed(suite, version, interpreter, wheel)))
    print("\n" + "\n".join(table(rows)))
    sys.exit(gate.close())


if __name__ == "__main__":
    main()
