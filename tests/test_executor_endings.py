"""Work in threads that is cancelled, or that a loop, an executor or a program does not wait for."""

import asyncio
import gc
import random
import re
import threading
import weakref
from concurrent.futures import ThreadPoolExecutor, thread
from pathlib import Path

import pytest

import boucle
from conftest import FailureError, run_python, run_turns
from work_in_threads import HAS_NATIVE, fail, is_native, let_finish, occupied


def test_a_call_that_is_cancelled_in_the_queue_is_not_made(loop, executor):
    made = []
    with occupied(executor):
        future = loop.run_in_executor(executor, made.append, 1)
        future.cancel()
        run_turns(loop, 2)
        assert executor._work_queue.qsize() == 1
    let_finish(executor)
    assert future.cancelled()
    assert not made


def test_a_cancellation_reaches_the_queue_in_the_next_turn(loop, executor):
    made = []
    with occupied(executor):
        future = loop.run_in_executor(executor, made.append, 1)
        future.cancel()
    let_finish(executor)
    assert made == [1]
    run_turns(loop)
    assert future.cancelled()


def test_a_call_that_is_cancelled_while_it_runs_runs_on(loop, executor):
    began, go_on, made = threading.Event(), threading.Event(), []

    def work():
        began.set()
        go_on.wait()
        made.append(1)

    future = loop.run_in_executor(executor, work)
    began.wait()
    future.cancel()
    run_turns(loop)
    go_on.set()
    let_finish(executor)
    run_turns(loop)
    assert made == [1]
    assert future.cancelled()


def test_an_executor_that_cancels_what_is_queued(loop, executor):
    with occupied(executor):
        future = loop.run_in_executor(executor, int)
        executor.shutdown(wait=False, cancel_futures=True)
    run_turns(loop)
    assert future.cancelled()


def test_cancelling_a_future_that_the_executor_has_cancelled(loop, executor):
    with occupied(executor):
        future = loop.run_in_executor(executor, int)
        executor.shutdown(wait=False, cancel_futures=True)
        assert future.cancel()
    run_turns(loop)
    assert future.cancelled()


# The end.


def test_a_loop_that_is_closed_meanwhile_hears_nothing(factory, executor, caplog):
    loop = factory()
    with occupied(executor):
        future = loop.run_in_executor(executor, int)
        loop.close()
    let_finish(executor)
    assert not future.done()
    assert not caplog.records


def test_a_loop_that_cannot_be_told_is_logged(factory, executor, caplog):
    loop = factory()
    loop.call_soon_threadsafe = lambda *args: fail()
    loop.run_in_executor(executor, int)
    let_finish(executor)
    (record,) = caplog.records
    assert (record.name, record.levelname) == ("concurrent.futures", "ERROR")
    assert re.match(
        r"exception calling callback for <Future at 0x[0-9a-f]+ state=finished returned int>$", record.message
    )
    assert record.exc_info[0] is FailureError
    loop.close()


@pytest.mark.parametrize("given", [True, False], ids=["given", "default"])
def test_an_executor_that_was_shut_down_refuses(loop, executor, given):
    loop.set_default_executor(executor)
    executor.shutdown()
    with pytest.raises(RuntimeError, match="cannot schedule new futures after shutdown"):
        loop.run_in_executor(executor if given else None, int)


def test_a_loop_whose_executor_was_shut_down_refuses(loop, executor):
    loop.run_until_complete(loop.shutdown_default_executor())
    with pytest.raises(RuntimeError, match="Executor shutdown has been called"):
        loop.run_in_executor(None, int)
    assert loop.run_until_complete(loop.run_in_executor(executor, int)) == 0


def test_an_interpreter_that_ends_refuses(loop, executor, monkeypatch):
    monkeypatch.setattr(thread, "_shutdown", True)
    with pytest.raises(RuntimeError, match="after interpreter shutdown"):
        loop.run_in_executor(executor, int)
    monkeypatch.undo()


def test_a_closed_loop_refuses(factory, executor):
    loop = factory()
    loop.close()
    with pytest.raises(RuntimeError, match="Event loop is closed"):
        loop.run_in_executor(executor, int)


def test_a_thread_that_cannot_be_initialised(loop, caplog):
    begin = threading.Event()

    def initialise():
        begin.wait()
        fail()

    with ThreadPoolExecutor(1, initializer=initialise) as executor:
        futures = [loop.run_in_executor(executor, int) for _ in range(3)]
        if isinstance(loop, boucle.Loop) and HAS_NATIVE:
            assert [is_native(future) for future in futures] == [False, True, True]
        begin.set()
        results = loop.run_until_complete(asyncio.gather(*futures, return_exceptions=True))
        assert {type(result) for result in results} == {thread.BrokenThreadPool}
        with pytest.raises(thread.BrokenThreadPool):
            loop.run_in_executor(executor, int)
    assert "Exception in initializer" in caplog.text


