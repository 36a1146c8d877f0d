"""The pytest plugin, once an option has asked for it: tests run on boucle, and are looked at while they do.

Each phase of a test (its setup, the call, its teardown) is recorded by itself. A phase in which a step held the
processor for too long fails, with the place, the task and a picture; if it has failed anyway, it says so in addition.
What is known of a phase travels with its report, as plain values: so it arrives where pytest-xdist runs tests in other
processes.

The options stand in ``pytest_boucle``.
"""

import argparse
import asyncio
import contextlib
import dataclasses
import hashlib
import os
import re
import warnings
from typing import Any

import pytest

from . import __version__, _annotations
from ._launch import install
from ._quantities import parse_time, show_time
from ._recording import DEFAULT_THRESHOLD, Chronology, record
from ._sentences import is_inside, sentence, title

LONGEST_NAME = 200
"""Bytes of a file's name, without its ending."""


@dataclasses.dataclass(frozen=True)
class Block:
    """A step that held the processor for too long."""

    title: str
    file: str
    line: int
    text: str
    """Who it was, and who had to wait."""


class Plugin:
    """The hooks of a run."""

    def __init__(self, config):
        self._limit = _limit_of_option(config.option.boucle_max_block)
        self._folder = config.option.boucle_record
        if self._folder:
            # Also for the processes of pytest-xdist, which get the options.
            self._folder = config.option.boucle_record = os.path.abspath(self._folder)
            os.makedirs(self._folder, exist_ok=True)
        self._root = str(config.rootpath)
        self._ran = set()
        self._blocks = []
        with _without_policy_warnings():
            self._former_policy = asyncio.get_event_loop_policy()
        install()

    def pytest_unconfigure(self):
        """Leave asyncio as it was."""
        with _without_policy_warnings():
            asyncio.set_event_loop_policy(self._former_policy)

    def pytest_report_header(self):
        """What is done, in the lines that begin a run."""
        limit = "" if self._limit is None else f"; a step may take {show_time(self._limit)}"
        return f"boucle {__version__}: new event loops are boucle's{limit}"

    # A test: its phases, and the whole of it.

    @pytest.hookimpl(hookwrapper=True, tryfirst=True)
    def pytest_runtest_protocol(self, item):
        """Save the chronology of the whole test."""
        if not self._folder:
            yield
            return
        with record(program=item.nodeid, threshold=self._threshold(item)) as chronology:
            yield
        if chronology.steps:
            ending = "html" if hasattr(Chronology, "html") else "svg"
            chronology.save(os.path.join(self._folder, f"{file_name(item.nodeid)}.{ending}"))

    @pytest.hookimpl(hookwrapper=True)
    def pytest_runtest_setup(self, item):
        """Look at the setup."""
        yield from self._look(item, "setup")

    @pytest.hookimpl(hookwrapper=True)
    def pytest_runtest_call(self, item):
        """Look at the test."""
        yield from self._look(item, "call")

    @pytest.hookimpl(hookwrapper=True)
    def pytest_runtest_teardown(self, item):
        """Look at the teardown."""
        yield from self._look(item, "teardown")

    def _look(self, item, phase):
        try:
            limit = _limit(item, self._limit)
        except ValueError as error:
            pytest.fail(f"{item.nodeid}: {error}", pytrace=False)
        delay = _run_delay()
        with record(program=item.nodeid, threshold=limit or self._threshold(item)) as chronology:
            outcome = yield
        blocks, picture = [], None
        if limit is not None:
            starvations = [it for it in chronology.starvations if _is_to_blame(it, limit, _run_delay() - delay)]
            blocks = [_block(starvation, limit, item, self._root) for starvation in starvations]
        if blocks:
            picture = "\n\n".join([*(block.text for block in blocks), chronology.text(width=100).rstrip()])
        item.stash.setdefault(_KNOWN, {})[phase] = (bool(chronology.steps), blocks)
        if picture is None:
            return
        if outcome.excinfo is None:
            outcome.force_exception(pytest.fail.Exception(picture, pytrace=False))
        else:
            item.add_report_section(phase, "boucle", picture)

    def _threshold(self, item):
        with contextlib.suppress(ValueError):
            limit = _limit(item, self._limit)
            if limit is not None:
                return limit
        return DEFAULT_THRESHOLD

    @pytest.hookimpl(hookwrapper=True)
    def pytest_runtest_makereport(self, item, call):
        """Give the report what is known of its phase."""
        outcome = yield
        ran, blocks = item.stash.get(_KNOWN, {}).get(call.when, (False, []))
        report = outcome.get_result()
        report.boucle_ran = ran
        report.boucle_blocks = [dataclasses.asdict(block) for block in blocks]

    # The end of the run, in the process that reports.

    def pytest_runtest_logreport(self, report):
        """Keep what a phase has told."""
        if getattr(report, "boucle_ran", False):
            self._ran.add(report.nodeid)
        self._blocks += getattr(report, "boucle_blocks", [])

    def pytest_terminal_summary(self, terminalreporter):
        """Say how many tests ran on boucle; in a workflow of GitHub, annotate the lines that blocked."""
        count = len(self._ran)
        where = f"; their chronologies are in {self._folder}" if self._folder and count else ""
        terminalreporter.write_line(f"boucle: {count} test{'s' * (count != 1)} ran a boucle loop{where}")
        if _annotations.wanted():
            for block in self._blocks:
                line = _annotations.warning(block["text"], block["title"], block["file"], block["line"])
                terminalreporter.write_line(line)


