"""Contexts: what is set in one stays in it, and each is one object to whoever sees it.

boucle keeps the variables of a context without an object until somebody sees it (see `raw/context.rs`), and
enters it by hand, where it knows the interpreter. Elsewhere it keeps objects, as asyncio does. All three are tested.
"""

import asyncio
import contextvars
import gc
import socket
import sys
import threading
import weakref

import greenlet
import pytest

from boucle import _boucle
from conftest import FACTORIES, needs_eager_tasks, run_turns

VARIABLE = contextvars.ContextVar("variable", default="unset")

sees_contexts = pytest.mark.skipif(sys.version_info < (3, 12), reason="asyncio has get_context from 3.12 on")


@pytest.fixture(params=["asyncio", "boucle", "boucle without knowledge of the interpreter"])
def loop(request):
    is_boucle = request.param == "boucle"
    known, by_hand = _boucle._use_knowledge_of_contexts(is_boucle)
    assert known == is_boucle, "this interpreter keeps contexts otherwise than is known"
    assert by_hand == (is_boucle and sys.version_info < (3, 14)), "it enters them otherwise than is known"
    loop = FACTORIES[request.param.split()[0]]()
    reports = []
    loop.set_exception_handler(lambda loop, context: reports.append(context))
    yield loop
    loop.close()
    _boucle._use_knowledge_of_contexts(True)
    assert not reports


@pytest.fixture
def reports(loop):
    """The exceptions that the loop reports, which are expected."""
    former = loop._exception_handler
    reports = []
    loop.set_exception_handler(lambda loop, context: reports.append(context["exception"]))
    yield reports
    loop.set_exception_handler(former)


def run(loop, function, *args):
    """Runs a coroutine function in a context of its own, as a program's first task."""
    return contextvars.Context().run(loop.run_until_complete, function(*args))


class Value:
    """Something that can be watched dying."""


