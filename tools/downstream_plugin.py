"""A plugin of pytest that notes, for tools/downstream.py, how each test of a suite went and which loops were made.

    pytest -p downstream_plugin --downstream-results FILE [--downstream-debug-off] [--downstream-quiet LOGGER]

The file gets a line of JSON when a test begins and one for each of its phases that says something, so that a run whose
process dies tells how far it came.
"""

import asyncio
import gc
import json
import logging
from collections import Counter

OURS = "boucle._loop.Loop"


def pytest_addoption(parser):
    group = parser.getgroup("downstream")
    group.addoption("--downstream-results", metavar="FILE", help="where the outcomes go")
    group.addoption("--downstream-debug-off", action="store_true", help="run anyio's tests without debug mode")
    group.addoption("--downstream-quiet", metavar="LOGGER", help="a logger whose lines would fail tests of the suite")


def pytest_configure(config):
    if logger := config.getoption("--downstream-quiet"):
        logging.getLogger(logger).setLevel(logging.CRITICAL)
    if path := config.getoption("--downstream-results"):
        config.pluginmanager.register(Notes(path, config.getoption("--downstream-debug-off")), "downstream-notes")


class Notes:
    """The outcomes of one session. Sessions that tests start in the same process have none of it."""

    def __init__(self, path, debug_off):
        self._file = open(path, "w")  # noqa: SIM115, it is open as long as the session
        self._debug_off = debug_off
        self._loops = Counter()
        self._count_loops()

    def _count_loops(self):
        """Count every loop that is made from here on, by its class."""
        initialise = asyncio.BaseEventLoop.__init__

        def counted(loop, *arguments, **options):
            self._loops[_kind(type(loop))] += 1
            initialise(loop, *arguments, **options)

        asyncio.BaseEventLoop.__init__ = counted

    def pytest_collection_modifyitems(self, items):
        if not self._debug_off:
            return
        for item in items:
            parameters = item.callspec.params if hasattr(item, "callspec") else {}
            backend = parameters.get("anyio_backend")
            if isinstance(backend, tuple) and backend[1].get("debug"):
                parameters["anyio_backend"] = (backend[0], backend[1] | {"debug": False})

    def pytest_collection_finish(self):
        # aiohttp collects the garbage after each test: three times as fast without what is here for good.
        gc.collect()
        gc.freeze()

    def pytest_collectreport(self, report):
        if report.failed:
            self._note(report.nodeid or "collection", "error", str(report.longrepr))

    def pytest_runtest_logstart(self, nodeid):
        self._note(nodeid, "unfinished")

    def pytest_runtest_logreport(self, report):
        if report.when == "call" or not report.passed:
            self._note(report.nodeid, _outcome(report), report.longreprtext)

    def pytest_sessionfinish(self):
        self._write(loops=self._loops)
        self._file.close()

    def _note(self, test, outcome, why=""):
        self._write(test=test, outcome=outcome, why=why)

    def _write(self, **line):
        print(json.dumps(line), file=self._file, flush=True)


def _kind(loop_class):
    """What a class of loops counts as: boucle's where it is a subclass of that, as a suite may have its own."""
    names = [f"{base.__module__}.{base.__qualname__}" for base in loop_class.__mro__]
    return OURS if OURS in names else names[0]


def _outcome(report):
    """What pytest would count a phase as."""
    if hasattr(report, "wasxfail"):
        return "xfailed" if report.skipped else "xpassed"
    if report.when != "call" and report.failed:
        return f"error in {report.when}"
    return report.outcome
