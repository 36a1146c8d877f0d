"""Tasks and futures leave nothing: no object, no memory, no reference."""

import asyncio
import contextlib
import contextvars
import gc
import sys
import tracemalloc

import pytest

import boucle
from conftest import FailureError, fail, run_python, succeed, wait

LOOPS = {"boucle": boucle.new_event_loop, "ours on asyncio's loop": asyncio.SelectorEventLoop}


async def finished(loop, count):
    for _ in range(count):
        await loop.create_task(succeed())


async def named(loop, count):
    for number in range(count):
        task = loop.create_task(succeed(), name=f"number {number}")
        task.something = number
        task.set_name("another")
        await task


async def failed(loop, count):
    for _ in range(count):
        with contextlib.suppress(FailureError):
            await loop.create_task(fail())


async def cancelled(loop, count):
    for _ in range(count):
        task = loop.create_task(wait(loop.create_future()))
        await asyncio.sleep(0)
        task.cancel("message")
        with contextlib.suppress(asyncio.CancelledError):
            await task


async def cancelled_before_its_first_step(loop, count):
    for _ in range(count):
        task = loop.create_task(succeed())
        task.cancel()
        with contextlib.suppress(asyncio.CancelledError):
            await task


async def dropped_pending(loop, count):
    for number in range(count):
        task = loop.create_task(wait(loop.create_future()))
        task._log_destroy_pending = False
        del task
        # A task that is dropped while its first step is queued lives until then.
        if number % 100 == 99:
            await asyncio.sleep(0)
    await asyncio.sleep(0)