class TestCallbacks:
    def test_each_has_a_copy_of_its_own(self, loop):
        seen = []

        def callback(name):
            seen.append((name, VARIABLE.get()))
            VARIABLE.set(name)

        async def program():
            for value in ("one", "two"):
                VARIABLE.set(value)
                loop.call_soon(callback, "first")
                loop.call_soon(callback, "second")
                loop.call_later(0, callback, "timer")
                loop.create_future().add_done_callback(callback)
            await asyncio.sleep(0.01)
            return VARIABLE.get()

        assert run(loop, program) == "two"
        assert seen[:4] == [("first", "one"), ("second", "one"), ("first", "two"), ("second", "two")]
        assert seen[4:] == [("timer", "one"), ("timer", "two")]

    def test_a_variable_is_never_taken_from_the_callback_before(self, loop):
        # A variable remembers its value until a context is entered or left.
        seen = []

        async def program():
            for number in range(200):
                VARIABLE.set(number)
                loop.call_soon(lambda number=number: seen.append(VARIABLE.get() - number))
            await asyncio.sleep(0)

        run(loop, program)
        assert seen == [0] * 200

    def test_what_it_sets_dies_with_it(self, loop):
        alive = []

        def callback():
            value = Value()
            alive.append(weakref.ref(value))
            VARIABLE.set(value)

        async def program():
            loop.call_soon(callback)
            loop.call_later(0, callback)
            await asyncio.sleep(0.01)
            return [reference() for reference in alive]

        assert run(loop, program) == [None, None]

    def test_what_was_set_lives_as_long_as_it_waits(self, loop):
        async def program():
            value = Value()
            alive = weakref.ref(value)
            VARIABLE.set(value)
            loop.call_later(0.001, len, ())
            VARIABLE.set("other")
            del value
            gc.collect()
            lived = alive() is not None
            await asyncio.sleep(0.01)
            return lived, alive()

        assert run(loop, program) == (True, None)

    def test_a_token_belongs_to_its_context(self, loop):
        tokens = []

        def reset():
            with pytest.raises(ValueError, match="different Context"):
                VARIABLE.reset(tokens[0])

        async def program():
            loop.call_soon(lambda: tokens.append(VARIABLE.set("set")))
            for _ in range(3):
                await asyncio.sleep(0)
                loop.call_soon(reset)
            await asyncio.sleep(0)
            return VARIABLE.get()

        assert run(loop, program) == "unset"
        assert tokens[0].old_value is contextvars.Token.MISSING

    def test_a_handle_has_one_context(self, loop):
        seen = []

        async def program():
            VARIABLE.set("here")
            handle = loop.call_soon(lambda: seen.append(handle._context))
            context = handle._context
            assert handle._context is context
            assert context[VARIABLE] == "here"
            context.run(VARIABLE.set, "given later")
            second = loop.call_soon(lambda: seen.append((second._context, VARIABLE.get())))
            third = loop.call_soon(lambda: seen.append(VARIABLE.get()), context=context)
            await asyncio.sleep(0)
            assert seen[0] is context
            assert seen[1][0][VARIABLE] == seen[1][1] == "here"
            assert seen[2] == "given later"
            assert third

        run(loop, program)

    def test_a_context_that_was_seen_while_it_ran_is_not_used_again(self, loop):
        seen = []

        def callback(name):
            VARIABLE.set(name)
            seen.append(handles[name]._context)

        handles = {}

        async def program():
            for name in ("one", "two", "three"):
                handles[name] = loop.call_soon(callback, name)
            await asyncio.sleep(0)

        run(loop, program)
        assert [context[VARIABLE] for context in seen] == ["one", "two", "three"]

    def test_a_weak_reference_tells_how_long_it_lives(self, loop):
        handles, seen = [], []

        async def program():
            handles.append(loop.call_soon(lambda: seen.append(weakref.ref(handles[0]._context))))
            context = weakref.ref(loop.call_later(0.001, len, ())._context)
            await asyncio.sleep(0)
            lived = context() is not None
            await asyncio.sleep(0.01)
            handles.clear()
            gc.collect()
            return lived, context(), seen[0]()

        assert run(loop, program) == (True, None, None)

    def test_the_callbacks_of_a_future_show_their_contexts(self, loop):
        seen = []

        async def program():
            future = loop.create_future()
            for value in range(4):
                VARIABLE.set(value)
                future.add_done_callback(lambda future: seen.append(VARIABLE.get()))
            contexts = [context for _, context in future._callbacks]
            assert contexts == [context for _, context in future._callbacks]
            assert all(one is other for one, (_, other) in zip(contexts, future._callbacks, strict=True))
            for context in contexts:
                context.run(VARIABLE.set, context[VARIABLE] + 10)
            future.set_result(None)
            await asyncio.sleep(0)

        run(loop, program)
        assert seen == [10, 11, 12, 13]

    def test_a_reader_keeps_what_it_sets(self, loop):
        here, there = socket.socketpair()
        seen = []

        def read():
            here.recv(1)
            seen.append(VARIABLE.get())
            VARIABLE.set(len(seen))

        async def program():
            loop.add_reader(here, read)
            for _ in range(3):
                there.send(b"x")
                await asyncio.sleep(0.01)
            loop.remove_reader(here)

        with here, there:
            run(loop, program)
        assert seen == ["unset", 1, 2]

    def test_one_that_runs_itself_is_refused(self, loop, reports, caplog):
        seen = []

        def callback():
            seen.append(VARIABLE.set("set"))
            handle._run()
            seen.append(VARIABLE.get())

        handle = loop.call_soon(callback)
        run_turns(loop)
        assert seen[1] == "set"
        # From 3.12 on the handler runs in the context of the handle too, and cannot either: the log says so.
        assert "already entered" in (str(reports[0]) if reports else caplog.text)


