"""How late the watchdog is, and whom it blames beside programs that take every processor.

    python bench/watchdog.py lateness [BLOCKS]   from the threshold to the first look, for four kinds of blocks
    python bench/watchdog.py blame [BLOCKS]      beside busy processes: how many innocent and guilty steps are blamed

Nothing here passes or fails.
"""

import asyncio
import itertools
import multiprocessing
import os
import re
import statistics
import sys
import time

import boucle

THRESHOLD = 0.05


def computes(seconds=0.2):
    end = time.thread_time() + seconds
    while time.thread_time() < end:
        pass


def backtracks():
    re.match(r"(a+)+$", "a" * 21 + "b")


KINDS = {
    "sleep": lambda: time.sleep(0.2),
    "Python": computes,
    "regular expression": backtracks,
    "C call": lambda: sum(itertools.repeat(1, 15_000_000)),
}


def watched(work):
    """Run a coroutine function and return the incidents that were told, live ones only."""
    incidents = []

    def note(incident):
        if not incident.ended:
            incidents.append(incident)

    with boucle.watch(THRESHOLD, note):
        boucle.run(work())
    return incidents


def measure_lateness(blocks):
    for kind, block in KINDS.items():

        async def work(block=block):
            for _ in range(blocks):
                await asyncio.sleep(0.02)
                block()
            await asyncio.sleep(0.1)

        late = sorted((incident.duration - THRESHOLD) * 1000 for incident in watched(work))
        if len(late) > 1:
            shown = [statistics.median(late), late[len(late) * 9 // 10], late[-1]]
            middle, most, latest = (f"{time:.2f} ms" for time in shown)
            print(f"{kind:20} {len(late)} of {blocks} seen; median {middle}, 9 of 10 {most}, latest {latest}")


def hog():
    while True:
        pass


def measure_blame(blocks):
    hogs = [multiprocessing.get_context("spawn").Process(target=hog, daemon=True) for _ in range(4 * os.cpu_count())]
    for process in hogs:
        process.start()
    time.sleep(2)

    async def innocent():
        async def worker():
            for _ in range(20 * blocks):
                await asyncio.sleep(0.001)

        await asyncio.gather(*[worker() for _ in range(5)])

    print(f"innocent: {len(watched(innocent))} blamed")
    for kind in ("sleep", "regular expression"):

        async def guilty(block=KINDS[kind]):
            for _ in range(blocks):
                await asyncio.sleep(0.001)
                block()
            await asyncio.sleep(0.1)

        print(f"{kind}: {len(watched(guilty))} of {blocks} blamed")
    for process in hogs:
        process.kill()


if __name__ == "__main__":
    what, blocks = sys.argv[1], int(sys.argv[2]) if len(sys.argv) > 2 else 100
    {"lateness": measure_lateness, "blame": measure_blame}[what](blocks)
