"""Work in threads: what a program can see of it is asyncio's, whichever of the two ways a call takes to its thread."""

import asyncio
import concurrent.futures
import contextlib
import contextvars
import gc
import random
import re
import threading
import traceback
import types
import weakref
from concurrent.futures import ThreadPoolExecutor, thread
from pathlib import Path

import pytest

import boucle
from conftest import FailureError, on_each_loop, run_python, run_turns


def fail(*error):
    raise error[0] if error else FailureError("why")


@pytest.fixture
def executor():
    """An executor of one thread, which has been started: so the next call need not start one."""
    with ThreadPoolExecutor(1) as executor:
        executor.submit(int).result()
        yield executor


@contextlib.contextmanager
def occupied(executor):
    """The only thread of an executor is busy."""
    free = threading.Event()
    began = threading.Event()
    executor.submit(lambda: (began.set(), free.wait()))
    began.wait()
    try:
        yield
    finally:
        free.set()


def let_finish(executor):
    """Waits, outside of the loop, until the only thread of an executor has done all that was queued."""
    executor.submit(int).result()


def source(future):
    """What a future is chained to."""
    ((callback, _),) = future._callbacks
    cells = zip(callback.__code__.co_freevars, callback.__closure__, strict=True)
    return next(cell.cell_contents for name, cell in cells if name == "source")


def is_native(future):
    return type(source(future)).__name__ == "Job"


def without_addresses(text):
    return re.sub(r"0x[0-9a-f]+", "0x", text)


# What comes of a call.


def test_a_result(loop, executor):
    assert loop.run_until_complete(loop.run_in_executor(executor, lambda *args: args, 1, "two")) == (1, "two")


def test_usual_calls_are_native(own_loop, executor):
    with occupied(executor):
        assert is_native(own_loop.run_in_executor(executor, int))


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
    assert ours == theirs == ["run", "fail"]


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

            async def main():
                future = loop.run_in_executor(executor, str, "result")
                future.add_done_callback(lambda future: seen.append("callback"))
                waiting = loop.create_task(wait(future))
                await asyncio.sleep(0)
                loop.call_soon(count, 0)
                loop.call_soon(let_finish, executor)
                loop.call_soon(seen.append, "after")
                await waiting
                await asyncio.sleep(0.01)

            loop.run_until_complete(main())
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


# Cancellation.


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
        if isinstance(loop, boucle.Loop):
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


# Where asyncio's own way is taken.


def fallback(replace):
    """A test that a call is seen by what was replaced, and works."""

    def test(own_loop, executor, monkeypatch):
        executor = replace(own_loop, executor, monkeypatch) or executor
        with occupied(executor):
            future = own_loop.run_in_executor(executor, str, "done")
            assert not is_native(future)
        monkeypatch.undo()
        assert own_loop.run_until_complete(future) == "done"

    return test


def wrapped(function):
    def wrapper(*args, **options):
        return function(*args, **options)

    return wrapper


class Submits(ThreadPoolExecutor):
    """An executor of one's own."""


def of_a_subclass(loop, executor, monkeypatch):
    executor.shutdown()
    mine = Submits(1)
    mine.submit(int).result()
    return mine


def another_queue(loop, executor, monkeypatch):
    executor.shutdown()
    mine = ThreadPoolExecutor(1)
    mine._work_queue = thread.queue.Queue()
    mine.submit(int).result()
    return mine


def replaced_in(owner, name):
    return lambda loop, executor, monkeypatch: monkeypatch.setattr(owner, name, wrapped(getattr(owner, name)))


def other_code(owner, name):
    def replace(loop, executor, monkeypatch):
        function = getattr(owner, name)
        monkeypatch.setattr(function, "__code__", function.__code__.replace(co_name="other"))

    return replace


class OtherItem(thread._WorkItem):
    """An item of one's own."""


class OtherFuture(concurrent.futures.Future):
    """A future of one's own."""


REASONS = {
    "debug mode": lambda loop, executor, monkeypatch: loop.set_debug(True),
    "a subclass": of_a_subclass,
    "another queue": another_queue,
    "submit of the class": replaced_in(ThreadPoolExecutor, "submit"),
    "submit of the instance": lambda loop, executor, monkeypatch: monkeypatch.setattr(
        executor, "submit", wrapped(executor.submit)
    ),
    "code of submit": other_code(ThreadPoolExecutor, "submit"),
    "_adjust_thread_count of the class": replaced_in(ThreadPoolExecutor, "_adjust_thread_count"),
    "_adjust_thread_count of the instance": lambda loop, executor, monkeypatch: monkeypatch.setattr(
        executor, "_adjust_thread_count", wrapped(executor._adjust_thread_count)
    ),
    "the class of items": lambda loop, executor, monkeypatch: monkeypatch.setattr(thread, "_WorkItem", OtherItem),
    "run of items": replaced_in(thread._WorkItem, "run"),
    "the class of futures": lambda loop, executor, monkeypatch: monkeypatch.setattr(
        concurrent.futures._base, "Future", OtherFuture
    ),
    "set_result of futures": replaced_in(concurrent.futures.Future, "set_result"),
    "code of cancel": other_code(concurrent.futures.Future, "cancel"),
    "the module of futures": lambda loop, executor, monkeypatch: monkeypatch.setattr(
        thread, "_base", types.SimpleNamespace(**vars(concurrent.futures._base))
    ),
    "wrap_future": replaced_in(asyncio.futures, "wrap_future"),
    "_chain_future": replaced_in(asyncio.futures, "_chain_future"),
    "code of wrap_future": other_code(asyncio.futures, "wrap_future"),
    "run_in_executor of asyncio": replaced_in(asyncio.BaseEventLoop, "run_in_executor"),
    "the question of the loop": lambda loop, executor, monkeypatch: monkeypatch.setattr(
        loop, "_check_default_executor", wrapped(loop._check_default_executor), raising=False
    ),
    "create_future": lambda loop, executor, monkeypatch: monkeypatch.setattr(
        loop, "create_future", wrapped(loop.create_future)
    ),
    "acquire of semaphores": replaced_in(threading.Semaphore, "acquire"),
}