def test_a_program_that_ends_with_calls_in_the_queue():
    program = """
import asyncio, boucle, time
async def main():
    loop = asyncio.get_running_loop()
    await loop.run_in_executor(None, int)
    for number in range(100):
        loop.run_in_executor(None, time.sleep, 0.001)
loop = {loop}()
loop.run_until_complete(main())
print("end")
"""
    for name in ("asyncio.SelectorEventLoop", "boucle.new_event_loop"):
        finished = run_python("-c", program.format(loop=name), PYTHONPATH=str(Path(boucle.__file__).parent.parent))
        assert (finished.stdout, finished.returncode) == ("end\n", 0), finished.stderr


class Thing:
    """An object to be referred to weakly."""

    def __call__(self, *args):
        return Thing()


def test_what_a_call_holds_is_released(loop, executor):
    gc.disable()
    try:
        function, argument = Thing(), Thing()
        alive = [weakref.ref(function), weakref.ref(argument)]
        future = loop.run_in_executor(executor, function, argument)
        del function, argument
        result = loop.run_until_complete(future)
        let_finish(executor)
        assert [reference() for reference in alive] == [None, None]
        alive = [weakref.ref(result), weakref.ref(future)]
        run_turns(loop)
        del result, future
        assert [reference() for reference in alive] == [None, None]
    finally:
        gc.enable()


def test_what_is_never_called_is_released(factory, executor):
    loop = factory()
    function = Thing()
    alive = weakref.ref(function)
    with occupied(executor):
        future = loop.run_in_executor(executor, function)
        executor._work_queue.get()
    loop.close()
    del function, future, loop
    gc.collect()
    assert alive() is None


@pytest.mark.skipif(not HAS_NATIVE, reason="asyncio's own way holds a lock meanwhile, for which the test would wait")
def test_a_collection_that_lets_other_threads_run_meanwhile(own_loop, executor):
    calling = False

    class Meddler:
        """Ends, in the midst of a call, only once what is in the queue was done and the loop has heard of it."""

        def __init__(self, free):
            self.itself, self.free = self, free

        def __del__(self):
            if calling:
                self.free.set()
                let_finish(executor)
                heard = threading.Event()
                own_loop.call_soon_threadsafe(heard.set)
                heard.wait()

    runner = threading.Thread(target=own_loop.run_forever)
    runner.start()
    thresholds = gc.get_threshold()
    try:
        for threshold in range(1, 40):
            with occupied(executor) as free:
                gc.collect()
                Meddler(free)
                gc.set_threshold(threshold)
                calling = True
                future = own_loop.run_in_executor(executor, int)
                calling = False
                gc.set_threshold(*thresholds)
            asyncio.run_coroutine_threadsafe(asyncio.wait([future]), own_loop).result()
            assert not future._callbacks
    finally:
        gc.set_threshold(*thresholds)
        own_loop.call_soon_threadsafe(own_loop.stop)
        runner.join()


@pytest.mark.parametrize("seed", range(6))
def test_many_calls_cancellations_and_a_shutdown(factory, seed):
    chance = random.Random(seed)
    loop = factory()
    reports = []
    loop.set_exception_handler(lambda loop, context: reports.append(context))
    executor = ThreadPoolExecutor(chance.choice([1, 3]))
    made, refused = set(), 0
    lock = threading.Lock()

    def work(number):
        with lock:
            assert number not in made
            made.add(number)
        if number % 5 == 0:
            raise FailureError(number)
        return number

    async def call(number):
        nonlocal refused
        try:
            future = loop.run_in_executor(executor, work, number)
        except RuntimeError:
            refused += 1
            return "refused"
        if chance.random() < 0.3:
            if chance.random() < 0.5:
                await asyncio.sleep(0)
            future.cancel()
        try:
            return await future
        except FailureError as failure:
            return -failure.args[0]
        except asyncio.CancelledError:
            return "cancelled"

    async def main():
        tasks = []
        for number in range(1, 1500):
            tasks.append(loop.create_task(call(number)))
            if chance.random() < 0.1:
                await asyncio.sleep(0)
            if number == 1200:
                executor.shutdown(wait=False, cancel_futures=chance.random() < 0.5)
        return await asyncio.gather(*tasks)

    results = loop.run_until_complete(main())
    executor.shutdown()
    for number, result in enumerate(results, 1):
        if result not in ("cancelled", "refused"):
            assert result == (-number if number % 5 == 0 else number)
            assert number in made
        elif result == "refused":
            assert number not in made
    assert refused >= 299
    loop.close()
    gc.collect()
    assert not reports
