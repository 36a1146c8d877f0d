"""How long tasks, futures and what they hold live: nothing leaks, nothing outlives asyncio's, cycles are collected."""

import asyncio
import contextlib
import contextvars
import gc
import warnings
import weakref

import pytest

import boucle
from conftest import FailureError, run_turns, succeed, wait

# Where tasks run, and of which class they are. asyncio's own is the oracle.
PLACES = {
    "asyncio": (asyncio.SelectorEventLoop, asyncio.Future, asyncio.Task),
    "boucle": (boucle.new_event_loop, boucle.Future, boucle.Task),
    "ours on asyncio's loop": (asyncio.SelectorEventLoop, boucle.Future, boucle.Task),
    "asyncio's on our loop": (boucle.new_event_loop, asyncio.Future, asyncio.Task),
}


class Thing:
    """Something whose death shows."""


@pytest.fixture(params=PLACES)
def place(request):
    """A loop, and the classes of futures and tasks."""
    new_loop, future_class, task_class = PLACES[request.param]
    loop = new_loop()
    reports = []
    loop.set_exception_handler(lambda loop, context: reports.append(context))
    yield loop, future_class, task_class
    loop.close()
    assert not reports


@pytest.fixture
def without_collector():
    """What dies here dies by its last reference."""
    gc.collect()
    gc.disable()
    yield
    gc.enable()


@pytest.mark.usefixtures("without_collector")
class TestWhatDiesAtOnce:
    def test_a_task_that_is_done_and_its_coroutine(self, place):
        loop, _, task_class = place
        coro = succeed()
        task = task_class(coro, loop=loop)
        alive = [weakref.ref(task), weakref.ref(coro)]
        del coro
        loop.run_until_complete(task)
        assert asyncio.current_task(loop) is None
        del task
        assert [reference() for reference in alive] == [None, None]

    def test_the_variables_of_a_coroutine_that_ended(self, place):
        loop, _, task_class = place
        alive = []

        async def main():
            thing = Thing()
            alive.append(weakref.ref(thing))
            await asyncio.sleep(0)

        task = task_class(main(), loop=loop)
        loop.run_until_complete(task)
        assert alive[0]() is None

    @pytest.mark.parametrize("awaited", [False, True])
    def test_an_exception_that_was_asked_for(self, place, awaited):
        loop, _, task_class = place
        alive = []

        async def failing():
            thing = Thing()
            error = FailureError(thing)
            alive.extend([weakref.ref(thing), weakref.ref(error)])
            await asyncio.sleep(0)
            try:
                raise error
            finally:
                del error

        async def main():
            with contextlib.suppress(FailureError):
                await task_class(failing(), loop=loop)

        if awaited:
            loop.run_until_complete(main())
        else:
            task = task_class(failing(), loop=loop)
            run_turns(loop, 4)
            assert isinstance(task.exception(), FailureError)
            del task
        assert [reference() for reference in alive] == [None, None]

    def test_a_cancelled_task_with_what_it_awaited(self, place):
        loop, future_class, task_class = place
        future = future_class(loop=loop)
        task = task_class(wait(future), loop=loop)
        alive = [weakref.ref(future), weakref.ref(task), weakref.ref(task.get_coro())]
        del future
        run_turns(loop)
        task.cancel()
        run_turns(loop)
        assert task.cancelled()
        del task
        assert [reference() for reference in alive] == [None, None, None]

    def test_a_pending_task_that_nobody_holds(self, place):
        loop, future_class, task_class = place
        thing = Thing()

        async def main(thing):
            await future_class(loop=loop)

        task = task_class(main(thing), loop=loop)
        task._log_destroy_pending = False
        alive = [weakref.ref(task), weakref.ref(thing)]
        del task, thing
        assert alive[0]() is not None
        run_turns(loop)
        # The task and the future that it awaits hold each other through its callback.
        gc.collect()
        assert [reference() for reference in alive] == [None, None]

    def test_results_go_with_the_last_who_asks(self, place):
        loop, future_class, task_class = place
        thing = Thing()
        alive = weakref.ref(thing)
        future = future_class(loop=loop)
        future.set_result(thing)
        del thing

        async def main(future):
            return await future

        task = task_class(main(future), loop=loop)
        del future
        loop.run_until_complete(task)
        assert alive() is task.result()
        del task
        assert alive() is None

    def test_callbacks_that_were_told(self, place):
        loop, future_class, _ = place

        class Callback(Thing):
            def __call__(self, future):
                pass

        for count in (1, 2, 3):
            callbacks = [Callback() for _ in range(count)]
            alive = [weakref.ref(callback) for callback in callbacks]
            future = future_class(loop=loop)
            for callback in callbacks:
                future.add_done_callback(callback)
            del callbacks, callback
            future.set_result(None)
            run_turns(loop)
            assert [reference() for reference in alive] == [None] * count

    def test_the_context_of_a_task(self, place):
        loop, _, task_class = place
        variable = contextvars.ContextVar("variable")
        thing = Thing()
        alive = weakref.ref(thing)

        def start(thing):
            variable.set(thing)
            return task_class(succeed(), loop=loop)

        task = contextvars.copy_context().run(start, thing)
        del thing
        loop.run_until_complete(task)
        del task
        assert alive() is None