@pytest.mark.skipif(not boucle._boucle.native_tasks, reason="asyncio's own way is taken always")
@pytest.mark.parametrize("reason", REASONS)
def test_asyncios_own_way_is_taken(own_loop, executor, monkeypatch, reason):
    fallback(REASONS[reason])(own_loop, executor, monkeypatch)
    # And ours again, once all is as it was.
    own_loop.set_debug(False)
    if reason not in ("a subclass", "another queue"):
        with occupied(executor):
            future = own_loop.run_in_executor(executor, int)
            assert is_native(future)
        own_loop.run_until_complete(future)


@pytest.mark.parametrize("which", ["executor", "exit", "idle"])
def test_a_lock_that_somebody_has_is_waited_for(own_loop, executor, which):
    lock = {
        "executor": executor._shutdown_lock,
        "exit": thread._global_shutdown_lock,
        "idle": executor._idle_semaphore._cond,
    }[which]
    took, release = threading.Event(), threading.Event()

    def hold():
        with lock:
            took.set()
            release.wait(0.05)

    with occupied(executor):
        holder = threading.Thread(target=hold)
        holder.start()
        took.wait()
        future = own_loop.run_in_executor(executor, int)
        assert not is_native(future)
        holder.join()
    assert own_loop.run_until_complete(future) == 0


@pytest.mark.parametrize("name", ["_check_default_executor", "_check_closed"])
def test_a_loop_of_a_class_with_questions_of_its_own(executor, name):
    asked = []

    def ask(self):
        asked.append(self)
        getattr(boucle.Loop, name)(self)

    Asking = type("Asking", (boucle.Loop,), {name: ask})

    loop = Asking()
    loop.set_default_executor(executor)
    asked.clear()
    loop.run_in_executor(None, int)
    let_finish(executor)
    assert asked == [loop]
    loop.close()


@pytest.mark.parametrize("kind", ["a function", "an object"])
def test_a_submit_that_was_replaced_before_the_import_sees_each_call(kind):
    program = f"""
import concurrent.futures
ThreadPoolExecutor = concurrent.futures.ThreadPoolExecutor
original = ThreadPoolExecutor.submit
def submit(self, *args, **options):
    print("seen")
    return original(self, *args, **options)
class Wrapper:
    def __get__(self, instance, owner):
        return self if instance is None else submit.__get__(instance, owner)
ThreadPoolExecutor.submit = submit if {kind!r} == "a function" else Wrapper()
import asyncio, boucle
async def main():
    for _ in range(3):
        await asyncio.to_thread(int)
boucle.run(main())
"""
    finished = run_python("-c", program, PYTHONPATH=str(Path(boucle.__file__).parent.parent))
    assert finished.stdout == "seen\n" * 3, finished.stderr


def test_a_call_imports_no_executor():
    program = """
import sys, boucle
loop = boucle.new_event_loop()
assert "concurrent.futures.thread" not in sys.modules
loop.close()
"""
    finished = run_python("-c", program, PYTHONPATH=str(Path(boucle.__file__).parent.parent))
    assert finished.returncode == 0, finished.stderr


def test_arguments_by_name(loop, executor):
    assert loop.run_until_complete(loop.run_in_executor(executor=executor, func=int)) == 0
    for wrong in ([], [executor]):
        with pytest.raises(TypeError, match="run_in_executor"):
            loop.run_in_executor(*wrong)


# The stand-in.


def test_wrong_calls_of_a_job(own_loop, executor):
    with occupied(executor):
        future = own_loop.run_in_executor(executor, int)
        job = source(future)
        assert not job.done()
        assert not job.running()
    own_loop.run_until_complete(future)
    assert (job.done(), job.cancelled(), job.cancel(), job.result(), job.exception()) == (True, False, False, 0, None)
    with pytest.raises(concurrent.futures.InvalidStateError, match=r"^FINISHED: <Future at 0x\w+ state=finished"):
        job.set_result(1)
    with pytest.raises(concurrent.futures.InvalidStateError, match="^FINISHED: "):
        job.set_exception(FailureError())
    with pytest.raises(RuntimeError, match="Future in unexpected state"):
        job.set_running_or_notify_cancel()


# All at once.


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
