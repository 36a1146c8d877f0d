"""Tasks: what they are to a program, what they are called, how they step and are cancelled."""

import asyncio
import contextlib
import contextvars
import functools
import re
import sys
import weakref

import pytest

import boucle
from conftest import on_each_loop, run_turns

VARIABLE = contextvars.ContextVar("variable", default="default")
needs_uncancel = pytest.mark.skipif(sys.version_info < (3, 11), reason="uncancel is new in 3.11")


async def answer():
    return 42


async def forever():
    await asyncio.get_running_loop().create_future()


def without_addresses(text):
    return re.sub(r"0x[0-9a-f]+", "0x", text)


class TestIdentity:
    def test_a_task_is_a_task_to_everybody_who_asks(self, loop):
        task = loop.create_task(answer())
        assert isinstance(task, asyncio.Task)
        assert isinstance(task, asyncio.Future)
        assert task.__class__ is asyncio.Task
        assert asyncio.isfuture(task)
        assert not asyncio.iscoroutine(task)
        match task:
            case asyncio.Task():
                matched = True
            case _:
                matched = False
        assert matched
        assert asyncio.ensure_future(task) is task
        assert asyncio.wrap_future(task) is task
        assert loop.run_until_complete(task) == 42

    def test_dispatch_by_class_finds_it(self, loop):
        @functools.singledispatch
        def what(thing):
            return "thing"

        what.register(asyncio.Future)(lambda thing: "future")
        task = loop.create_task(answer())
        assert what(task) == "future"
        what.register(asyncio.Task)(lambda thing: "task")
        assert what(task) == "task"
        loop.run_until_complete(task)

    def test_its_class_is_boucles(self, own_loop):
        task = own_loop.create_task(answer())
        assert type(task) is boucle.Task
        assert issubclass(boucle.Task, boucle.Future)
        assert not issubclass(boucle.Task, asyncio.Task)
        assert boucle.Task[int].__origin__ is boucle.Task
        assert boucle.Task[int].__args__ == (int,)
        assert boucle.Task.__module__ == "boucle"
        own_loop.run_until_complete(task)

    def test_classes_derive_from_it(self, loop, classes):
        class Derived(classes[1]):
            __slots__ = ("extra",)

            def __init__(self, *args, extra, **options):
                super().__init__(*args, **options)
                self.extra = extra

            def cancel(self, msg=None):
                return super().cancel(f"{msg}, says {self.extra}")

        async def main():
            task = Derived(forever(), loop=loop, extra="it")
            assert isinstance(task, Derived)
            assert isinstance(task, asyncio.Task)
            assert repr(task).startswith("<Derived pending name=")
            assert asyncio.all_tasks() == {asyncio.current_task(), task}
            await asyncio.sleep(0)
            task.cancel("stop")
            with pytest.raises(asyncio.CancelledError) as caught:
                await task
            return caught.value

        error = loop.run_until_complete(main())
        if sys.version_info >= (3, 11):
            assert error.args == ("stop, says it",)

    def test_it_takes_attributes_and_weak_references(self, loop):
        task = loop.create_task(answer())
        task.something = "of the user"
        assert task.something == "of the user"
        assert weakref.ref(task)() is task
        del task.something
        assert not hasattr(task, "something")
        assert {task: "a key"}[task] == "a key"
        loop.run_until_complete(task)

    def test_the_private_attributes_that_software_reads(self, loop):
        coro = forever()
        task = loop.create_task(coro)
        assert (task._coro, task._loop, task._state, task._fut_waiter) == (coro, loop, "PENDING", None)
        assert (task._must_cancel, task._log_destroy_pending, task._source_traceback) == (False, True, None)
        assert (task._callbacks, task._asyncio_future_blocking, task._cancel_message) == (None, False, None)
        task.cancel("too early")
        assert task._must_cancel
        assert task._cancel_message == "too early"
        run_turns(loop)
        assert task.cancelled()

        task = loop.create_task(forever())
        run_turns(loop, 1)
        assert asyncio.isfuture(task._fut_waiter)
        ((wakeup, context),) = task._fut_waiter._callbacks
        assert wakeup.__self__ is task
        assert isinstance(context, contextvars.Context)
        task.cancel()
        run_turns(loop)
        assert task._fut_waiter is None
        assert task._state == "CANCELLED"
        task._log_destroy_pending = False
        assert not task._log_destroy_pending

    def test_where_it_was_made_is_kept_in_debug_mode(self, loop):
        loop.set_debug(True)
        task = loop.create_task(answer())
        assert task._source_traceback[-1].name == "test_where_it_was_made_is_kept_in_debug_mode"
        assert f"created at {__file__}:" in repr(task)
        loop.run_until_complete(task)


