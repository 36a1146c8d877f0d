"""Runs one combination of the matrix on one loop, in a process of its own, so that a crash costs one test.

Started by matrix.py. Reads its order as JSON from standard input; writes what happens, a line of JSON each, to the file
that the order names: first the plan, then the start and the end of each test. Whoever reads a start without an end
knows which test the process died in.
"""

import asyncio
import faulthandler
import gc
import json
import re
import sys
import time
import traceback
import unittest
import warnings

import classes
from fake_clock import needs_fake_clock

import boucle

SECONDS_FOR_A_TEST = 60


def main():
    order = json.load(sys.stdin)
    combination, loop = tuple(order["combination"]), order["loop"]
    if loop == classes.BOUCLE:
        make_loops_boucles()
    with open(order["events"], "a", buffering=1) as events:

        def tell(**event):
            events.write(json.dumps(event) + "\n")

        cases, plan = select(combination, loop, order["only"])
        tell(plan=plan)
        unraisable = Unraisable()
        for case in cases:
            test = identity(case)
            if test in order["done"]:
                continue
            tell(start=test)
            # A thread of C does it, so also when the interpreter hangs.
            faulthandler.dump_traceback_later(SECONDS_FOR_A_TEST, exit=True)
            began = time.monotonic()
            outcome, detail = run(case, unraisable)
            faulthandler.cancel_dump_traceback_later()
            tell(end=test, outcome=outcome, detail=detail, seconds=time.monotonic() - began)
        tell(done=True)


def select(combination, loop, only):
    """The test cases to run, and the plan: for each class the number of its tests, and those that need a fake clock."""
    cases, plan = [], {}
    for cls in classes.test_classes(combination, loop):
        names = unittest.defaultTestLoader.getTestCaseNames(cls)
        left_out = [name for name in names if loop == classes.BOUCLE and needs_fake_clock(cls, name)]
        title = f"({', '.join(combination)}) {loop} {cls.__name__}"
        chosen = [name for name in names if name not in left_out and re.search(only, f"{title}.{name}")]
        cases += [cls(name) for name in chosen]
        plan[cls.__name__] = {"tests": len(chosen), "fake_clock": left_out}
    return cases, plan


def make_loops_boucles():
    """Every loop that a test makes by itself is boucle's, and running another one fails the test."""
    boucle.install()
    if hasattr(asyncio, "EventLoop"):  # from 3.13 on
        asyncio.EventLoop = boucle.Loop

    def refuse(loop):
        raise AssertionError(f"the test runs {loop!r} and not a loop of boucle")

    asyncio.BaseEventLoop.run_forever = refuse


def identity(case):
    return f"{type(case).__name__}.{case._testMethodName}"


def run(case, unraisable):
    """Run a test. Returns how it ended, and its tracebacks or the reason why it was skipped."""
    result = Result()
    case.run(result)
    # What a test left behind must go without an accident, and while we know whose it was.
    del case
    gc.collect()
    lost = unraisable.take()
    if lost and not result.skips:
        result.tracebacks += lost
    if result.tracebacks:
        return "failed", "\n".join(result.tracebacks)
    return ("skipped", result.skips[0]) if result.skips else ("passed", "")


class Result(unittest.TestResult):
    """Gathers the tracebacks of one test."""

    def __init__(self):
        super().__init__()
        self.tracebacks = []
        self.skips = []

    # The names are unittest's.
    def addError(self, test, error):  # noqa: N802
        self.tracebacks.append(self._exc_info_to_string(error, test))

    addFailure = addError  # noqa: N815

    def addSubTest(self, test, subtest, error):  # noqa: N802
        if error is not None:
            self.tracebacks.append(f"{subtest}\n{self._exc_info_to_string(error, test)}")

    def addSkip(self, test, reason):  # noqa: N802
        self.skips.append(reason)

    def addUnexpectedSuccess(self, test):  # noqa: N802
        self.tracebacks.append("CPython expects this test to fail, and it passed\n")


class Unraisable:
    """The exceptions that nobody could catch, as those of finalizers: CPython only prints them."""

    def __init__(self):
        self._texts = []
        sys.unraisablehook = self._add

    def _add(self, unraisable):
        text = "".join(traceback.format_exception(unraisable.exc_type, unraisable.exc_value, unraisable.exc_traceback))
        self._texts.append(f"{unraisable.err_msg or 'exception ignored in'} {unraisable.object!r}\n{text}")

    def take(self):
        texts, self._texts = self._texts, []
        return texts


if __name__ == "__main__":
    faulthandler.enable()
    warnings.simplefilter("default")
    main()
