"""What is measured: each benchmark as a function of a loop.

A workload prepares, measures its operations with the stopwatch it is given, and leaves the loop to be closed by the
caller. What happens outside of the stopwatch is free. All loops do the same number of operations, so that they do equal
work; the numbers are such that the fastest loop is busy for some ten milliseconds and the slowest for half a second.

Callbacks and coroutines are as empty as they can be: a row is the cost of the loop with the calls into it, and an upper
bound of what a program gains.
"""

import asyncio
import dataclasses
import os
import queue
import random
import threading
import time
from collections.abc import Callable

QUEUED = 1_000
"""How many callbacks or timers are put in a row."""


class Stopwatch:
    """Measures what runs inside of its ``with`` block."""

    def __init__(self, clock):
        self._clock = clock
        self.nanoseconds = 0

    def __enter__(self):
        self._start = self._clock()

    def __exit__(self, *exception):
        self.nanoseconds += self._clock() - self._start


@dataclasses.dataclass(frozen=True)
class Workload:
    """A benchmark."""

    name: str
    title: str
    """The row of the table; says what one operation is."""
    run: Callable
    """Takes a loop, a number of operations and a stopwatch."""
    operations: int
    clock: Callable = time.process_time_ns
    """CPU of the process, which another process disturbs less than it disturbs the wall clock; or the wall clock."""
    counted: "tuple[int, int] | None" = (10_000, 50_000)
    """Operations that warm up and operations whose instructions are counted; None where threads make the count a matter
    of luck."""
    loops_of_its_own: bool = False
    """Whether an operation is one step of a loop that it makes itself."""
    section: str = "loop"
    """The table that it stands in: `loop`, without garbage collection, or `process`."""
    unit: str = "ns"
    """Of the figure: ns, µs or ms for an operation; or whatever the function returns."""
    needs: "frozenset[str]" = frozenset()
    """What a loop must offer."""
    is_checked: bool = True
    """Whether a small run shows that the recorder wrote down each step."""
    is_warmed: bool = True
    """Whether it runs at a tenth of its size first."""
    has_ratio: bool = True
    """Whether how many times a figure another one is says something."""
    is_quick: bool = True
    """Whether the short run has it."""

    @property
    def label(self):
        """The title with what its figures are."""
        words = [self.title]
        if self.section != "loop":
            words.append(self.unit)
        if self.clock is not time.process_time_ns:
            words.append("wall")
        return f"{words[0]} ({', '.join(words[1:])})" if words[1:] else words[0]


WORKLOADS: "dict[str, Workload]" = {}


def workload(title, operations, **options):
    """Registers a function as a workload of its name."""

    def register(function):
        WORKLOADS[function.__name__] = Workload(function.__name__, title, function, operations, **options)
        return function

    return register


def nothing():
    """A callback."""


def nothing_with(argument):
    """A callback with an argument."""


def _chain(loop, operations):
    """A callback that schedules itself so many times, and then stops the loop."""
    left = operations

    def step():
        nonlocal left
        left -= 1
        if left:
            loop.call_soon(step)
        else:
            loop.stop()

    loop.call_soon(step)


def _repeat(loop, times, part):
    """Runs part(), so many times, each in a turn of its own, and then stops the loop."""
    left = times

    def turn():
        nonlocal left
        if left:
            left -= 1
            part()
            loop.call_soon(turn)
        else:
            loop.stop()

    loop.call_soon(turn)


@workload("call_soon, one callback a turn", 200_000)
def call_soon_chain(loop, operations, stopwatch):
    """A callback schedules itself: the cost of a turn that has one step. Nothing is watched but the wake-up."""
    _chain(loop, operations)
    with stopwatch:
        loop.run_forever()


@workload("the same, and a descriptor is watched", 200_000)
def call_soon_chain_watching(loop, operations, stopwatch):
    """As before, with a silent pipe watched, so that a loop which looks after I/O in every turn has to enter the
    kernel: the cost of a turn of a server."""
    reader, writer = os.pipe()
    loop.add_reader(reader, nothing)
    _chain(loop, operations)
    with stopwatch:
        loop.run_forever()
    loop.remove_reader(reader)
    os.close(reader)
    os.close(writer)


