"""What makes a loop's tasks: create_task, and task factories of every documented form."""

import asyncio
import contextvars
import sys

import pytest

import boucle
from conftest import needs_eager_tasks

VARIABLE = contextvars.ContextVar("variable", default="default")

needs_contexts = pytest.mark.skipif(sys.version_info < (3, 11), reason="create_task takes a context from 3.11 on")


async def answer():
    return 42


async def variable():
    return VARIABLE.get()


class OfAsyncio(asyncio.Task):
    """A task class of a user's own."""


class OfBoucle(boucle.Task):
    """Another one."""


def test_without_a_factory_tasks_and_futures_are_of_the_loops_own_class(loop, classes):
    future_class, task_class = classes
    assert type(loop.create_future()) is future_class
    task = loop.create_task(answer())
    assert type(task) is task_class
    assert loop.get_task_factory() is None
    assert loop.run_until_complete(task) == 42


def test_a_factory_makes_every_task_until_it_is_removed(loop, classes):
    made = []

    def factory(loop, coro, **options):
        made.append(OfAsyncio(coro, loop=loop, **options))
        return made[-1]

    loop.set_task_factory(factory)
    assert loop.get_task_factory() is factory

    async def main():
        tasks = [loop.create_task(answer(), name="by create_task"), asyncio.ensure_future(answer())]
        assert made[1:] == tasks
        assert await asyncio.gather(*tasks, answer()) == [42, 42, 42]

    loop.run_until_complete(main())
    assert {type(task) for task in made} == {OfAsyncio}
    assert len(made) == 4
    assert made[1].get_name() == "by create_task"
    loop.set_task_factory(None)
    task = loop.create_task(answer())
    assert type(task) is classes[1]
    loop.run_until_complete(task)


def test_a_factory_of_two_arguments(loop):
    loop.set_task_factory(lambda loop, coro: asyncio.Task(coro, loop=loop))
    assert loop.run_until_complete(loop.create_task(answer())) == 42


@needs_contexts
def test_a_factory_with_a_context(loop):
    def factory(loop, coro, context=None, **options):
        return asyncio.Task(coro, loop=loop, context=context, **options)

    loop.set_task_factory(factory)
    context = contextvars.Context()
    context.run(VARIABLE.set, "in the context")
    assert loop.run_until_complete(loop.create_task(variable(), context=context)) == "in the context"
    assert loop.run_until_complete(loop.create_task(variable())) == "default"


OPTIONS = [{}, {"name": "a name"}, {"name": None}]
if sys.version_info >= (3, 11):
    OPTIONS += [{"context": contextvars.Context()}, {"context": None}, {"context": None, "name": "a name"}]
if sys.version_info >= (3, 14):
    OPTIONS += [{"eager_start": True}, {"eager_start": None}, {"eager_start": False, "name": "a name"}]


@pytest.mark.parametrize("options", OPTIONS, ids=str)
def test_a_factory_is_passed_what_create_task_was_given(options):
    def passed(new_loop):
        loop = new_loop()
        calls = []

        def factory(loop, coro, **options):
            calls.append(options)
            return asyncio.Task(coro, loop=loop)

        loop.set_task_factory(factory)
        task = loop.create_task(answer(), **options)
        loop.run_until_complete(task)
        loop.close()
        return calls, task.get_name() == "a name"

    assert passed(boucle.new_event_loop) == passed(asyncio.SelectorEventLoop)


@pytest.mark.parametrize("call", [{"args": ()}, {"args": (1, 2)}, {"nonsense": 1}, {"args": (42,)}], ids=str)
def test_a_wrong_call_raises_what_asyncio_raises(call):
    def raised(new_loop):
        loop = new_loop()
        coro = answer()
        args, options = call.get("args", (coro,)), {name: value for name, value in call.items() if name != "args"}
        with pytest.raises(TypeError) as caught:
            loop.create_task(*args, **options)
        coro.close()
        loop.close()
        return str(caught.value)

    assert raised(boucle.new_event_loop) == raised(asyncio.SelectorEventLoop)


