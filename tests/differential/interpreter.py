"""Runs a program on a loop and returns what was observed.

A run is made repeatable: the garbage collector waits for its end, contexts are the run's own, time is virtual.
Whatever an object says as it dies is collected at the end, for the order of deaths is nobody's promise.
"""

import asyncio
import contextvars
import gc
import sys
import warnings
import weakref
from typing import NamedTuple

from .observing import Observer
from .operations import AWAITED, OPERATIONS, VARIABLE, Operations
from .virtual_time import VirtualTime

MOST_STATEMENTS = 400
NUDGES = 6
SWALLOWED = [(), Exception, BaseException]


class Run(NamedTuple):
    """What was observed of a program. All of it is plain data."""

    trace: list
    reports: list
    """What objects said as they were destroyed, in no order."""
    leaked: bool
    """Whether something outlived the collection of garbage at the end."""

    def differs_from(self, oracle):
        """Whether this can be told from the oracle's run.

        The native tasks of Python 3.10 leak now and then. What they hold says nothing then, and the subject need not
        do the same.
        """
        if self.trace != oracle.trace:
            return True
        return not oracle.leaked and (self.leaked or self.reports != oracle.reports)


def run(program, subject, exact=True):
    """Run a program on a subject."""
    debug, ending, body = program
    enabled = gc.isenabled()
    gc.disable()
    # Whatever was there before is of no interest to the collections in here, which makes them fast.
    gc.freeze()
    hook = sys.unraisablehook
    try:
        with warnings.catch_warnings(record=True) as caught:
            warnings.simplefilter("always")
            loop = subject.new_loop()
            loop.slow_callback_duration = 1e9
            loop.set_debug(bool(debug))
            clock = VirtualTime(loop)
            observer = Observer(clock, exact)
            sys.unraisablehook = observer.unraisable
            loop.set_exception_handler(observer.handler)
            # In a context of its own: what a run sets must not be there in the next.
            world = contextvars.Context().run(_run, loop, subject, clock, observer, ending, body)
            del loop, clock
            gc.collect()
            observer.warnings(caught)
    finally:
        sys.unraisablehook = hook
        gc.unfreeze()
        if enabled:
            gc.enable()
    return Run(observer.trace, sorted(observer.reports), world() is not None)


def _run(loop, subject, clock, observer, ending, body):
    world = World(loop, subject, clock, observer)
    world.start(body)
    if world.live(ending):
        world.take_stock()
    observer.sealed = True
    clock.uninstall()
    loop.close()
    return weakref.ref(world)


class World(Operations):
    """What a program can reach while it runs."""

    def __init__(self, loop, subject, clock, observer):
        self._loop = loop
        self._subject = subject
        self._clock = clock
        self._observer = observer
        self._see = observer.see
        self._statements = 0
        self._made = {}
        self._callbacks = []
        self._handles = []
        self._contexts = [contextvars.Context(), contextvars.Context()]
        for number, context in enumerate(self._contexts):
            context.run(VARIABLE.set, f"context {number}")
        self._things = [loop.create_future(), loop.create_future()]
        for number, future in enumerate(self._things):
            observer.label(future, f"future {number}")
        self._event = asyncio.Event()
        self._queue = asyncio.Queue(1)
        self._lock = asyncio.Lock()
        self._semaphore = asyncio.Semaphore(2)
        self._condition = asyncio.Condition()

    # The life of a program.

    def start(self, body):
        task = self._loop.create_task(self._task("main", body), name="main")
        self._observer.label(task, "main")
        self._things.append(task)

    def live(self, ending):
        """Run until nothing can happen any more, and bring it to an end. Whether that was reached within the bound."""
        for number in range(NUDGES):
            if not self._clock.run(self._interrupted):
                return False
            if not asyncio.all_tasks(self._loop):
                break
            self._nudge(cancel=ending == 1 and number % 2)
        if ending == 1:
            self._loop.create_task(self._loop.shutdown_asyncgens(), name="shutdown")
        return self._clock.run(self._interrupted)

    def _nudge(self, cancel):
        """Tasks wait for something that nobody will do: do it, or cancel them, so that the rest of them runs too."""
        if cancel:
            for task in sorted(asyncio.all_tasks(self._loop), key=self._observer.plain):
                self._see("nudge", "cancel", task, task.cancel("nudged"))
            return
        self._event.set()
        for thing in self._things:
            if not thing.done() and not hasattr(thing, "get_coro") and not hasattr(thing, "_children"):
                thing.set_result("nudged")
        if self._queue.full():
            self._queue.get_nowait()
        else:
            self._queue.put_nowait("nudged")
        for lock in self._lock, self._condition:
            if lock.locked():
                lock.release()

    def take_stock(self):
        """Write down the state of everything. How many turns it took until nothing was ready is of no interest."""
        self._clock.turn = 0
        for thing in self._things:
            self._see("end", "state", thing, self._observer.state(thing))
        self._see("end", "tasks", asyncio.all_tasks(self._loop))
        self._see("end", "queue", *self.queue_state("end"))

    def _interrupted(self, error):
        self._see("loop", "interrupted", type(error).__name__, str(error))

    # Running statements.

    async def _task(self, me, body):
        self._observer.label(asyncio.current_task(), me)
        self._see(me, "starts", VARIABLE.get(), asyncio.current_task())
        return await self._block(me, body)

    async def _block(self, me, body):
        calm, statements = body
        for operation, *arguments in statements:
            if self._spent():
                break
            try:
                result = OPERATIONS[operation](self, me, *arguments)
                if operation in AWAITED:
                    result = await result
                self._see(me, operation, result)
            except GeneratorExit:
                raise
            except BaseException as error:
                self._see(me, operation, "raises", error)
                if not isinstance(error, SWALLOWED[calm]):
                    raise
        return f"result of {me}"

    def _callback(self, me, body):
        calm, statements = body
        for operation, *arguments in statements:
            if self._spent():
                break
            try:
                self._see(me, operation, OPERATIONS[operation](self, me, *arguments))
            except BaseException as error:
                self._see(me, operation, "raises", error)
                if not isinstance(error, SWALLOWED[calm]):
                    raise

    def _spent(self):
        self._statements += 1
        return self._observer.sealed or self._statements > MOST_STATEMENTS
