"""Contexts: what is set in one stays in it, and each is one object to whoever sees it.

boucle keeps the variables of a context without an object until somebody sees it (see `raw/context.rs`), where
it knows the interpreter. Elsewhere it keeps objects, as asyncio does. All three are tested.
"""

import asyncio
import contextvars
import gc
import socket
import sys
import threading
import weakref

import pytest

from conftest import run_in_new_context as run
from conftest import run_turns

VARIABLE = contextvars.ContextVar("variable", default="unset")

sees_contexts = pytest.mark.skipif(sys.version_info < (3, 12), reason="asyncio has get_context from 3.12 on")


@pytest.fixture
def loop(loop_with_contexts):
    return loop_with_contexts


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
