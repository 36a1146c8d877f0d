"""Tasks await what others made: asyncio's tasks and futures, on other loops too, and what only looks like one."""

import asyncio
import importlib.util
import re
import sys
import threading
import types
from unittest.mock import MagicMock

import pytest

import boucle
from conftest import FACTORIES, on_each_loop, run_turns

LOOPS = dict(FACTORIES)
if importlib.util.find_spec("uvloop"):
    import uvloop

    LOOPS["uvloop"] = uvloop.new_event_loop

TASKS = {"boucle": boucle.Task, "C": asyncio.Task, "Python": asyncio.tasks._PyTask}
FUTURES = {"boucle": boucle.Future, "C": asyncio.Future, "Python": asyncio.futures._PyFuture}

# From 3.14 on asyncio.current_task(), and with it wait_for, knows native tasks only.
NOT_FOUND = pytest.mark.skipif(sys.version_info >= (3, 14), reason="current_task() does not see the tasks of Python")
FINDABLE = [
    pytest.param(task_class, id=name, marks=NOT_FOUND if name == "Python" else ()) for name, task_class in TASKS.items()
]


async def answer():
    return 42


async def forever():
    await asyncio.get_running_loop().create_future()


@types.coroutine
def let_out(thing):
    """Yields to the task what no await would."""
    return (yield thing)


def without_addresses(text):
    return re.sub(r"0x[0-9a-f]+", "0x", text)


class TestBesideOthers:
    """Tasks and futures of every make await each other, on every loop."""

    @pytest.fixture(params=LOOPS)
    def any_loop(self, request):
        loop = LOOPS[request.param]()
        reports = []
        loop.set_exception_handler(lambda loop, context: reports.append(context))
        yield loop
        loop.close()
        assert not reports

    @pytest.mark.parametrize("future_class", FUTURES.values(), ids=FUTURES)
    @pytest.mark.parametrize("task_class", TASKS.values(), ids=TASKS)
    def test_a_task_awaits_a_future(self, any_loop, task_class, future_class):
        async def wait(future):
            try:
                return await future
            except (ValueError, asyncio.CancelledError) as error:
                return type(error)

        async def main():
            answers = []
            for end in (
                lambda future: future.set_result("result"),
                lambda future: future.set_exception(ValueError("failed")),
                lambda future: future.cancel(),
            ):
                future = future_class(loop=any_loop)
                task = task_class(wait(future), loop=any_loop)
                await asyncio.sleep(0)
                assert task._fut_waiter is future
                end(future)
                answers.append(await task)
            done = future_class(loop=any_loop)
            done.set_result("at once")
            answers.append(await task_class(wait(done), loop=any_loop))
            return answers

        answers = any_loop.run_until_complete(task_class(main(), loop=any_loop))
        assert answers == ["result", ValueError, asyncio.CancelledError, "at once"]

    @pytest.mark.parametrize("awaited_class", TASKS.values(), ids=TASKS)
    @pytest.mark.parametrize("task_class", FINDABLE)
    def test_a_task_awaits_a_task(self, any_loop, task_class, awaited_class):
        async def fail():
            await asyncio.sleep(0)
            raise ValueError("failed")

        async def main():
            assert await awaited_class(answer(), loop=any_loop) == 42
            with pytest.raises(ValueError, match="failed"):
                await awaited_class(fail(), loop=any_loop)
            child = awaited_class(forever(), loop=any_loop)
            await asyncio.sleep(0)
            me = asyncio.current_task()
            any_loop.call_soon(lambda: me.cancel("all of it"))
            with pytest.raises(asyncio.CancelledError):
                await child
            assert child.cancelled()
            slow, quick = awaited_class(forever(), loop=any_loop), awaited_class(answer(), loop=any_loop)
            done, pending = await asyncio.wait([slow, quick], return_when=asyncio.FIRST_COMPLETED)
            assert (done, pending) == ({quick}, {slow})
            with pytest.raises(asyncio.TimeoutError):
                await asyncio.wait_for(slow, 0.001)
            assert slow.cancelled()
            assert await asyncio.gather(awaited_class(answer(), loop=any_loop), answer()) == [42, 42]
            assert await asyncio.shield(awaited_class(answer(), loop=any_loop)) == 42
            return "done"

        assert any_loop.run_until_complete(task_class(main(), loop=any_loop)) == "done"

    def test_on_asyncios_loop_a_task_steps_by_callbacks(self):
        loop = asyncio.SelectorEventLoop()
        task = boucle.Task(answer(), loop=loop)
        (handle,) = loop._ready
        assert handle._callback.__self__ is task
        assert repr(handle) == "<Handle Task.task_step()>"
        loop.run_until_complete(task)
        loop.close()

    def test_other_threads_hand_coroutines_in(self, loop):
        results = []

        def other():
            results.append(asyncio.run_coroutine_threadsafe(answer(), loop).result())
            loop.call_soon_threadsafe(loop.stop)

        thread = threading.Thread(target=other)
        thread.start()
        loop.run_forever()
        thread.join()
        assert results == [42]


