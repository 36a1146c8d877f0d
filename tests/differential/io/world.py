"""What all kinds of programs share: how one runs, how a loop settles, what is looked at.

A program is ``(setup, statements)``. The statements run one after the other, each followed by a settled point; what
they do to the loop they do inside of a callback or a task. Times and turns are not written down, only the number of the
statement and the order.
"""

import asyncio
import contextlib
import gc
import logging
import os
import re
import sys
import tempfile
import warnings
import zlib

from ..interpreter import Run
from ..observing import Observer
from ..operations import KINDS
from .differences import ABANDONED, INTERNAL_ERRORS, LEFT_OUT_OF_REPORTS

MOST_TURNS = 300
# After so many turns in which nothing was seen to happen, nothing will.
QUIET_TURNS = 3
# A program that goes on and on by itself: an end that is reported at each turn, after an interrupt.
MOST_ENTRIES = 150


class IoRun(Run):
    """What was observed of a program with sockets."""

    def differs_from(self, oracle):
        return not oracle.broken() and super().differs_from(oracle)

    def broken(self):
        """Whether asyncio failed internally, which nobody need imitate."""
        entries = [str(entry) for entry in (*self.trace, *self.reports)]
        return any(error in entry for entry in entries for error in (*INTERNAL_ERRORS, ABANDONED))


class Moment:
    """Where in a program an observation was made: stands for the clock of programs that have one."""

    now = 0
    turn = 0


class RestlessError(Exception):
    """The loop does not settle: the program is over."""


class IoObserver(Observer):
    """Writes the trace of a program with sockets."""

    def __init__(self):
        super().__init__(Moment(), exact=False)

    def next_statement(self):
        self._clock.now += 1

    def plain(self, value, *depth):
        if isinstance(value, (bytes, bytearray, memoryview)):
            return f"{len(value)} bytes, {zlib.crc32(value):x}"
        return super().plain(value, *depth)

    def text(self, text):
        text = re.sub(r"(127\.0\.0\.1', |descriptor )\d+", r"\1...", super().text(text))
        return re.sub(rf"{re.escape(tempfile.gettempdir())}/\w+", "...", text)

    def handler(self, loop, context):
        super().handler(loop, {key: value for key, value in context.items() if key not in LEFT_OUT_OF_REPORTS})

    def warnings(self, caught):
        """All warnings, but those of DYING_SOCKETS."""
        for warning in caught:
            if not str(warning.message).startswith("unclosed <socket"):
                self.reports.append(f"{warning.category.__name__}: {_shortened(warning.message)}")

    def log(self, record):
        """A warning of asyncio's logger."""
        self.see("logger", record.levelname, _shortened(record.getMessage()))
        return False


def _shortened(text):
    return re.sub(r"(<|fd=| = ).*", "", str(text).partition("\n")[0])


def run(world, program, subject, exact=False):
    """Run a program of a world on a subject."""
    enabled = gc.isenabled()
    gc.disable()
    gc.freeze()
    hook = sys.unraisablehook
    logger = logging.getLogger("asyncio")
    observer = IoObserver()
    try:
        with warnings.catch_warnings(record=True) as caught:
            warnings.simplefilter("always")
            sys.unraisablehook = observer.unraisable
            logger.addFilter(observer.log)
            before = len(os.listdir("/proc/self/fd"))
            _run(world, program, subject, observer)
            gc.collect()
            observer.sealed = False
            observer.see("end", "descriptors", len(os.listdir("/proc/self/fd")) - before)
            observer.warnings(caught)
    finally:
        logger.removeFilter(observer.log)
        sys.unraisablehook = hook
        gc.unfreeze()
        if enabled:
            gc.enable()
    return IoRun(observer.trace, sorted(observer.reports), False)


def _run(world, program, subject, observer):
    loop = subject.new_loop()
    loop.slow_callback_duration = 1e9
    loop.set_exception_handler(observer.handler)
    running = world(loop, observer)
    try:
        running.live(*program)
    finally:
        observer.sealed = True
        running.bury()
        loop.close()


class World:
    """What a program can reach while it runs. Each kind adds its statements: methods whose names begin with ``on_``."""

    def __init__(self, loop, observer):
        self._loop = loop
        self._observer = observer
        self._see = observer.see
        self._jobs = []

    # What a kind of program adds.

    def set_up(self, *setup):
        """Make what the program is about."""

    def look(self):
        """Write down the state of everything, at a settled point."""

    def carry(self):
        """Wait until the kernel has carried over what the loop has sent."""

    def tear_down(self):
        """End everything in order, after the statements."""

    def bury(self):
        """Close what is the interpreter's own."""

    # The life of a program.

    def live(self, setup, statements):
        ending, *setup = setup
        with contextlib.suppress(RestlessError):
            self.set_up(*setup)
            self.settle()
            for operation, *arguments in statements:
                self._observer.next_statement()
                self._see("program", operation, *arguments[:1])
                getattr(self, f"on_{operation}")(*arguments)
                self.settle()
            self._observer.next_statement()
            if ending:
                self.tear_down()
                self.settle()
            self.end_jobs()
        self._see("end", "tasks", len(asyncio.all_tasks(self._loop)))

    def settle(self):
        """Let the loop run until nothing happens any more, and look."""
        self.calm_down()
        self.carry()
        self.calm_down()
        self.look()

    def calm_down(self):
        """Let the loop run until nothing happens any more."""
        quiet = 0
        begin = len(self._observer.trace)
        for _ in range(MOST_TURNS):
            entries = len(self._observer.trace)
            self.turn()
            if entries - begin > MOST_ENTRIES:
                # How many fit into the bound is of no interest.
                del self._observer.trace[begin + MOST_ENTRIES :]
                break
            quiet = 0 if len(self._observer.trace) > entries or len(self._loop._ready) else quiet + 1
            if quiet == QUIET_TURNS:
                return
        self._see("loop", "restless")
        raise RestlessError

    def turn(self):
        """One turn of the loop."""
        self._loop.call_soon(self._loop.stop)
        try:
            self._loop.run_forever()
        except (KeyboardInterrupt, SystemExit) as error:
            self._see("loop", "interrupted", type(error).__name__, str(error))

    def in_callback(self, function, *arguments):
        """Call a function inside of the loop."""
        self._loop.call_soon(function, *arguments)
        self.calm_down()

    def raising(self, kind):
        raise KINDS[kind](kind)

    # Tasks. A job does its actions, methods whose names begin with ``do_``, one after the other.

    def on_job(self, turns, actions):
        """Start a task, and cancel it after so many turns, None: not."""
        name = f"job {len(self._jobs)}"
        task = self._loop.create_task(self._job(name, actions), name=name)
        self._observer.label(task, name)
        self._jobs.append(task)
        if turns is not None:
            for _ in range(turns):
                self.turn()
            self._see(name, "cancel", task.cancel())

    def on_cancel(self, number):
        """Cancel a job."""
        if self._jobs:
            task = self._jobs[number % len(self._jobs)]
            self._see("program", "cancels", task, task.cancel())

    async def _job(self, name, actions):
        for operation, *arguments in actions:
            if self._observer.sealed:
                return
            try:
                self._see(name, operation, await getattr(self, f"do_{operation}")(*arguments))
            except (KeyboardInterrupt, SystemExit, GeneratorExit):
                raise
            except BaseException as error:
                self._see(name, operation, "raises", error)
                if isinstance(error, asyncio.CancelledError):
                    raise

    def end_jobs(self):
        """Cancel what still waits."""
        for task in self._jobs:
            if not task.done():
                self._see("end", "waits", task)
                task.cancel()
        self.calm_down()
        self._jobs.clear()
