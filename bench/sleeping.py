"""What sleeping costs, and how exact it is."""

import asyncio
import statistics
import time

import memory
from workloads import workload

SHORT = 0.0002
"""Seconds: below a millisecond, and below half of one."""

TICK = 0.0004
"""Seconds."""


def _lateness(loop, operations):
    """By how many seconds each of so many short sleeps was longer than asked for."""

    async def main():
        late = []
        for _ in range(operations):
            before = time.monotonic()
            await asyncio.sleep(SHORT)
            late.append(time.monotonic() - before - SHORT)
        return late

    return loop.run_until_complete(main())


# uvloop is too early: its lateness is below zero.
SLEEPS = {"section": "process", "is_warmed": False, "has_ratio": False}


@workload("sleep(0.0002), later than asked for: median", 500, **SLEEPS, unit="µs")
def short_sleep(loop, operations, stopwatch):
    """Sleeps, one after the other."""
    return statistics.median(_lateness(loop, operations)) * 1e6


@workload("sleep(0.0002), ended too early", 500, **SLEEPS, unit="of 500")
def early_firings(loop, operations, stopwatch):
    """How many of such sleeps were shorter than asked for."""
    return sum(late < 0 for late in _lateness(loop, operations))


@workload("ticker of 0.4 ms", 1, section="process", unit="% CPU", is_warmed=False, is_checked=False)
def ticker(loop, operations, stopwatch):
    """A task sleeps 0.4 ms again and again, for a second: the share of it that the process used."""

    async def main():
        end = time.monotonic() + operations
        while time.monotonic() < end:
            await asyncio.sleep(TICK)

    began, used = time.monotonic(), time.process_time()
    loop.run_until_complete(main())
    return (time.process_time() - used) / (time.monotonic() - began) * 100


@workload(
    "the same by time.sleep, without a loop",
    1,
    section="process",
    unit="% CPU",
    is_warmed=False,
    is_checked=False,
    is_quick=False,
    has_ratio=False,
)
def ticker_floor(loop, operations, stopwatch):
    """What the kernel alone takes for as many sleeps as fit into a second: no loop is used, whichever column it is."""
    began, used = time.monotonic(), time.process_time()
    end = began + operations
    while time.monotonic() < end:
        time.sleep(TICK)
    return (time.process_time() - used) / (time.monotonic() - began) * 100


@workload("sleeping task", 50_000, section="process", unit="bytes", is_warmed=False, is_checked=False, is_quick=False)
def sleeping_task(loop, operations, stopwatch):
    """Resident memory for each of 50,000 tasks that sleep; see memory.py."""
    return loop.run_until_complete(memory.measure(operations))
