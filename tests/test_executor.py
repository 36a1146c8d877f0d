"""Work in threads: what a program can see of it is asyncio's, whichever of the two ways a call takes to its thread."""

import asyncio
import concurrent.futures
import contextlib
import contextvars
import re
import threading
import traceback
from concurrent.futures import ThreadPoolExecutor

import pytest

import boucle
from conftest import FailureError, on_each_loop, run_turns
from work_in_threads import HAS_NATIVE, fail, is_native, let_finish, occupied, source, wrapped


def without_addresses(text):
    return re.sub(r"0x[0-9a-f]+", "0x", text)


def test_a_result(loop, executor):
    assert loop.run_until_complete(loop.run_in_executor(executor, lambda *args: args, 1, "two")) == (1, "two")


def test_usual_calls_are_native(own_loop, executor):
    with occupied(executor):
        assert is_native(own_loop.run_in_executor(executor, int)) == HAS_NATIVE


def test_the_default_executor(loop):
    async def main():
        first = await loop.run_in_executor(None, threading.current_thread)
        second = await asyncio.to_thread(threading.current_thread)
        return first, second

    first, second = loop.run_until_complete(main())
    assert first.name.startswith("asyncio_")
    assert second is not threading.current_thread()
    loop.run_until_complete(loop.shutdown_default_executor())


def test_many_calls_share_the_threads(loop):
    async def main():
        return await asyncio.gather(*(asyncio.to_thread(divmod, number, 7) for number in range(300)))

    assert loop.run_until_complete(main()) == [divmod(number, 7) for number in range(300)]
    assert len(loop._default_executor._threads) <= loop._default_executor._max_workers
    loop.run_until_complete(loop.shutdown_default_executor())


def test_idle_threads_are_counted(loop):
    with ThreadPoolExecutor(2) as executor:
        together = threading.Barrier(2)
        for future in [executor.submit(together.wait) for _ in range(2)]:
            future.result()
        idle = executor._idle_semaphore
        while idle._value < 2:
            pass
        free = threading.Event()
        counts = []
        futures = []
        for _ in range(3):
            futures.append(loop.run_in_executor(executor, free.wait))
            counts.append(idle._value)
        free.set()
        loop.run_until_complete(asyncio.gather(*futures))
        assert counts == [1, 0, 0]
        assert len(executor._threads) == 2


def test_the_traceback_of_a_failure():
    def observe(loop, *_):
        with ThreadPoolExecutor(1) as executor:
            executor.submit(int).result()
            future = loop.run_in_executor(executor, fail)
            with pytest.raises(FailureError) as raised:
                loop.run_until_complete(future)
        frames = [frame.name for frame in traceback.extract_tb(raised.value.__traceback__)]
        return frames[frames.index("run") :]

    theirs, ours = on_each_loop(observe)
    assert ours == theirs
    assert (ours[0], ours[-1]) == ("run", "fail")


def test_frames_below_a_call():
    def names():
        return [frame.name for frame in traceback.extract_stack()]

    def observe(loop, *_):
        with ThreadPoolExecutor(1) as executor:
            executor.submit(int).result()
            return loop.run_until_complete(loop.run_in_executor(executor, names))

    theirs, ours = on_each_loop(observe)
    assert ours == theirs


@pytest.mark.parametrize(
    "error",
    [
        ValueError,
        KeyboardInterrupt,
        SystemExit,
        GeneratorExit,
        asyncio.CancelledError,
        TimeoutError,
        StopIteration,
        concurrent.futures.CancelledError,
        concurrent.futures.TimeoutError,
        concurrent.futures.InvalidStateError,
        concurrent.futures.BrokenExecutor,
    ],
)
def test_every_kind_of_failure(error):
    def observe(loop, *_):
        reports = []
        loop.set_exception_handler(lambda loop, context: reports.append(context))
        with ThreadPoolExecutor(1) as executor:
            executor.submit(int).result()
            future = loop.run_in_executor(executor, fail, error("why"))
            let_finish(executor)
            run_turns(loop)
        state = without_addresses(repr(future))
        seen = None
        if future.done() and not future.cancelled():
            exception = future.exception()
            cause = exception.__cause__
            frames = [frame.name for frame in traceback.extract_tb(exception.__traceback__)]
            seen = type(exception), exception.args, type(cause), frames
        return state, seen, [without_addresses(report["message"]) for report in reports]

    theirs, ours = on_each_loop(observe)
    assert ours == theirs


