"""Processes that a loop starts, and the one that it lives in: wall time, since most of it passes in other processes."""

import asyncio
import subprocess
import sys
import time

from workloads import workload

MEGABYTE = 1_000_000


@workload("subprocess, /bin/true", 50, clock=time.perf_counter_ns, section="process", unit="µs")
def subprocess_spawn(loop, operations, stopwatch):
    """Starts a process that ends at once, and waits for it."""

    async def main():
        for _ in range(operations):
            process = await asyncio.create_subprocess_exec("/bin/true")
            await process.wait()

    with stopwatch:
        loop.run_until_complete(main())


@workload("1 MB of a subprocess's output", 64, clock=time.perf_counter_ns, section="process", unit="µs")
def subprocess_output(loop, operations, stopwatch):
    """Reads what `head` copies from /dev/zero, 64 KiB at a time at most. An operation is a megabyte."""

    async def main():
        size = operations * MEGABYTE
        command = ["head", "-c", str(size), "/dev/zero"]
        process = await asyncio.create_subprocess_exec(*command, stdout=subprocess.PIPE)
        while data := await process.stdout.read(65536):
            size -= len(data)
        assert size == 0
        await process.wait()

    with stopwatch:
        loop.run_until_complete(main())


PROGRAM = """
import asyncio, {module}
loop = {module}.new_event_loop()
asyncio.set_event_loop(loop)
loop.run_until_complete(asyncio.sleep(0))
loop.close()
"""


@workload(
    "a program that imports, runs and closes",
    5,
    clock=time.perf_counter_ns,
    section="process",
    unit="ms",
    is_checked=False,
)
def start_and_end(loop, operations, stopwatch):
    """A Python that imports asyncio and the loop, runs a step and ends."""
    program = PROGRAM.format(module=type(loop).__module__.split(".")[0])
    with stopwatch:
        for _ in range(operations):
            subprocess.run([sys.executable, "-c", program], check=True)