@workload("call_soon, 1,000 callbacks a turn", 400_000)
def call_soon_queued(loop, operations, stopwatch):
    """A callback schedules 1,000 others and itself: the cost of a step, without the turn."""

    def queue_them():
        for _ in range(QUEUED):
            loop.call_soon(nothing)

    _repeat(loop, operations // QUEUED, queue_them)
    with stopwatch:
        loop.run_forever()


@workload("the same, with one argument", 400_000)
def call_soon_queued_argument(loop, operations, stopwatch):
    """As before; each callback takes an argument."""

    def queue_them():
        for _ in range(QUEUED):
            loop.call_soon(nothing_with, None)

    _repeat(loop, operations // QUEUED, queue_them)
    with stopwatch:
        loop.run_forever()


@workload("call_later(0), one a turn", 100_000)
def call_later_zero(loop, operations, stopwatch):
    """A callback schedules itself with call_later(0), which uvloop takes for call_soon."""
    left = operations

    def step():
        nonlocal left
        left -= 1
        if left:
            loop.call_later(0, step)
        else:
            loop.stop()

    loop.call_soon(step)
    with stopwatch:
        loop.run_forever()


@workload("timer armed and fired, 1,000 in 1 ms", 100_000)
def timers_fired(loop, operations, stopwatch):
    """1,000 timers of a millisecond; when the last has fired, the next 1,000. Sleeping costs no CPU."""
    left = operations

    def fire():
        nonlocal left
        left -= 1
        if left % QUEUED == 0:
            arm()

    def arm():
        if left == 0:
            loop.stop()
            return
        for _ in range(QUEUED):
            loop.call_later(0.001, fire)

    loop.call_soon(arm)
    with stopwatch:
        loop.run_forever()


@workload("timer armed and cancelled, 100,000 pending", 100_000)
def timers_cancelled(loop, operations, stopwatch):
    """call_later(...).cancel() with a deadline somewhere among those of 100,000 other timers; a turn every 1,000."""
    chance = random.Random(1)
    for _ in range(100_000):
        loop.call_later(chance.uniform(3600, 7200), nothing)
    delays = [chance.uniform(3600, 7200) for _ in range(QUEUED)]

    def arm_and_cancel():
        for delay in delays:
            loop.call_later(delay, nothing).cancel()

    _repeat(loop, operations // QUEUED, arm_and_cancel)
    with stopwatch:
        loop.run_forever()


@workload("timer replaced, 10,000 timeouts of 30 s", 100_000)
def timers_replaced(loop, operations, stopwatch):
    """10,000 connections with a timeout of 30 seconds each, which is cancelled and armed anew when something happens;
    a turn every 1,000."""
    timeouts = [loop.call_later(30, nothing) for _ in range(10_000)]
    first = 0

    def replace():
        nonlocal first
        for index in range(first, first + QUEUED):
            timeouts[index].cancel()
            timeouts[index] = loop.call_later(30, nothing)
        first = (first + QUEUED) % len(timeouts)

    _repeat(loop, operations // QUEUED, replace)
    with stopwatch:
        loop.run_forever()


@workload("call_soon_threadsafe, flood", 50_000, counted=None)
def threadsafe_flood(loop, operations, stopwatch):
    """Another thread calls as fast as it can. The CPU is that of both threads."""
    left = operations

    def arrive():
        nonlocal left
        left -= 1
        if left == 0:
            loop.stop()

    def flood():
        for _ in range(operations):
            loop.call_soon_threadsafe(arrive)

    thread = threading.Thread(target=flood)
    loop.call_soon(thread.start)
    with stopwatch:
        loop.run_forever()
    thread.join()


@workload("call_soon_threadsafe, there and back", 4_000, clock=time.perf_counter_ns, counted=None)
def threadsafe_round_trip(loop, operations, stopwatch):
    """Another thread calls into the sleeping loop and waits for the answer. Mostly the kernel's time to wake them."""
    answers = queue.SimpleQueue()

    def ask():
        for _ in range(operations):
            loop.call_soon_threadsafe(answers.put, None)
            answers.get()
        loop.call_soon_threadsafe(loop.stop)

    thread = threading.Thread(target=ask)
    loop.call_soon(thread.start)
    with stopwatch:
        loop.run_forever()
    thread.join()


@workload("await sleep(0), in 100 tasks", 200_000)
def sleep_zero(loop, operations, stopwatch):
    """100 tasks that do nothing but let the others go first."""
    tasks = 100

    async def yield_often():
        for _ in range(operations // tasks):
            await asyncio.sleep(0)

    async def main():
        for task in [loop.create_task(yield_often()) for _ in range(tasks)]:
            await task

    with stopwatch:
        loop.run_until_complete(main())


@workload("create_task and await it", 50_000)
def create_task(loop, operations, stopwatch):
    """A task that returns at once, and its caller, which waits for it."""

    async def child():
        pass

    async def main():
        for _ in range(operations):
            await loop.create_task(child())

    with stopwatch:
        loop.run_until_complete(main())


@workload("future handed to the other of two tasks", 50_000)
def future_ping_pong(loop, operations, stopwatch):
    """Two tasks take turns: each waits for a future whose result the other sets."""
    balls = [loop.create_future(), loop.create_future()]

    async def play(side):
        for _ in range(operations // 2):
            await balls[side]
            balls[side] = loop.create_future()
            balls[1 - side].set_result(None)

    async def main():
        players = [loop.create_task(play(side)) for side in (0, 1)]
        balls[0].set_result(None)
        for player in players:
            await player

    with stopwatch:
        loop.run_until_complete(main())


@workload("gather of 10,000 tasks, for each", 50_000)
def gather_many(loop, operations, stopwatch):
    """Tasks that end in their first step, made and awaited by gather."""
    size = min(operations, 10_000)

    async def nothing():
        pass

    async def main():
        for _ in range(operations // size):
            await asyncio.gather(*(nothing() for _ in range(size)))

    with stopwatch:
        loop.run_until_complete(main())


@workload("loop made, run and closed", 1_000, counted=(50, 250), loops_of_its_own=True)
def loop_lifetime(loop, operations, stopwatch):
    """A new loop runs one callback, which stops it, and is closed."""
    new_loop = type(loop)
    with stopwatch:
        for _ in range(operations):
            short_lived = new_loop()
            short_lived.call_soon(short_lived.stop)
            short_lived.run_forever()
            short_lived.close()
