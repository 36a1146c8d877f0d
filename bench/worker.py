"""The process that measures one benchmark on one loop.

    python bench/worker.py measure LOOP WORKLOAD OPERATIONS
    python bench/worker.py count LOOP WORKLOAD FEW MANY
    python bench/worker.py describe LOOP

Prints one line of JSON. `run.py` starts it.

# Why a process for each figure

In one process the loops would share freelists, the thresholds of malloc, and each other's patches. A process per loop
that lives on would keep them apart, but a figure would then depend on which benchmarks ran before (100,000 timers leave
another heap behind in each loop), and the place of code and data in memory, which is drawn once per process and worth
some per cent, would be the same in every round. A process per figure draws it anew in each round, and gives the same
figure when it is the only one asked for.

What such a process lacks is warmth, so everything is run at a tenth of its size first, and boucle's ring is written
through once: until then each step also pays for fresh pages, as a program does for its first 500,000 steps.
"""

import argparse
import contextlib
import gc
import hashlib
import importlib
import importlib.metadata
import json
import os
import platform
from pathlib import Path

from catalogue import WORKLOADS
from loops import COMPETITORS
from workloads import Stopwatch

RING = 1 << 19
"""Steps that boucle's ring holds."""

CHECKED_OPERATIONS = 2_000
"""Of each workload, when what the recorder wrote is compared with what the loop counted."""

NANOSECONDS = {"ns": 1, "µs": 1_000, "ms": 1_000_000}

GIVEN_UP = 100_000
"""Turns after which a descriptor counts as never seen."""


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    commands = parser.add_subparsers(dest="command", required=True)
    measuring = commands.add_parser("measure", help="how long a workload takes")
    measuring.add_argument("loop", choices=COMPETITORS)
    measuring.add_argument("workload", choices=WORKLOADS)
    measuring.add_argument("operations", type=int)
    counting = commands.add_parser("count", help="run it twice; calls of getppid surround what callgrind is to count")
    counting.add_argument("loop", choices=COMPETITORS)
    counting.add_argument("workload", choices=WORKLOADS)
    counting.add_argument("sizes", type=int, nargs=2, metavar="OPERATIONS")
    describing = commands.add_parser("describe", help="version, polling, what was recorded")
    describing.add_argument("loop", choices=COMPETITORS)
    options = parser.parse_args()
    competitor = COMPETITORS[options.loop]
    if options.command == "measure":
        result = measure(competitor, WORKLOADS[options.workload], options.operations)
    elif options.command == "count":
        result = count(competitor, WORKLOADS[options.workload], options.sizes)
    else:
        result = describe(competitor)
    print(json.dumps(result))


def measure(competitor, workload, operations):
    """The time that so many operations take, or the figure that the workload has by itself."""
    if workload.section == "loop":
        gc.disable()
    if workload.is_warmed:
        if competitor.is_recorded:
            _run(competitor, WORKLOADS["call_soon_queued"], RING)
        _run(competitor, workload, max(_few(workload), operations // 10))
    return _run(competitor, workload, operations)


def count(competitor, workload, sizes):
    """Runs it in these sizes, for callgrind, which sees the calls that stand in for the clock."""
    gc.disable()
    return [_run(competitor, workload, operations, os.getppid) for operations in sizes]


def _few(workload):
    """Operations of a run that is not measured."""
    return CHECKED_OPERATIONS if workload.section == "loop" else max(1, workload.operations // 10)


def _run(competitor, workload, operations, clock=None):
    stopwatch = Stopwatch(clock or workload.clock)
    with contextlib.closing(competitor.new_event_loop()) as loop:
        figure = workload.run(loop, operations, stopwatch)
    if figure is not None:
        return {"figure": figure}
    nanoseconds = stopwatch.nanoseconds
    figure = nanoseconds / operations / NANOSECONDS[workload.unit]
    return {"operations": operations, "nanoseconds": nanoseconds, "figure": figure}


def describe(competitor):
    """What a reader has to know about a loop to judge its figures."""
    facts = {"version": _version(competitor), "turns_until_seen": turns_until_seen(competitor)}
    if competitor.module == "boucle":
        package = Path(importlib.import_module("boucle").__file__).parent
        (extension,) = package.glob("*.so")
        facts["extension"] = hashlib.sha256(extension.read_bytes()).hexdigest()[:12]
    if competitor.is_recorded:
        checked = {name: workload for name, workload in WORKLOADS.items() if workload.is_checked}
        facts["recorded"] = {name: check_recorder(competitor, workload) for name, workload in checked.items()}
    return facts


def _version(competitor):
    if competitor.module == "asyncio":
        return f"of Python {platform.python_version()}"
    return importlib.metadata.version(competitor.module)


def check_recorder(competitor, workload):
    """The steps of a small run. Raises AssertionError unless the recorder wrote down each that the loop counted."""
    import boucle

    with contextlib.closing(competitor.new_event_loop()) as loop, boucle.record() as chronology:
        workload.run(loop, _few(workload), Stopwatch(workload.clock))
        steps = loop._counts()[1]
    if workload.loops_of_its_own:
        steps += _few(workload)
    recorded = len(chronology.steps) + chronology.lost
    assert recorded == steps > 0, f"{workload.name}: {steps} steps ran, and the recorder wrote {recorded}"
    return recorded


def turns_until_seen(competitor):
    """How many turns of a busy loop begin before it runs the reader of a descriptor that has become readable."""
    reader, writer = os.pipe()
    turns = 0

    def turn():
        nonlocal turns
        if turns == 0:
            os.write(writer, b"!")
        turns += 1
        if turns < GIVEN_UP:
            loop.call_soon(turn)
        else:
            loop.stop()

    with contextlib.closing(competitor.new_event_loop()) as loop:
        loop.add_reader(reader, loop.stop)
        loop.call_later(0.01, turn)
        loop.run_forever()
        loop.remove_reader(reader)
    os.close(reader)
    os.close(writer)
    return turns


if __name__ == "__main__":
    main()
