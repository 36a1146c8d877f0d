"""Forks: a child that inherits a loop is told so, can make its own, and leaves the parent's alone."""

import asyncio
import multiprocessing
import os
import signal
import socket
import sys
import threading
import traceback
from pathlib import Path

import pytest

import boucle
from conftest import run_python

pytestmark = pytest.mark.filterwarnings("ignore:.*use of fork.*:DeprecationWarning", "ignore::ResourceWarning")


def in_child(work):
    """Run work() in a child, by a fork. Returns what it returns, as text."""
    reading, writing = os.pipe()
    pid = os.fork()
    if pid == 0:
        os.close(reading)
        try:
            answer = str(work())
        except BaseException:
            answer = traceback.format_exc()
        os.write(writing, answer.encode())
        os._exit(0)
    os.close(writing)
    with open(reading) as pipe:
        answer = pipe.read()
    os.waitpid(pid, 0)
    return answer


def refusal(work):
    """The error that work() raises in a child."""

    def attempt():
        try:
            work()
        except RuntimeError as error:
            return error
        return "no error"

    return in_child(attempt)


def test_the_owner_of_a_loop_is_the_process_that_made_it(own_loop):
    assert own_loop._owner_pid == os.getpid()
    assert in_child(lambda: own_loop._owner_pid) == str(os.getpid())


@pytest.mark.parametrize(
    "use",
    [
        lambda loop: loop.call_soon(print),
        lambda loop: loop.call_soon_threadsafe(print),
        lambda loop: loop.call_later(0, print),
        lambda loop: loop.run_forever(),
        lambda loop: loop.add_reader(0, print),
        lambda loop: loop.run_until_complete(loop.create_future()),
    ],
    ids=["call_soon", "call_soon_threadsafe", "call_later", "run_forever", "add_reader", "run_until_complete"],
)
def test_a_child_that_uses_the_loop_is_told_whose_it_is(own_loop, use):
    text = refusal(lambda: use(own_loop))
    assert f"belongs to process {os.getpid()}" in text
    assert "asyncio.run()" in text
    assert own_loop.run_until_complete(asyncio.sleep(0, "parent")) == "parent"


def test_a_loop_that_was_closed_is_closed_in_a_child_too():
    loop = boucle.new_event_loop()
    loop.close()
    assert refusal(lambda: loop.call_soon(print)) == "Event loop is closed"


def test_a_child_closes_the_loop_that_it_has_inherited(own_loop):
    def work():
        own_loop.close()
        own_loop.call_soon(print)

    assert refusal(work) == "Event loop is closed"


def test_a_fork_in_another_thread_is_a_fork(own_loop):
    answers = []
    forking = threading.Thread(
        target=lambda: answers.append((refusal(lambda: own_loop.call_soon(print)), in_child(run_a_loop)))
    )
    forking.start()
    forking.join()
    [(text, own)] = answers
    assert "belongs to process" in text
    assert own == "child"


def run_a_loop():
    loop = boucle.new_event_loop()
    try:
        return loop.run_until_complete(asyncio.sleep(0, "child"))
    finally:
        loop.close()


def test_a_child_makes_its_own_loop(own_loop):
    assert in_child(run_a_loop) == "child"


def test_a_child_forked_inside_of_a_run_makes_its_own_loop(own_loop):
    async def main():
        return in_child(run_a_loop)

    assert own_loop.run_until_complete(main()) == "child"


def test_a_child_forked_inside_of_a_run_runs_nothing_more_of_it(own_loop):
    reading, writing = os.pipe()

    def fork():
        pid = os.fork()
        if pid:
            os.waitpid(pid, 0)
            own_loop.stop()
        return pid

    own_loop.call_soon(fork)
    own_loop.call_soon(os.write, writing, b"ran ")
    parent = os.getpid()
    try:
        own_loop.run_forever()
    except RuntimeError as error:
        os.write(writing, b"refused " if "belongs to process" in str(error) else b"wrong error ")
    finally:
        if os.getpid() != parent:
            os._exit(0)
    os.close(writing)
    with open(reading) as pipe:
        assert pipe.read() == "refused ran "


