"""Contexts that are entered and left: which is the current one before a step, within it and afterwards.

boucle does by hand what the interpreter does, where it knows it (see `raw/context/entering.rs`). Elsewhere the
interpreter enters and leaves. Both are tested, and asyncio.
"""

import asyncio
import contextvars
import gc
import sys
import threading

import greenlet
import pytest

from conftest import needs_eager_tasks, run_turns
from conftest import run_in_new_context as run

VARIABLE = contextvars.ContextVar("variable", default="unset")


@pytest.fixture
def loop(loop_with_contexts):
    return loop_with_contexts


class TestSteps:
    """What runs, and what is the current context before, within and afterwards."""

    def test_a_value_that_was_read_is_that_of_the_current_context(self, loop):
        # A variable remembers what it was when it is read or set.
        seen = []

        def callback(value):
            seen.append(VARIABLE.get())
            VARIABLE.set(value)
            seen.append(VARIABLE.get())

        async def work(value):
            callback(value)
            await asyncio.sleep(0)
            seen.append(VARIABLE.get())

        def program():
            VARIABLE.set("outer")
            for value in ("one", "two"):
                assert VARIABLE.get() == "outer"
                loop.call_soon(callback, value)
                assert VARIABLE.get() == "outer"
                run_turns(loop)
                assert VARIABLE.get() == "outer"
                loop.run_until_complete(work(value))
                assert VARIABLE.get() == "outer"

        contextvars.Context().run(program)
        assert seen == ["outer", "one", "outer", "one", "one", "outer", "two", "outer", "two", "two"]

    def test_a_value_that_was_just_read_is_read_anew_in_a_step(self, loop):
        given = contextvars.Context()
        given.run(VARIABLE.set, "given")
        seen = []

        def callback():
            seen.append(VARIABLE.get())
            VARIABLE.set("given later")
            loop.stop()

        def program():
            VARIABLE.set("outer")
            loop.call_soon(callback, context=given)
            seen.append(VARIABLE.get())
            loop.run_forever()
            # Nothing else has entered a context since.
            seen.append(VARIABLE.get())

        contextvars.Context().run(program)
        assert seen == ["outer", "given", "outer"]

    def test_an_exception_leaves_the_context(self, loop, reports):
        given = contextvars.Context()

        def callback():
            VARIABLE.set("callback")
            raise ValueError

        async def work():
            VARIABLE.set("task")
            raise ValueError("task")

        def program():
            VARIABLE.set("outer")
            for _ in range(3):
                loop.call_soon(callback)
                loop.call_soon(callback, context=given)
                run_turns(loop)
                assert VARIABLE.get() == "outer"
                with pytest.raises(ValueError, match="task"):
                    loop.run_until_complete(work())
                assert VARIABLE.get() == "outer"

        contextvars.Context().run(program)
        assert len(reports) == 6
        assert given.run(VARIABLE.get) == "callback"

    def test_a_callback_enters_another_context(self, loop):
        seen = []

        def fail():
            VARIABLE.set("inner again")
            raise ValueError("inner")

        def callback():
            VARIABLE.set("callback")
            inner = contextvars.Context()
            inner.run(VARIABLE.set, "inner")
            seen.append(VARIABLE.get())
            seen.append(inner.run(VARIABLE.get))
            with pytest.raises(ValueError, match="inner"):
                inner.run(fail)
            seen.append(VARIABLE.get())
            seen.append(inner[VARIABLE])
            seen.append(contextvars.copy_context().run(VARIABLE.get))

        loop.call_soon(callback)
        run_turns(loop)
        assert seen == ["callback", "inner", "callback", "inner again", "callback"]

    def test_a_context_that_is_entered_is_refused(self, loop, reports, caplog):
        given = contextvars.Context()
        text = f"cannot enter context: {given!r} is already entered"
        seen = []

        def enter_again():
            VARIABLE.set("set")
            with pytest.raises(RuntimeError) as refused:
                given.run(seen.append, "entered")
            seen.append(str(refused.value))
            seen.append(VARIABLE.get())

        loop.call_soon(enter_again, context=given)
        run_turns(loop)
        assert seen == [text, "set"]

        def run_within():
            loop.call_soon(seen.append, "entered", context=given)
            loop.call_soon(loop.stop, context=contextvars.Context())
            loop.run_forever()
            return VARIABLE.get()

        assert given.run(run_within) == "set"
        assert seen == [text, "set"]
        # From 3.12 on the handler runs in the context of the handle too, and cannot either: the log says so.
        assert text in (str(reports[0]) if reports else caplog.text)

    def test_what_is_no_context_is_refused(self, loop, reports, caplog):
        seen = []
        given = bytes(64)
        loop.call_soon(seen.append, "entered", context=given)
        run_turns(loop)
        assert not seen
        assert len(reports or caplog.records) == 1
        assert given == bytes(64)

    def test_a_context_that_was_given_is_held_as_before(self, loop, reports):
        given, outer = contextvars.Context(), contextvars.Context()

        async def work():
            VARIABLE.set("set")
            await asyncio.sleep(0)

        def program():
            for _ in range(100):
                loop.call_soon(VARIABLE.set, "set", context=given)
                loop.call_soon(gc.collect, 0, context=given)
                loop.call_soon(int, "none", context=given)
                given.run(loop.create_task, work())
                run_turns(loop, 4)

        def held():
            gc.collect()
            return sys.getrefcount(given), sys.getrefcount(outer)

        before = held()
        outer.run(program)
        assert len(reports) == 100
        reports.clear()
        assert held() == before
        assert not outer

    def test_a_thread_that_has_no_context_yet(self, loop):
        seen = []
        for value in ("one", "two"):
            loop.call_soon(lambda value=value: seen.append((VARIABLE.get(), VARIABLE.set(value).old_value)))
        loop.call_soon(loop.stop)

        def serve():
            loop.run_forever()
            seen.append(VARIABLE.get())
            VARIABLE.set("thread")
            seen.append(VARIABLE.get())

        thread = threading.Thread(target=serve)
        thread.start()
        thread.join()
        unset = ("unset", contextvars.Token.MISSING)
        assert seen == [unset, unset, "unset", "thread"]

    @needs_eager_tasks
    def test_a_step_that_begins_a_task_at_once(self, loop):
        seen = []

        async def inner():
            seen.append(VARIABLE.get())
            VARIABLE.set("inner")
            await asyncio.sleep(0)
            seen.append(VARIABLE.get())

        async def program():
            loop.set_task_factory(asyncio.eager_task_factory)
            VARIABLE.set("outer")
            task = loop.create_task(inner())
            seen.append(VARIABLE.get())
            await task
            return VARIABLE.get()

        assert run(loop, program) == "outer"
        assert seen == ["outer", "outer", "inner"]