async def waiting_together(loop, count):
    for _ in range(count // 10):
        future = loop.create_future()
        tasks = [loop.create_task(wait(future)) for _ in range(9)]
        future.add_done_callback(id)
        await asyncio.sleep(0)
        future.set_result(None)
        await asyncio.gather(*tasks)


async def futures(loop, count):
    for number in range(count):
        if number % 100 == 0:
            await asyncio.sleep(0)
        future = loop.create_future()
        future.add_done_callback(id)
        future.add_done_callback(print)
        future.remove_done_callback(print)
        future.set_exception(FailureError())
        future.exception()
        future = loop.create_future()
        future.cancel("message")
        future._callbacks, future._asyncio_future_blocking  # noqa: B018


async def started_eagerly(loop, count):
    for _ in range(count):
        await boucle.Task(succeed(), loop=loop, eager_start=True)
        await boucle.Task(asyncio.sleep(0), loop=loop, eager_start=True)


LIVES = [
    finished,
    named,
    failed,
    cancelled,
    cancelled_before_its_first_step,
    dropped_pending,
    waiting_together,
    futures,
]
if sys.version_info >= (3, 12):
    LIVES.append(started_eagerly)


def names(functions):
    return [function.__name__ for function in functions]


@pytest.fixture
def full_freelists():
    """Memory of instances is kept: up to a bound, which is reached here."""
    loop = boucle.new_event_loop()
    futures = [loop.create_future() for _ in range(33_000)]
    iterators = [iter(future) for future in futures]
    tasks = [loop.create_task(succeed()) for _ in range(33_000)]
    loop.run_until_complete(asyncio.sleep(0))
    del futures, iterators, tasks
    loop.close()


class TestLeaks:
    def test_100_000_tasks_leave_no_object_and_no_page(self):
        # Without the recorder, whose ring fills.
        program = """
import gc, sys
sys.path.insert(0, "tests")
import boucle
from test_lifetime import resident_pages
from test_task_memory import LIVES
loop = boucle.new_event_loop()
for live in LIVES:
    # Memory of 32,768 instances of each class is kept.
    loop.run_until_complete(live(loop, 35_000))
    grown = []
    for _ in range(2):
        gc.collect()
        objects, pages = len(gc.get_objects()), resident_pages()
        loop.run_until_complete(live(loop, 100_000))
        gc.collect()
        grown.append((len(gc.get_objects()) - objects, resident_pages() - pages))
    objects, pages = map(min, zip(*grown))
    # Pages come and go by some hundred. A leak of 16 bytes a task would be 390 pages, each time.
    if objects > 50 or pages > 250:
        print(live.__name__, "left", objects, "objects,", pages, "pages")
loop.close()
"""
        result = run_python("-c", program, BOUCLE_RECORD="0")
        assert (result.stdout, result.stderr, result.returncode) == ("", "", 0)

    @pytest.mark.usefixtures("full_freelists")
    @pytest.mark.parametrize("live", LIVES, ids=names(LIVES))
    @pytest.mark.parametrize("where", LOOPS)
    def test_tasks_leave_no_python_memory(self, live, where):
        loop = LOOPS[where]()
        if where != "boucle":
            loop.set_task_factory(lambda loop, coro, **options: boucle.Task(coro, loop=loop, **options))
            loop.create_future = lambda: boucle.Future(loop=loop)
        loop.run_until_complete(live(loop, 1000))
        gc.collect()
        tracemalloc.start()
        # A leak shows in each batch; a table that grows (of names, of tracemalloc's own) in one of them.
        grown = []
        for _ in range(3):
            before = tracemalloc.get_traced_memory()[0]
            loop.run_until_complete(live(loop, 250))
            gc.collect()
            grown.append(tracemalloc.get_traced_memory()[0] - before)
        tracemalloc.stop()
        loop.close()
        assert min(grown) < 4000, grown

    def test_reference_counts_stay_what_they_were(self, own_loop):
        error, text, context = FailureError(), "a string of some length", contextvars.copy_context()
        watched = [None, True, False, own_loop, error, text, context, FailureError, asyncio.CancelledError, succeed]
        watched += [asyncio.InvalidStateError, asyncio.Task, asyncio.Future, StopIteration, RuntimeError, (), print]
        watched += [succeed.__code__, "context", "msg", "name"]

        async def fail_with_ours():
            raise error

        def call_wrongly(loop, future, task):
            yield lambda: future.result()
            yield lambda: future.set_exception(1)
            yield lambda: future.cancel(1, 2)
            yield lambda: future.add_done_callback()
            yield lambda: task.set_result(text)
            yield lambda: loop.create_task(text)
            yield lambda: boucle.Task(text, loop=loop)
            yield lambda: boucle.Future(text)
            yield lambda: iter(boucle.Future.__new__(boucle.Future))
            yield lambda: task._fut_waiter._callbacks[0][0](text)

        async def lives(loop, count):
            for live in LIVES:
                await live(loop, count)
            for _ in range(count):
                task = loop.create_task(fail_with_ours(), name=text)
                await asyncio.wait([task])
                assert task.exception() is error
                error.__traceback__ = None
                future = loop.create_future()
                future.add_done_callback(print, context=context)
                future.remove_done_callback(print)
                task = loop.create_task(wait(future))
                await asyncio.sleep(0)
                for call in call_wrongly(loop, future, task):
                    with pytest.raises((TypeError, RuntimeError, asyncio.InvalidStateError)):
                        call()
                future.cancel()
                await asyncio.wait([task])

        own_loop.run_until_complete(lives(own_loop, 20))
        gc.collect()
        before = [sys.getrefcount(thing) for thing in watched]
        own_loop.run_until_complete(lives(own_loop, 500))
        gc.collect()
        after = [sys.getrefcount(thing) for thing in watched]
        changed = {repr(thing): (b, a) for thing, b, a in zip(watched, before, after, strict=True) if abs(a - b) > 30}
        assert not changed

    def test_the_classes_are_held_by_their_instances_only(self, own_loop):
        classes = (boucle.Future, boucle.Task, type(iter(own_loop.create_future())))
        own_loop.run_until_complete(finished(own_loop, 1000))
        before = [sys.getrefcount(cls) for cls in classes]
        own_loop.run_until_complete(finished(own_loop, 10_000))
        own_loop.run_until_complete(futures(own_loop, 10_000))
        after = [sys.getrefcount(cls) for cls in classes]
        assert all(abs(a - b) < 30 for a, b in zip(after, before, strict=True)), (before, after)