class TestNames:
    def test_a_name_is_made_up(self, loop):
        first, second = loop.create_task(answer()), loop.create_task(answer())
        loop.run_until_complete(asyncio.gather(first, second))
        numbers = [int(re.fullmatch(r"Task-(\d+)", task.get_name()).group(1)) for task in (first, second)]
        assert numbers[1] > numbers[0] > 0

    @pytest.mark.parametrize("name", ["a name", "", 5, None, ("a", "tuple")], ids=str)
    def test_a_name_is_text(self, loop, name):
        task = loop.create_task(answer(), name=name)
        assert task.get_name() == str(name) if name is not None else task.get_name().startswith("Task-")
        task.set_name(name)
        assert task.get_name() == str(name)
        assert f"name={str(name)!r}" in repr(task)
        loop.run_until_complete(task)

    def test_a_name_that_cannot_be_text_is_refused(self, loop, classes):
        class Nameless:
            def __str__(self):
                raise LookupError("no name")

        task = loop.create_task(answer(), name="before")
        with pytest.raises(LookupError, match="no name"):
            task.set_name(Nameless())
        assert task.get_name() == "before"
        loop.run_until_complete(task)

    def test_a_chronology_shows_the_name_that_a_task_has_in_the_end(self):
        async def main():
            await asyncio.sleep(0)
            asyncio.current_task().set_name("after its first step")
            await asyncio.sleep(0)

        with boucle.record() as chronology:
            boucle.run(main())
        assert [step.task for step in chronology.steps if step.task].count("after its first step") == 3


class TestSteps:
    def test_waiters_of_every_kind_run_in_the_order_in_which_they_came(self, loop):
        ran = []

        async def wait(future, name):
            await future
            ran.append(name)

        async def main():
            future = loop.create_future()
            tasks = []
            for number in range(3):
                tasks.append(loop.create_task(wait(future, f"task {number}")))
                await asyncio.sleep(0)
                future.add_done_callback(lambda future, number=number: ran.append(f"callback {number}"))
            future.set_result(None)
            loop.call_soon(ran.append, "afterwards")
            await asyncio.sleep(0)
            await asyncio.wait(tasks)

        loop.run_until_complete(main())
        assert ran == [f"{kind} {number}" for number in range(3) for kind in ("task", "callback")] + ["afterwards"]

    def test_a_task_runs_in_a_copy_of_the_context_that_made_it(self, loop):
        async def main():
            VARIABLE.set("by the task")
            await asyncio.sleep(0)
            return VARIABLE.get()

        task = loop.create_task(main())
        assert loop.run_until_complete(task) == "by the task"
        assert VARIABLE.get() == "default"

    @pytest.mark.skipif(sys.version_info < (3, 11), reason="create_task takes a context from 3.11 on")
    def test_a_task_runs_in_the_context_it_was_given(self, loop):
        context = contextvars.Context()

        async def main():
            VARIABLE.set("by the task")
            await asyncio.sleep(0)

        task = loop.create_task(main(), context=context)
        loop.run_until_complete(task)
        assert context[VARIABLE] == "by the task"
        if sys.version_info >= (3, 12):
            assert task.get_context() is context

    @pytest.mark.skipif(sys.version_info < (3, 11), reason="create_task takes a context from 3.11 on")
    def test_a_context_that_is_entered_already_is_reported(self, factory, caplog):
        loop = factory()
        entered = contextvars.copy_context()
        task = loop.create_task(answer(), context=entered)
        entered.run(run_turns, loop)
        assert "Exception in callback " in caplog.text
        assert "RuntimeError: cannot enter context" in caplog.text
        assert not task.done()
        assert asyncio.current_task(loop) is None
        task._log_destroy_pending = False
        task.get_coro().close()
        loop.close()

    @pytest.mark.parametrize("exception", [KeyboardInterrupt, SystemExit])
    def test_an_interrupt_leaves_the_rest_of_the_batch_queued(self, loop, exception):
        ran = []

        async def interrupt():
            raise exception

        async def other():
            ran.append(asyncio.current_task())

        interrupted, later = loop.create_task(interrupt()), loop.create_task(other())
        with pytest.raises(exception):
            loop.run_forever()
        assert ran == []
        assert asyncio.current_task(loop) is None
        assert isinstance(interrupted.exception(), exception)
        run_turns(loop)
        assert ran == [later]

    def test_another_base_exception_is_the_tasks(self, loop):
        class Ending(BaseException):
            pass

        async def end():
            raise Ending

        with pytest.raises(Ending):
            loop.run_until_complete(end())

    @pytest.mark.skipif(sys.version_info >= (3, 14), reason="asyncio's refuses first that no loop runs")
    def test_a_step_of_a_task_that_is_done_is_refused(self):
        def observe(loop, future_class, task_class):
            # In debug mode a task of ours is woken by a callback too.
            loop.set_debug(True)
            task = task_class(forever(), loop=loop, name="a task")
            run_turns(loop)
            waiting = task._fut_waiter
            ((wakeup, _),) = waiting._callbacks
            task.cancel()
            run_turns(loop)
            with pytest.raises(asyncio.InvalidStateError) as caught:
                wakeup(waiting)
            return without_addresses(str(caught.value))

        theirs, ours = on_each_loop(observe)
        assert ours == theirs


