"""BOUCLE_MALLOC: the heap keeps what large blocks leave, from the first loop on. Seen in system calls."""

import platform
import re

import pytest

from conftest import run_python
from system_calls import traced

pytestmark = pytest.mark.skipif(platform.libc_ver()[0] != "glibc", reason="other allocators have other thresholds")

ROUNDS = 200

# Each round allocates 2 MB in pieces, more than is free anywhere, and lets go of it.
BLOCKS = f"""if True:
    import boucle, os
    loop = boucle.new_event_loop()
    [bytes(100_000) for _ in range(20)]
    os.getppid()
    for _ in range({ROUNDS}):
        [bytes(100_000) for _ in range(20)]
    os.getppid()
    loop.close()
"""

# Messages of 100 KiB that go around, on ten connections at a time.
STREAMS = f"""if True:
    import asyncio, boucle, os
    SIZE = 100 * 1024

    async def echo(reader, writer):
        while data := await reader.read(SIZE):
            writer.write(data)
            await writer.drain()
        writer.close()

    async def exchange(reader, writer):
        writer.write(bytes(SIZE))
        await writer.drain()
        await reader.readexactly(SIZE)

    async def main():
        server = await asyncio.start_server(echo, "127.0.0.1", 0)
        address = server.sockets[0].getsockname()
        connections = [await asyncio.open_connection(*address) for _ in range(10)]
        for number in range({ROUNDS // 10} + 5):
            if number == 5:
                os.getppid()
            await asyncio.gather(*(exchange(*connection) for connection in connections))
        os.getppid()
        for _, writer in connections:
            writer.close()
        server.close()

    boucle.run(main())
"""


def memory_calls(folder, program, **environment):
    """How often a program asks the kernel for memory, or gives it back, between its two calls of getppid()."""
    _, lines = traced(folder, "mmap,munmap,mremap,brk,madvise,getppid", program, **environment)
    first, last = [number for number, line in enumerate(lines) if "getppid" in line]
    return last - first - 1


@pytest.mark.parametrize("program", [BLOCKS, STREAMS], ids=["blocks", "streams"])
def test_large_blocks_come_from_the_heap(tmp_path, program):
    assert memory_calls(tmp_path, program) < ROUNDS // 10


@pytest.mark.parametrize(
    "environment",
    [
        {"BOUCLE_MALLOC": "0"},
        {"BOUCLE_MALLOC": "off"},
        # glibc adapts nothing where the program was told by hand.
        {"MALLOC_TRIM_THRESHOLD_": "131072"},
        {"MALLOC_MMAP_THRESHOLD_": "131072"},
        {"GLIBC_TUNABLES": "glibc.malloc.trim_threshold=131072"},
    ],
    ids=lambda environment: "=".join(*environment.items()),
)
def test_it_can_be_turned_off(tmp_path, environment):
    # How often messages do it depends on what lies around them in the heap.
    assert memory_calls(tmp_path, BLOCKS, **environment) > ROUNDS


def test_it_costs_no_memory_of_its_own():
    program = """if True:
        import boucle, re
        def resident():
            with open("/proc/self/smaps_rollup") as file:
                return int(re.search(r"^Rss: +(\\d+) kB", file.read(), re.M)[1])
        before = resident()
        loop = boucle.new_event_loop()
        after = resident()
        loop.close()
        print(after - before)
    """
    result = run_python("-c", program)
    assert result.returncode == 0, result.stderr
    # Of the 4 MiB that teach glibc nothing was touched.
    assert int(result.stdout) < 2048


def test_another_word_is_refused():
    result = run_python("-c", "import boucle", BOUCLE_MALLOC="jemalloc")
    assert re.search(r"ValueError: BOUCLE_MALLOC=jemalloc: expected 0 or off, or on", result.stderr)