class TestTasks:
    def test_what_a_step_sets_is_there_in_the_next(self, loop):
        async def count(name):
            seen = [VARIABLE.get()]
            for number in range(5):
                VARIABLE.set((name, number))
                await asyncio.sleep(0 if number % 2 else 0.001)
                seen.append(VARIABLE.get())
            return seen

        async def program():
            VARIABLE.set("outer")
            results = await asyncio.gather(*(count(name) for name in range(20)))
            return results, VARIABLE.get()

        results, outer = run(loop, program)
        assert outer == "outer"
        assert results == [["outer", *((name, number) for number in range(5))] for name in range(20)]

    def test_a_token_is_good_across_steps(self, loop):
        async def work():
            token = VARIABLE.set("inside")
            await asyncio.sleep(0)
            other = VARIABLE.set("further inside")
            await asyncio.sleep(0.001)
            VARIABLE.reset(other)
            inside = VARIABLE.get()
            await asyncio.sleep(0)
            VARIABLE.reset(token)
            return inside, VARIABLE.get()

        async def program():
            return await asyncio.gather(*(work() for _ in range(5)))

        assert run(loop, program) == [("inside", "unset")] * 5

    @sees_contexts
    def test_a_task_has_one_context(self, loop):
        async def work():
            task = asyncio.current_task()
            contexts = [task.get_context()]
            for number in range(3):
                VARIABLE.set(number)
                await asyncio.sleep(0)
                contexts.append(task.get_context())
            return contexts

        async def program():
            before = asyncio.create_task(work())
            context = before.get_context()
            within = asyncio.create_task(work())
            after = asyncio.create_task(work())
            await asyncio.wait([before, within, after])
            assert all(seen is context for seen in before.result())
            assert before.get_context() is context
            assert len(set(map(id, within.result()))) == 1
            assert within.get_context() is within.result()[0]
            contexts = [task.get_context() for task in (before, within, after)]
            assert len(set(map(id, contexts))) == 3
            return [context[VARIABLE] for context in contexts]

        assert run(loop, program) == [2, 2, 2]

    @sees_contexts
    def test_what_runs_in_the_context_of_a_task_shares_it(self, loop):
        async def work(seen):
            context = asyncio.current_task().get_context()
            VARIABLE.set("task")
            loop.call_soon(lambda: seen.append((VARIABLE.get(), VARIABLE.set("callback"))), context=context)
            await asyncio.sleep(0.001)
            seen.append(VARIABLE.get())

        async def program():
            seen = []
            await asyncio.create_task(work(seen))
            return seen[0][0], seen[1]

        assert run(loop, program) == ("task", "callback")

    def test_what_a_task_sets_lives_as_long_as_the_task(self, loop):
        async def work(alive, steps):
            value = Value()
            alive.append(weakref.ref(value))
            VARIABLE.set(value)
            del value
            for _ in range(steps):
                await asyncio.sleep(0)

        async def program(steps):
            alive = []
            task = asyncio.create_task(work(alive, steps))
            await task
            lived = alive[0]() is not None
            del task
            await asyncio.sleep(0)
            gc.collect()
            return lived, alive[0]()

        for steps in range(4):
            assert run(loop, program, steps) == (True, None)

    def test_another_loop_within_a_callback(self, loop):
        other = type(loop)()
        seen = []

        async def inner():
            VARIABLE.set("inner")
            await asyncio.sleep(0)
            return VARIABLE.get()

        def callback():
            VARIABLE.set("outer")
            asyncio._set_running_loop(None)
            try:
                seen.append(other.run_until_complete(inner()))
            finally:
                asyncio._set_running_loop(loop)
            seen.append(VARIABLE.get())

        loop.call_soon(callback)
        run_turns(loop)
        other.close()
        assert seen == ["inner", "outer"]


class TestEntering:
    """What runs in a context, and what is the current one before, within and afterwards."""

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

    def test_an_exception_leaves_the_context(self, loop, reports):
        given = contextvars.Context()

        def callback():
            VARIABLE.set("callback")
            raise ValueError

        async def work():
            VARIABLE.set("task")
            raise ValueError

        def program():
            VARIABLE.set("outer")
            for _ in range(3):
                loop.call_soon(callback)
                loop.call_soon(callback, context=given)
                run_turns(loop)
                assert VARIABLE.get() == "outer"
                with pytest.raises(ValueError):
                    loop.run_until_complete(work())
                assert VARIABLE.get() == "outer"

        contextvars.Context().run(program)
        assert len(reports) == 6
        assert given.run(VARIABLE.get) == "callback"

    def test_a_callback_enters_another_context(self, loop):
        seen = []

        def fail():
            VARIABLE.set("inner again")
            raise ValueError

        def callback():
            VARIABLE.set("callback")
            inner = contextvars.Context()
            inner.run(VARIABLE.set, "inner")
            seen.append(VARIABLE.get())
            seen.append(inner.run(VARIABLE.get))
            with pytest.raises(ValueError):
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


def test_a_context_that_the_collector_shows_is_used_by_who_found_it(loop):
    async def program():
        VARIABLE.set("here")
        loop.call_soon(VARIABLE.set, "there")
        await asyncio.sleep(0)
        return VARIABLE.get()

    run(loop, program)
    for context in [found for found in gc.get_objects() if type(found) is contextvars.Context and not found]:
        other = type(loop)()
        assert context.run(run, other, program) == "here"
        other.close()
        assert VARIABLE not in context


def test_loops_in_threads_do_not_share_variables(loop):
    results = {}

    async def count(name):
        for number in range(300):
            VARIABLE.set((name, number))
            await asyncio.sleep(0)
            assert VARIABLE.get() == (name, number)
        return VARIABLE.get()

    def serve(name):
        own = type(loop)()
        try:
            results[name] = run(own, count, name)
        finally:
            own.close()

    threads = [threading.Thread(target=serve, args=(name,)) for name in range(4)]
    interval = sys.getswitchinterval()
    sys.setswitchinterval(1e-5)
    try:
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
    finally:
        sys.setswitchinterval(interval)
    assert results == {name: (name, 299) for name in range(4)}