class TestCancelling:
    @pytest.mark.parametrize("awaits", ["a future", "a task", "a task that awaits a future", "nothing yet"])
    def test_the_message_arrives(self, awaits):
        def observe(loop, future_class, task_class):
            async def sleeper(depth):
                if depth:
                    await task_class(sleeper(depth - 1), loop=loop)
                await loop.create_future()

            depth = ["a future", "a task", "a task that awaits a future"].index(awaits) if awaits[0] == "a" else 0
            task = task_class(sleeper(depth), loop=loop)
            if awaits != "nothing yet":
                run_turns(loop, 4)
            assert task.cancel(msg="stop it")
            errors = []
            for ask in (lambda: loop.run_until_complete(task), task.result, task.exception):
                with pytest.raises(asyncio.CancelledError) as caught:
                    ask()
                errors.append((caught.value.args, type(caught.value.__context__)))
            assert not task.cancel()
            return errors

        theirs, ours = on_each_loop(observe)
        assert ours == theirs

    @needs_uncancel
    def test_requests_are_counted(self, loop):
        counts = []

        async def main():
            task = asyncio.current_task()
            for _ in range(2):
                task.cancel()
                counts.append(task.cancelling())
            with pytest.raises(asyncio.CancelledError):
                await asyncio.sleep(0)
            counts.extend([task.uncancel(), task.uncancel(), task.uncancel(), task.cancelling()])
            await asyncio.sleep(0)
            return "went on"

        assert loop.run_until_complete(main()) == "went on"
        assert counts == [1, 2, 1, 0, 0, 0]

    @needs_uncancel
    def test_a_request_that_is_taken_back_in_time(self):
        def observe(loop, future_class, task_class):
            async def main():
                task = asyncio.current_task()
                task.cancel()
                task.uncancel()
                try:
                    await asyncio.sleep(0)
                except asyncio.CancelledError:
                    return "cancelled"
                return "went on"

            return loop.run_until_complete(task_class(main(), loop=loop))

        theirs, ours = on_each_loop(observe)
        assert ours == theirs

    def test_a_task_may_refuse(self, loop):
        async def stubborn():
            for _ in range(2):
                with contextlib.suppress(asyncio.CancelledError):
                    await loop.create_future()
            return "done anyway"

        async def main():
            task = loop.create_task(stubborn())
            for _ in range(2):
                await asyncio.sleep(0)
                assert task.cancel()
            return await task

        assert loop.run_until_complete(main()) == "done anyway"

    def test_a_task_cancelled_in_its_last_step_is_cancelled(self, loop):
        async def main():
            asyncio.current_task().cancel("at the end")

        with pytest.raises(asyncio.CancelledError, match="at the end"):
            loop.run_until_complete(main())