_KNOWN: "pytest.StashKey[dict[str, Any]]" = pytest.StashKey()
"""Of each phase of a test: whether a boucle loop ran, and what held it for too long."""


@contextlib.contextmanager
def _without_policy_warnings():
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", DeprecationWarning)
        yield


def _limit_of_option(text):
    if text is None:
        return None
    try:
        return parse_time(text)
    except argparse.ArgumentTypeError as error:
        raise pytest.UsageError(f"--boucle-max-block: {error}") from None


def _limit(item, otherwise):
    """How many seconds a step of this test may take; None for as long as it likes."""
    marker = item.get_closest_marker("boucle_max_block")
    if marker is None:
        return otherwise
    if len(marker.args) != 1 or marker.kwargs:
        raise ValueError('the marker boucle_max_block takes one time, as in boucle_max_block("200ms"), or None')
    (time,) = marker.args
    if time is None:
        return None
    try:
        return parse_time(str(time))
    except argparse.ArgumentTypeError as error:
        raise ValueError(f"boucle_max_block: {error}") from None


def _run_delay():
    """For how many seconds this thread could have run, and the operating system gave it no processor."""
    try:
        with open("/proc/thread-self/schedstat") as file:
            return int(file.read().split()[1]) * 1e-9
    except (OSError, IndexError, ValueError):
        return 0.0


def _is_to_blame(starvation, limit, delay):
    """Whether the code held the processor for too long. Where the watchdog saw a cause it knows; else the time in which
    the whole phase got no processor is taken off."""
    if starvation.cause in (None, "unknown"):
        return starvation.duration - delay > limit
    return starvation.cause != "no processor"


def _block(starvation, limit, item, root):
    """What there is to say about a step."""
    file, line = starvation.file, starvation.line
    if not file or "site-packages" in file or not is_inside(file, root):
        # It stands in somebody else's code: what the user can look at is the test.
        file, line = str(item.path), (item.location[1] or 0) + 1
    return Block(title(starvation), os.path.abspath(file), line, sentence(starvation, limit, root))


def file_name(nodeid):
    """A name for a file, made of a test's id, and only of this one's."""
    plain = nodeid.replace("::", "--").replace("/", ".")
    safe = re.sub(r"[^A-Za-z0-9_.-]+", "_", plain).lstrip(".")
    if safe == plain and len(safe) <= LONGEST_NAME:
        return safe
    return f"{safe[:LONGEST_NAME]}-{hashlib.sha1(nodeid.encode()).hexdigest()[:8]}"
