"""Processes: multiprocessing inside of a program on a loop, and what a forked child may do with it."""

import sys

import pytest

from conftest import FACTORIES, run_python

PREAMBLE = """
import asyncio, multiprocessing, os, sys
import boucle
new_loop = {"asyncio": asyncio.SelectorEventLoop, "boucle": boucle.new_event_loop}[sys.argv[1]]
"""


@pytest.fixture(params=FACTORIES)
def run(request, tmp_path):
    """Run a program, which finds new_loop, as a file: what is spawned imports it."""

    def run(text):
        program = tmp_path / "program.py"
        program.write_text(PREAMBLE + text)
        result = run_python("-W", "always", program, request.param)
        assert result.returncode == 0, result.stderr
        assert result.stderr == ""
        return result.stdout

    return run


@pytest.mark.parametrize("method", ["fork", "spawn", "forkserver"])
def test_multiprocessing(run, method):
    printed = run(f"""
def work(connection, number):
    async def main():
        await asyncio.sleep(0.001)
        return number + 1
    loop = new_loop()
    connection.send(loop.run_until_complete(main()))
    loop.close()

async def main():
    context = multiprocessing.get_context({method!r})
    loop = asyncio.get_running_loop()
    answers = []
    for number in range(3):
        ours, theirs = context.Pipe()
        process = context.Process(target=work, args=(theirs, number))
        process.start()
        theirs.close()
        ready = loop.create_future()
        loop.add_reader(ours.fileno(), ready.set_result, None)
        await ready
        loop.remove_reader(ours.fileno())
        answers.append(ours.recv())
        ours.close()
        process.join()
        assert process.exitcode == 0
    print(*answers)

if __name__ == "__main__":
    loop = new_loop()
    asyncio.set_event_loop(loop)
    loop.run_until_complete(main())
    loop.close()
""")
    assert printed == "1 2 3\n"


@pytest.mark.parametrize("method", ["fork", "spawn", "forkserver"])
def test_a_pool_of_processes_as_executor(run, method):
    printed = run(f"""
import concurrent.futures

def square(number):
    return number * number

async def main(pool):
    loop = asyncio.get_running_loop()
    print(*await asyncio.gather(*(loop.run_in_executor(pool, square, number) for number in range(5))))

if __name__ == "__main__":
    context = multiprocessing.get_context({method!r})
    with concurrent.futures.ProcessPoolExecutor(2, mp_context=context) as pool:
        # The processes are there before the pool has threads: forking later is deprecated for everybody.
        list(pool.map(square, range(5)))
        loop = new_loop()
        loop.run_until_complete(main(pool))
        loop.close()
""")
    assert printed == "0 1 4 9 16\n"


def test_a_loop_starts_no_thread(run):
    # os.fork() warns from 3.12 on where a process has several threads, and nothing may be on stderr.
    printed = run("""
import threading
from pathlib import Path

async def main():
    await asyncio.sleep(0.001)
    server = await asyncio.start_server(lambda reader, writer: writer.close(), "127.0.0.1", 0)
    reader, writer = await asyncio.open_connection(*server.sockets[0].getsockname())
    await reader.read()
    writer.close()
    server.close()
    threads = len(os.listdir("/proc/self/task"))
    child = os.fork()
    if child == 0:
        os._exit(7)
    _, status = os.waitpid(child, 0)
    print(threads, os.waitstatus_to_exitcode(status))

loop = new_loop()
loop.run_until_complete(main())
loop.close()
""")
    assert printed == "1 7\n"


def test_a_forked_child_makes_its_own_loop(run):
    printed = run("""
async def answer():
    await asyncio.sleep(0.001)
    return 3

async def main():
    child = os.fork()
    if child == 0:
        status = 1
        try:
            assert asyncio._get_running_loop() is None
            loop = new_loop()
            status = loop.run_until_complete(answer())
            loop.close()
        finally:
            os._exit(status)
    await asyncio.sleep(0.001)
    _, status = os.waitpid(child, 0)
    return os.waitstatus_to_exitcode(status)

loop = new_loop()
print(loop.run_until_complete(main()))
loop.close()
""")
    assert printed == "3\n"


def test_a_child_that_ends_does_not_disturb_its_parents_descriptors(run):
    printed = run("""
import socket

class Protocol(asyncio.Protocol):
    def __init__(self, loop):
        self.received = loop.create_future()

    def data_received(self, data):
        self.received.set_result(data)

async def main():
    loop = asyncio.get_running_loop()
    ours, theirs = socket.socketpair()
    ours.setblocking(False)
    transport, protocol = await loop.create_connection(lambda: Protocol(loop), sock=ours)
    child = os.fork()
    if child == 0:
        # The child closes what it inherited, as `subprocess` and daemons do.
        os.closerange(3, 100)
        os._exit(0)
    os.waitpid(child, 0)
    theirs.send(b"still there")
    print((await asyncio.wait_for(protocol.received, 10)).decode())
    transport.close()
    theirs.close()

loop = new_loop()
loop.run_until_complete(main())
loop.close()
""")
    assert printed == "still there\n"


class TestInheritedLoop:
    """A child that uses the loop of its parent would take its parent's events."""

    @pytest.fixture(autouse=True)
    def owner(self, own_loop):
        if not hasattr(own_loop, "_owner_pid"):
            pytest.skip("boucle's loops do not know yet which process they belong to")

    @pytest.mark.parametrize(
        "use",
        [
            "loop.run_forever()",
            "loop.run_until_complete(loop.create_future())",
            "loop.add_reader(0, print)",
        ],
    )
    def test_it_is_refused_with_the_parents_number(self, use):
        program = f"""
import os, boucle
loop = boucle.new_event_loop()
loop.call_soon(loop.stop)
loop.run_forever()
parent = os.getpid()
child = os.fork()
if child == 0:
    status = 1
    try:
        {use}
    except RuntimeError as error:
        status = 0 if str(parent) in str(error) else 2
        print(error, flush=True)
    finally:
        os._exit(status)
_, status = os.waitpid(child, 0)
loop.call_soon(loop.stop)
loop.run_forever()
loop.close()
raise SystemExit(os.waitstatus_to_exitcode(status))
"""
        result = run_python("-W", "ignore", "-c", program)
        assert result.returncode == 0, (result.stdout, result.stderr)


@pytest.mark.skipif(sys.version_info < (3, 12), reason="the warning is new in 3.12")
def test_the_warning_about_threads_comes_where_there_are_threads(factory):
    # So that the tests above can fail.
    name = next(name for name, made in FACTORIES.items() if made is factory)
    program = (
        PREAMBLE
        + """
async def main():
    await asyncio.get_running_loop().run_in_executor(None, print)
    child = os.fork()
    if child == 0:
        os._exit(0)
    os.waitpid(child, 0)

loop = new_loop()
loop.run_until_complete(main())
loop.close()
"""
    )
    result = run_python("-W", "always", "-c", program, name)
    assert "use of fork() may lead to deadlocks" in result.stderr
