"""What lives how long: descriptors, memory, cycles, threads."""

import asyncio
import gc
import os
import sys
import threading
import tracemalloc
import warnings
import weakref

import pytest

import boucle
from conftest import run_python


def open_descriptors():
    return len(os.listdir("/proc/self/fd"))


def resident_pages():
    with open("/proc/self/statm") as file:
        return int(file.read().split()[1])


def use_and_close():
    loop = boucle.new_event_loop()
    loop.run_until_complete(asyncio.sleep(0))
    loop.call_later(3600, print)
    loop.close()


def test_loops_leak_no_descriptor_and_no_memory():
    for _ in range(50):
        use_and_close()
    gc.collect()
    descriptors = open_descriptors()
    tracemalloc.start()
    # A leak shows in each batch. A table that grows (asyncio's, tracemalloc's, of task names) does so in one of them.
    grown = []
    for _ in range(4):
        before = tracemalloc.get_traced_memory()[0]
        for _ in range(1000):
            use_and_close()
        gc.collect()
        grown.append(tracemalloc.get_traced_memory()[0] - before)
    tracemalloc.stop()
    assert open_descriptors() == descriptors
    assert min(grown) < 10_000, grown


def test_native_memory_of_loops_is_given_back():
    for _ in range(200):
        use_and_close()
    gc.collect()
    before = resident_pages()
    for _ in range(2000):
        use_and_close()
    gc.collect()
    # A leaked reactor of one loop is about a page.
    assert resident_pages() - before < 500


def test_loops_in_threads_cost_one_ring_a_live_thread():
    program = """
import asyncio, boucle, threading
def pages():
    with open("/proc/self/statm") as file: return int(file.read().split()[1])
def run():
    loop = boucle.new_event_loop()
    loop.run_until_complete(asyncio.sleep(0))
    loop.close()
def threads(count):
    for _ in range(count):
        thread = threading.Thread(target=run); thread.start(); thread.join()
threads(100)
before = pages()
threads(10_000)
print((pages() - before) * 4096 // 2**20)
"""
    result = run_python("-c", program)
    assert result.returncode == 0, result.stderr
    # A page of a ring for each thread would be 40 MiB; the names of 10,000 tasks, which are kept for a while, are one.
    assert int(result.stdout) < 8


def test_an_unclosed_loop_warns_and_dies():
    loop = boucle.new_event_loop()
    alive = weakref.ref(loop)
    with pytest.warns(ResourceWarning, match="unclosed event loop"):  # noqa: PT031, which of the two warns is open
        del loop
        gc.collect()
    assert alive() is None


def test_an_unclosed_loop_with_queued_work_dies_too():
    loop = boucle.new_event_loop()
    loop.itself = loop
    loop.call_soon(loop.stop, loop)
    loop.call_soon_threadsafe(loop.stop, loop)
    loop.call_later(3600, loop.stop, loop, 2)
    ours, theirs = os.pipe()
    loop.add_reader(ours, loop.stop)
    alive = weakref.ref(loop)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", ResourceWarning)
        del loop
        gc.collect()
    assert alive() is None
    os.close(ours)
    os.close(theirs)


def test_a_handle_that_somebody_holds_keeps_what_it_needs():
    class Thing:
        pass

    thing = Thing()
    alive = weakref.ref(thing)
    loop = boucle.new_event_loop()
    handle = loop.call_later(3600, id, thing)
    del thing
    gc.collect()
    assert alive() is not None
    assert handle._args == (alive(),)
    loop.close()
    gc.collect()
    assert alive() is None
    assert handle._args is None


def test_closing_twice_is_no_error(loop):
    loop.close()
    loop.close()
    assert loop.is_closed()


def test_a_closed_loop_refuses(factory):
    loop = factory()
    loop.close()
    coroutine = asyncio.sleep(0)
    for refused in (
        lambda: loop.call_soon(print),
        lambda: loop.call_soon_threadsafe(print),
        lambda: loop.call_later(1, print),
        lambda: loop.call_at(1, print),
        lambda: loop.run_forever(),
        lambda: loop.run_until_complete(coroutine),
        lambda: loop.add_reader(0, print),
    ):
        with pytest.raises(RuntimeError, match="Event loop is closed"):
            refused()
    coroutine.close()
    assert loop.remove_reader(0) is False


def test_a_running_loop_cannot_be_closed(loop):
    async def close():
        loop.close()

    with pytest.raises(RuntimeError, match="Cannot close a running event loop"):
        loop.run_until_complete(close())


def test_a_loop_that_was_never_initialised_says_so():
    loop = boucle.Loop.__new__(boucle.Loop)
    assert not loop.is_running()
    assert loop.is_closed()
    with pytest.raises(RuntimeError, match="Event loop is closed"):
        loop.run_forever()
    with pytest.raises(RuntimeError, match="not initialised"):
        loop._run("thread")


def test_out_of_descriptors_is_an_exception():
    program = """
import boucle, resource
resource.setrlimit(resource.RLIMIT_NOFILE, (16, 16))
loops = []
try:
    while True: loops.append(boucle.new_event_loop())
except OSError as error:
    print(error.errno, error.strerror)
for loop in loops: loop.close()
"""
    result = run_python("-X", "dev", "-c", program)
    assert result.stdout == "24 Too many open files\n", result.stderr
    assert result.stderr == ""


def test_steps_of_many_threads_at_once_are_recorded_apart():
    barrier = threading.Barrier(4)

    def run(number):
        async def main():
            barrier.wait()
            for _ in range(20):
                await asyncio.sleep(0)

        loop = boucle.new_event_loop()
        loop.run_until_complete(loop.create_task(main(), name=f"task of {number}"))
        loop.close()

    threads = [threading.Thread(target=run, args=(number,), name=f"thread {number}") for number in range(4)]
    with boucle.record() as chronology:
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
    for number in range(4):
        steps = [step for step in chronology.steps if step.task == f"task of {number}"]
        assert len(steps) == 21
        assert {step.thread for step in steps} == {f"thread {number}"}


def test_sub_interpreters_are_refused():
    name = "_interpreters" if sys.version_info >= (3, 13) else "_xxsubinterpreters"
    program = f"""
import {name} as interpreters
id = interpreters.create()
failure = None
try:
    failure = interpreters.run_string(id, "import boucle")
except Exception as error:
    failure = error
print("ImportError" in repr(failure) + str(failure))
"""
    result = run_python("-c", program)
    assert result.stdout == "True\n", (result.stdout, result.stderr)