def test_a_failing_factory_fails_create_task(loop):
    def factory(loop, coro, **options):
        coro.close()
        raise LookupError("no task today")

    loop.set_task_factory(factory)
    with pytest.raises(LookupError, match="no task today"):
        loop.create_task(answer())
    with pytest.raises(TypeError, match="task factory must be a callable or None"):
        loop.set_task_factory(1)


def test_a_closed_loop_makes_no_task(factory):
    loop = factory()
    loop.close()
    coro = answer()
    with pytest.raises(RuntimeError, match="Event loop is closed"):
        loop.create_task(coro)
    coro.close()


@needs_eager_tasks
class TestEagerTasks:
    @pytest.mark.parametrize("make", ["asyncio's", "of our class", "by hand", "of a subclass"])
    def test_they_start_inside_of_create_task(self, loop, make):
        loop.set_task_factory(
            {
                "asyncio's": lambda: asyncio.eager_task_factory,
                "of our class": lambda: asyncio.create_eager_task_factory(boucle.Task),
                "of a subclass": lambda: asyncio.create_eager_task_factory(OfBoucle),
                "by hand": lambda: (
                    lambda loop, coro, **options: boucle.Task(coro, loop=loop, eager_start=True, **options)
                ),
            }[make]()
        )
        ran = []

        async def child(waits):
            ran.append("child")
            if waits:
                await asyncio.sleep(0)
                ran.append("child again")
            return "result"

        async def main():
            task = loop.create_task(child(False))
            assert task.done()
            assert task.result() == "result"
            # asyncio's of 3.12.1 crashes when asked.
            assert type(task) is asyncio.Task or task.get_coro() is None
            waiting = loop.create_task(child(True), name="waiting")
            assert not waiting.done()
            assert waiting.get_name() == "waiting"
            ran.append("parent")
            assert await waiting == "result"

        loop.run_until_complete(main())
        assert ran == ["child", "child", "parent", "child again"]

    def test_they_wait_while_the_loop_does_not_run(self, loop):
        loop.set_task_factory(asyncio.create_eager_task_factory(boucle.Task))
        task = loop.create_task(answer())
        assert not task.done()
        assert loop.run_until_complete(task) == 42

    @pytest.mark.parametrize("exception", [ZeroDivisionError, asyncio.CancelledError])
    def test_a_failure_at_once_is_the_tasks(self, loop, classes, exception):
        async def fail():
            raise exception

        async def main():
            task = classes[1](fail(), loop=loop, eager_start=True)
            assert task.done()
            with pytest.raises(exception):
                await task

        loop.run_until_complete(main())

    @pytest.mark.parametrize("exception", [KeyboardInterrupt, SystemExit])
    def test_an_interrupt_at_once_goes_through(self, loop, classes, exception):
        async def interrupt():
            raise exception

        async def main():
            with pytest.raises(exception):
                classes[1](interrupt(), loop=loop, eager_start=True)
            assert asyncio.current_task() is not None

        # The task that nobody got has an exception that nobody asks for.
        loop.set_exception_handler(lambda loop, context: None)
        loop.run_until_complete(main())

    def test_a_context_that_is_entered_already_is_refused(self, loop, classes):
        entered = contextvars.copy_context()

        async def main():
            coro = answer()
            with pytest.raises(RuntimeError, match="cannot enter context"):
                classes[1](coro, loop=loop, eager_start=True, context=entered)
            coro.close()

        # The task that nobody got is pending when it goes.
        loop.set_exception_handler(lambda loop, context: None)
        entered.run(loop.run_until_complete, main())

    def test_what_they_set_stays_in_their_copy_of_the_context(self, loop, classes):
        async def child():
            VARIABLE.set("by the child")

        async def main():
            VARIABLE.set("by the parent")
            task = classes[1](child(), loop=loop, eager_start=True)
            assert task.done()
            return VARIABLE.get()

        assert loop.run_until_complete(main()) == "by the parent"