class TestForeignFutures:
    class Proxy:
        """Passes everything on to a future, and notes what it was asked for."""

        def __init__(self, future, asked):
            self.__dict__.update(future=future, asked=asked)

        def __getattr__(self, name):
            self.asked.append(name)
            return getattr(self.future, name)

        def __setattr__(self, name, value):
            self.asked.append(f"{name} = {value}")
            setattr(self.future, name, value)

        def __await__(self):
            if not self.future.done():
                self.future._asyncio_future_blocking = True
                yield self
            return self.future.result()

    @pytest.mark.parametrize("end", ["a result", "an exception", "a cancellation", "cancelled by the task"])
    def test_a_task_asks_them_what_asyncios_asks(self, end):
        def observe(loop, future_class, task_class):
            future = future_class(loop=loop)
            asked = []

            async def main():
                try:
                    return await self.Proxy(future, asked)
                except (ValueError, asyncio.CancelledError) as error:
                    return type(error), str(error)

            task = task_class(main(), loop=loop)
            run_turns(loop)
            {
                "a result": lambda: future.set_result("result"),
                "an exception": lambda: future.set_exception(ValueError("failed")),
                "a cancellation": lambda: future.cancel("message"),
                "cancelled by the task": lambda: task.cancel("message"),
            }[end]()
            return loop.run_until_complete(task), asked

        theirs, ours = on_each_loop(observe)
        assert ours == theirs
        assert "add_done_callback" in ours[1]

    @pytest.mark.parametrize("name", ["_asyncio_future_blocking", "get_loop", "add_done_callback"])
    def test_one_that_raises_ends_the_step_as_on_asyncio(self, name):
        def observe(loop, future_class, task_class):
            class Raising(self.Proxy):
                def __getattr__(self, asked):
                    if asked == name:
                        raise LookupError(f"no {name} today")
                    return super().__getattr__(asked)

            reports = []
            loop.set_exception_handler(lambda loop, context: reports.append(context["exception"]))

            async def main():
                await Raising(future_class(loop=loop), [])

            task = task_class(main(), loop=loop)
            task._log_destroy_pending = False
            run_turns(loop)
            return [repr(report) for report in reports], task.done() and repr(task.exception())

        theirs, ours = on_each_loop(observe)
        assert ours == theirs


class TestBadYields:
    @pytest.mark.parametrize(
        "what", ["a number", "a generator", "itself", "without await", "of another loop", "a mock"]
    )
    def test_they_raise_what_asyncio_raises(self, what):
        def observe(loop, future_class, task_class):
            other = type(loop)()
            things = {
                "a number": lambda: 1,
                "a generator": lambda: (number for number in ()),
                "itself": asyncio.current_task,
                "without await": lambda: future_class(loop=loop),
                "of another loop": lambda: future_class(loop=other),
                "a mock": lambda: MagicMock(name="mock"),
            }

            async def main():
                thing = things[what]()
                if what == "of another loop":
                    thing._asyncio_future_blocking = True
                try:
                    await let_out(thing)
                except RuntimeError as error:
                    return without_addresses(str(error)).replace(str(id(thing)), "its id")

            text = loop.run_until_complete(task_class(main(), loop=loop, name="main"))
            other.close()
            return text

        theirs, ours = on_each_loop(observe)
        assert theirs
        assert ours == theirs

    def test_the_task_goes_on_afterwards(self, loop):
        async def main():
            for thing in (1, asyncio.current_task(), loop.create_future()):
                with pytest.raises(RuntimeError):
                    await let_out(thing)
            await let_out(None)
            return await loop.create_task(answer())

        assert loop.run_until_complete(main()) == 42