class TestGreenlets:
    """Code of SQLAlchemy's kind, which leaves a step in the middle and changes the context that it is in."""

    def test_one_that_awaits_shares_the_context_of_its_task(self, loop):
        async def work(number):
            task = greenlet.getcurrent()

            def synchronous():
                VARIABLE.set(number)
                seen = []
                for _ in range(3):
                    task.switch(asyncio.sleep(0))
                    seen.append(VARIABLE.get())
                return seen

            inner = greenlet.greenlet(synchronous)
            inner.gr_context = task.gr_context
            result = inner.switch()
            while not inner.dead:
                await result
                result = inner.switch()
            return result, VARIABLE.get()

        async def program():
            return await asyncio.gather(*(work(number) for number in range(4)))

        assert run(loop, program) == [([number] * 3, number) for number in range(4)]

    def test_a_context_that_cannot_be_left_troubles_nobody_else(self, loop, reports, caplog):
        seen = []

        def leave_in_another_context():
            this = greenlet.getcurrent()
            VARIABLE.set("lost")

            def exchange():
                this.gr_context = contextvars.Context()
                this.switch()

            greenlet.greenlet(exchange).switch()

        def serve():
            for _ in range(3):
                loop.call_soon(leave_in_another_context)
                loop.call_soon(lambda: seen.append(VARIABLE.get()))
            run_turns(loop)

        contextvars.Context().run(greenlet.greenlet(serve).switch)
        loop.call_soon(lambda: seen.append(VARIABLE.get()))
        run_turns(loop)
        assert seen == ["unset"] * 4
        # Nor can the handler be called in it, from 3.12 on: the log says so.
        told = [str(report) for report in reports] or caplog.messages
        text = "cannot exit context: thread state references a different context object"
        assert [text in message for message in told] == [True] * 3

    def test_a_step_is_left_for_another_greenlet_and_returned_to(self, loop):
        seen = []

        def other():
            while True:
                seen.append(VARIABLE.get())
                contextvars.Context().run(VARIABLE.set, "inner")
                VARIABLE.set("other")
                callbacks.switch()

        def callback(value):
            VARIABLE.set(value)
            elsewhere.switch()
            seen.append(VARIABLE.get())
            contextvars.Context().run(elsewhere.switch)
            seen.append(VARIABLE.get())

        def program():
            VARIABLE.set("outer")
            for value in ("one", "two"):
                loop.call_soon(callback, value)
            run_turns(loop)
            return VARIABLE.get()

        elsewhere = greenlet.greenlet(other)
        callbacks = greenlet.getcurrent()
        assert contextvars.Context().run(program) == "outer"
        assert seen == ["unset", "one", "other", "one", "other", "two", "other", "two"]
