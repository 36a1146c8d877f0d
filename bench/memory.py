"""How much memory a sleeping task takes: resident bytes of the process for each, next to the other loops.

    .venv/3.13/bin/python bench/memory.py [--tasks N] [--loops boucle,uvloop]

A task is `await asyncio.sleep(3600)`, with its coroutines, its timer and its future. Each loop has its own process,
which first runs until what loops keep for later (boucle's ring and its names of tasks) has been written once.
"""

import argparse
import asyncio
import gc
import os
import subprocess
import sys
from pathlib import Path

from loops import COMPETITORS, USUAL

PAGE = 4096


def resident():
    """Bytes of this process that are in memory."""
    return int(Path("/proc/self/statm").read_text().split()[1]) * PAGE


async def measure(count):
    """Bytes for each of so many sleeping tasks."""
    loop = asyncio.get_running_loop()

    async def nothing():
        pass

    async def sleep():
        await asyncio.sleep(3600)

    for _ in range(150_000):
        await loop.create_task(nothing())
    for _ in range(400_000):
        await asyncio.sleep(0)
    gc.collect()
    before = resident()
    tasks = [loop.create_task(sleep()) for _ in range(count)]
    await asyncio.sleep(0.5)
    gc.collect()
    taken = resident() - before
    for task in tasks:
        task.cancel()
    await asyncio.gather(*tasks, return_exceptions=True)
    return round(taken / count)


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--tasks", type=int, default=200_000, help="how many sleep at once (default: %(default)s)")
    parser.add_argument("--loops", default=",".join(USUAL), help="default: %(default)s")
    parser.add_argument("--worker", choices=COMPETITORS, help=argparse.SUPPRESS)
    options = parser.parse_args()
    if options.worker:
        loop = COMPETITORS[options.worker].new_event_loop()
        print(loop.run_until_complete(measure(options.tasks)))
        loop.close()
        return
    print("bytes for each sleeping task")
    for name in options.loops.split(","):
        command = [sys.executable, __file__, "--worker", name, "--tasks", str(options.tasks)]
        variables = os.environ | COMPETITORS[name].environment
        result = subprocess.run(command, env=variables, stdout=subprocess.PIPE, text=True, check=True)
        print(f"{name:10} {int(result.stdout):6,}", flush=True)


if __name__ == "__main__":
    main()