def test_a_child_that_closes_everything_leaves_the_parents_readers(own_loop):
    loop = own_loop
    one, other = socket.socketpair()
    third, fourth = socket.socketpair()
    with one, other, third, fourth:
        one.setblocking(False)
        received = []

        async def main():
            class Protocol(asyncio.Protocol):
                def data_received(self, data):
                    received.append(data)

            loop.add_reader(one, lambda: received.append(one.recv(10)))
            transport, _ = await loop.create_connection(Protocol, sock=third)

            def work():
                loop.remove_reader(one)
                transport.abort()
                loop.close()
                return loop.is_closed()

            assert in_child(work) == "True"
            other.send(b"reader")
            fourth.send(b"transport")
            while len(received) < 2:
                await asyncio.sleep(0)
            loop.remove_reader(one)
            transport.close()

        loop.run_until_complete(main())
    assert sorted(received) == [b"reader", b"transport"]


def test_a_child_that_ends_like_any_program_leaves_the_parents_transports():
    program = """
import asyncio, os, socket, sys, boucle

async def main():
    one, other = socket.socketpair()
    arrived = loop.create_future()

    class Protocol(asyncio.Protocol):
        def data_received(self, data):
            arrived.set_result(data)

    transport, _ = await loop.create_connection(Protocol, sock=one)
    if os.fork() == 0:
        return
    os.wait()
    other.send(b"x")
    print("parent", await asyncio.wait_for(arrived, 10))
    transport.close()

loop = boucle.new_event_loop()
try:
    loop.run_until_complete(main())
except RuntimeError as error:
    print("child", "belongs to process" in str(error), flush=True)
"""
    finished = run_python("-c", program, PYTHONPATH=str(Path(boucle.__file__).parent.parent))
    assert finished.stdout.splitlines() == ["child True", "parent b'x'"], finished.stderr


def test_a_child_does_not_wake_the_parent(own_loop):
    in_child(own_loop._write_to_self)
    own_loop.call_later(0.01, own_loop.stop)
    turns = own_loop._counts()[0]
    own_loop.run_forever()
    # One that sleeps until the timer, and one that runs it.
    assert own_loop._counts()[0] - turns <= 2


def test_signals_of_a_child_are_not_the_parents(own_loop):
    came = []
    own_loop.add_signal_handler(signal.SIGUSR1, came.append, "parent")

    async def main():
        def work():
            os.kill(os.getpid(), signal.SIGUSR1)
            return signal.set_wakeup_fd(-1)

        answer = in_child(work)
        for _ in range(5):
            await asyncio.sleep(0)
        return answer

    assert own_loop.run_until_complete(main()) == "-1"
    own_loop.remove_signal_handler(signal.SIGUSR1)
    assert came == []


def test_what_was_written_before_a_fork_is_sent_once(own_loop):
    one, other = socket.socketpair()
    with other:

        async def main():
            transport, _ = await own_loop.create_connection(asyncio.Protocol, sock=one)
            transport.write(b"once")

            def work():
                other.setblocking(False)
                return other.recv(100, socket.MSG_PEEK)

            seen = in_child(work)
            transport.close()
            return seen

        assert own_loop.run_until_complete(main()) == "b'once'"
        received = b""
        while data := other.recv(100):
            received += data
        assert received == b"once"


@pytest.mark.skipif(sys.version_info >= (3, 14), reason="asyncio keeps nothing of the policy there")
def test_processes_of_multiprocessing_run_loops_of_their_own(own_loop):
    context = multiprocessing.get_context("fork")
    reading, writing = context.Pipe(duplex=False)

    def work():
        loop = boucle.new_event_loop()
        writing.send(loop.run_until_complete(asyncio.sleep(0, "child")))
        loop.close()

    async def main():
        process = context.Process(target=work)
        process.start()
        answer = await own_loop.run_in_executor(None, reading.recv)
        process.join()
        return answer

    assert own_loop.run_until_complete(main()) == "child"
    own_loop.run_until_complete(own_loop.shutdown_default_executor())


def test_work_in_a_thread_begins_when_what_was_written_is_sent(own_loop):
    one, other = socket.socketpair()
    with other:

        async def main():
            transport, _ = await own_loop.create_connection(asyncio.Protocol, sock=one)
            transport.write(b"first")
            future = own_loop.run_in_executor(None, other.recv, 100)
            # No step ends here.
            other.setblocking(False)
            other.setblocking(True)
            received = await future
            transport.close()
            return received

        assert own_loop.run_until_complete(main()) == b"first"
    own_loop.run_until_complete(own_loop.shutdown_default_executor())