class TestCycles:
    def test_a_future_and_its_callback(self, place):
        loop, future_class, _ = place
        for count in (1, 2, 5):
            future = future_class(loop=loop)
            for _ in range(count):
                future.add_done_callback(lambda _, future=future: None)
            future.itself = future
            alive = weakref.ref(future)
            del future
            gc.collect()
            assert alive() is None

    def test_a_future_and_its_result(self, place):
        loop, future_class, _ = place
        for end in (
            lambda future: future.set_result([future]),
            lambda future: future.set_exception(FailureError(future)) or future.exception(),
            lambda future: future.cancel(msg=[future]),
        ):
            future = future_class(loop=loop)
            end(future)
            alive = weakref.ref(future)
            del future
            gc.collect()
            assert alive() is None

    def test_a_task_that_waits_for_what_holds_it(self, place):
        loop, future_class, task_class = place
        thing = Thing()

        async def main(thing):
            future = future_class(loop=loop)
            future.task = asyncio.current_task()
            await future

        task = task_class(main(thing), loop=loop)
        task._log_destroy_pending = False
        alive = [weakref.ref(task), weakref.ref(thing), weakref.ref(task.get_coro())]
        del task, thing
        run_turns(loop)
        gc.collect()
        assert [reference() for reference in alive] == [None] * 3

    def test_tasks_that_wait_for_each_other(self, place):
        loop, _, task_class = place
        tasks = []

        async def main(number):
            await tasks[1 - number]

        tasks += [task_class(main(number), loop=loop) for number in range(2)]
        for task in tasks:
            task._log_destroy_pending = False
        alive = [weakref.ref(task) for task in tasks]
        run_turns(loop)
        del task
        tasks = None
        del main
        gc.collect()
        assert [reference() for reference in alive] == [None, None]

    def test_instances_of_derived_classes(self, place):
        loop, future_class, task_class = place

        class Future(future_class):
            pass

        class Task(task_class):
            def __del__(self):
                died.append("task")

        died = []
        future = Future(loop=loop)
        task = Task(wait(future), loop=loop)
        task._log_destroy_pending = False
        task.future = future
        future.task = task
        alive = [weakref.ref(future), weakref.ref(task)]
        run_turns(loop)
        del future, task
        gc.collect()
        assert [reference() for reference in alive] == [None, None]
        assert died == ["task"]

    def test_an_await_that_was_left_half_way(self, place):
        loop, future_class, _ = place
        future = future_class(loop=loop)
        iterator = iter(future)
        next(iterator)
        future.iterator = iterator
        alive = weakref.ref(future)
        del future, iterator
        gc.collect()
        assert alive() is None

    @pytest.mark.parametrize("started", [False, True])
    def test_a_loop_with_tasks_in_its_queue(self, factory, classes, started):
        loop = factory()
        thing = Thing()

        async def main(thing):
            while True:
                await asyncio.sleep(0)

        tasks = [loop.create_task(main(thing)) for _ in range(3)]
        if started:
            run_turns(loop)
        for task in tasks:
            task._log_destroy_pending = False
            if not started:
                task.get_coro().close()
        assert len(loop._ready) == 3
        alive = [weakref.ref(loop), weakref.ref(thing), *map(weakref.ref, tasks)]
        del tasks, task, thing, main
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", ResourceWarning)
            # asyncio's constructor of the loop leaves sockets.
            del loop
            gc.collect()
        assert [reference() for reference in alive] == [None] * 5

    def test_a_closed_loop_lets_its_tasks_go(self, factory):
        loop = factory()
        task = loop.create_task(wait(loop.create_future()))
        task._log_destroy_pending = False
        task.get_coro().close()
        alive = weakref.ref(task)
        del task
        loop.close()
        gc.collect()
        assert alive() is None


class TestResurrection:
    def test_the_exception_handler_may_keep_a_task(self, place):
        loop, future_class, task_class = place
        kept = []
        with pytest.MonkeyPatch.context() as patch:
            patch.setattr(loop, "_exception_handler", lambda loop, context: kept.append(context["task"]))
            task = task_class(wait(future_class(loop=loop)), loop=loop, name="kept")
            task.itself = task
            run_turns(loop)
            del task
            gc.collect()
        (task,) = kept
        assert task.get_name() == "kept"
        assert task._fut_waiter is not None
        # The collector has closed its coroutine, so it can only come to an end.
        task.cancel()
        run_turns(loop)
        assert isinstance(task.exception(), RuntimeError)

    def test_the_exception_handler_may_keep_a_failed_future(self, place):
        loop, future_class, _ = place
        kept = []
        with pytest.MonkeyPatch.context() as patch:
            patch.setattr(loop, "_exception_handler", lambda loop, context: kept.append(context["future"]))
            future = future_class(loop=loop)
            future.set_exception(FailureError("kept"))
            del future
        (future,) = kept
        assert str(future.exception()) == "kept"
        # It was reported once.
        kept.clear()
        del future

    def test_a_derived_class_may_keep_itself(self, place):
        loop, _, task_class = place
        kept = []

        class Lazarus(task_class):
            def __del__(self):
                kept.append(self)

        task = Lazarus(succeed(), loop=loop)
        loop.run_until_complete(task)
        del task
        assert kept[0].done()
        assert kept[0].result() is None
        kept.clear()