def test_what_a_future_and_its_handles_show():
    def observe(loop, *_):
        shown = []

        def show(future):
            shown.append(without_addresses(repr(future)))
            shown.extend(without_addresses(repr(handle)) for handle in loop._ready)

        with ThreadPoolExecutor(1) as executor:
            executor.submit(int).result()
            with occupied(executor):
                futures = [loop.run_in_executor(executor, *call) for call in ([int], [fail], [int])]
                show(futures[0])
                futures[2].cancel()
                show(futures[2])
                run_turns(loop, 2)
                show(futures[2])
            let_finish(executor)
            show(futures[0])
            run_turns(loop, 1)
            show(futures[0])
            run_turns(loop, 1)
            futures[1].exception()
            show(futures[1])
        return shown

    theirs, ours = on_each_loop(observe)
    assert ours == theirs
    assert any("_chain_future.<locals>._call_check_cancel() at " in text for text in ours)
    assert any("_chain_future.<locals>._set_state(" in text for text in ours)


def test_the_turn_in_which_a_future_is_done():
    def observe(loop, *_):
        seen = []

        async def wait(future):
            seen.append(await future)

        def count(turn):
            seen.append(turn)
            if turn < 6:
                loop.call_soon(count, turn + 1)

        with ThreadPoolExecutor(1) as executor:
            executor.submit(int).result()

            async def main(busy):
                future = loop.run_in_executor(executor, str, "result")
                future.add_done_callback(lambda future: seen.append("callback"))
                waiting = loop.create_task(wait(future))
                await asyncio.sleep(0)
                loop.call_soon(count, 0)
                loop.call_soon(busy.close)
                loop.call_soon(let_finish, executor)
                loop.call_soon(seen.append, "after")
                await waiting
                while seen[-1] != 6:
                    await asyncio.sleep(0)

            with contextlib.ExitStack() as busy:
                busy.enter_context(occupied(executor))
                loop.run_until_complete(main(busy))
        return seen

    theirs, ours = on_each_loop(observe)
    assert ours == theirs


def test_what_the_chronology_shows(own_loop, executor, monkeypatch):
    async def call():
        await own_loop.run_in_executor(executor, int)

    def record():
        with boucle.record() as chronology:
            own_loop.run_until_complete(call())
        return [(step.function, step.resumed, step.awaited, step.returned) for step in chronology.steps]

    ours = record()
    monkeypatch.setattr(executor, "submit", wrapped(executor.submit))
    assert ours == record()
    functions = [function for function, *_ in ours]
    assert any(function.endswith("_set_state") for function in functions)
    assert any(function.endswith("_call_check_cancel") for function in functions)


def test_the_context_of_a_call(loop):
    variable = contextvars.ContextVar("variable", default="none")

    async def main():
        variable.set("mine")
        carried = await asyncio.to_thread(variable.get)
        return carried, await loop.run_in_executor(None, variable.get)

    assert loop.run_until_complete(main()) == ("mine", "none")
    loop.run_until_complete(loop.shutdown_default_executor())


def test_a_future_that_somebody_else_has_given_a_result():
    def observe(loop, *_):
        reports = []
        loop.set_exception_handler(lambda loop, context: reports.append(context))
        with ThreadPoolExecutor(1) as executor:
            executor.submit(int).result()
            future = loop.run_in_executor(executor, int)
            future.set_result("theirs")
            let_finish(executor)
            run_turns(loop)
        return future.result(), [(report["message"][:60], type(report["exception"])) for report in reports]

    theirs, ours = on_each_loop(observe)
    assert ours == theirs
    assert theirs[1][0][1] is AssertionError


@pytest.mark.parametrize("name", ["_copy_future_state", "isfuture"])
def test_what_copies_a_result_was_replaced(loop, executor, monkeypatch, name):
    called = []
    original = getattr(asyncio.futures, name)

    def other(*args):
        called.append(args)
        return original(*args)

    future = loop.run_in_executor(executor, int)
    let_finish(executor)
    monkeypatch.setattr(asyncio.futures, name, other)
    assert loop.run_until_complete(future) == 0
    assert any(future in args for args in called)


def test_arguments_by_name(loop, executor):
    assert loop.run_until_complete(loop.run_in_executor(executor=executor, func=int)) == 0
    for wrong in ([], [executor]):
        with pytest.raises(TypeError, match="run_in_executor"):
            loop.run_in_executor(*wrong)


# The stand-in.


def test_wrong_calls_of_a_job(own_loop, executor):
    began, go_on = threading.Event(), threading.Event()
    future = own_loop.run_in_executor(executor, lambda: 0 * (began.set() or go_on.wait()))
    job = source(future)
    began.wait()
    running = (job.running(), job.done(), job.cancelled(), job.cancel())
    go_on.set()
    assert running == (True, False, False, False)
    own_loop.run_until_complete(future)
    assert (job.done(), job.cancelled(), job.cancel(), job.result(), job.exception()) == (True, False, False, 0, None)
    with pytest.raises(concurrent.futures.InvalidStateError, match=r"^FINISHED: <Future at 0x\w+ state=finished"):
        job.set_result(1)
    with pytest.raises(concurrent.futures.InvalidStateError, match=r"^FINISHED: "):
        job.set_exception(FailureError())
    with pytest.raises(RuntimeError, match="Future in unexpected state"):
        job.set_running_or_notify_cancel()
