"""Who is the current task, from wherever it is asked."""

import asyncio
import gc
import sys
import threading
import time
import weakref

import pytest

import boucle
from conftest import in_a_thread, needs_eager_tasks


class TestCurrentTask:
    def test_a_task_finds_itself_in_each_step(self, loop):
        async def main():
            found = []
            for _ in range(3):
                found.append(asyncio.current_task())
                await asyncio.sleep(0)
            return found

        tasks = [loop.create_task(main()) for _ in range(3)]
        assert loop.run_until_complete(asyncio.gather(*tasks)) == [[task] * 3 for task in tasks]
        assert asyncio.current_task(loop) is None

    def test_callbacks_find_nobody(self, loop):
        found = []

        def ask(*args):
            found.append(asyncio.current_task())

        async def main():
            loop.call_soon(ask)
            loop.call_later(0, ask)
            asyncio.current_task().add_done_callback(ask)
            await asyncio.sleep(0.001)
            loop.call_soon(ask)
            await asyncio.sleep(0)

        loop.run_until_complete(main())
        assert found == [None] * 4

    def test_a_task_may_be_entered_by_a_callback_between_the_steps_of_others(self, loop):
        entered = []

        def enter(task):
            asyncio.tasks._enter_task(loop, task)
            entered.append(asyncio.current_task())
            asyncio.tasks._leave_task(loop, task)

        async def main():
            task = asyncio.current_task()
            for make in (asyncio.Task, asyncio.tasks._PyTask, boucle.Task):
                other = make(asyncio.sleep(0), loop=loop)
                loop.call_soon(enter, task)
                await other
            assert entered == [task] * 3

        loop.run_until_complete(main())

    def test_other_threads_and_other_loops_have_none(self, loop, own_loop):
        async def main():
            with pytest.raises(RuntimeError, match="no running event loop"):
                in_a_thread_or_raise(asyncio.current_task)
            return asyncio.current_task(own_loop)

        def in_a_thread_or_raise(function):
            def run():
                try:
                    return function()
                except RuntimeError as error:
                    return error

            raise in_a_thread(run)

        assert loop.run_until_complete(main()) is None

    def test_a_loop_that_sleeps_has_none(self, loop):
        async def main():
            waiting = loop.create_future()
            found = []

            def ask():
                for _ in range(10_000):
                    found.append(asyncio.current_task(loop))
                    if found[-1] is None:
                        break
                    time.sleep(0.001)
                loop.call_soon_threadsafe(waiting.set_result, None)

            thread = threading.Thread(target=ask)
            thread.start()
            await waiting
            thread.join()
            assert found[-1] is None

        loop.run_until_complete(main())

    @needs_eager_tasks
    def test_an_eager_start_inside_of_another(self, loop, classes):
        _, kind = classes

        def eagerly(coro):
            return kind(coro, loop=loop, eager_start=True)

        async def grandchild():
            return asyncio.current_task()

        async def child():
            before = asyncio.current_task()
            inner = eagerly(grandchild())
            assert inner.result() is inner
            assert asyncio.current_task() is before
            await asyncio.sleep(0)
            assert asyncio.current_task() is before
            return before

        async def main():
            before = asyncio.current_task()
            task = eagerly(child())
            assert asyncio.current_task() is before
            assert await task is task

        loop.run_until_complete(main())

    @needs_eager_tasks
    def test_an_eager_start_from_a_callback(self, loop, classes):
        _, kind = classes
        found = []

        async def child():
            found.append(asyncio.current_task())

        def callback():
            found.append(kind(child(), loop=loop, eager_start=True))
            found.append(asyncio.current_task())
            loop.stop()

        loop.call_soon(callback)
        loop.run_forever()
        assert found[0] is found[1]
        assert found[2] is None

    def test_a_task_that_is_done_does_not_live_on_as_the_current_one(self, loop):
        alive = []

        async def child():
            alive.append(weakref.ref(asyncio.current_task()))

        async def main():
            loop.create_task(child())
            await asyncio.sleep(0)
            await asyncio.sleep(0)
            return alive[0]()

        gc.disable()
        try:
            assert loop.run_until_complete(main()) is None
        finally:
            gc.enable()

    def test_the_hash_of_a_loop_is_that_of_any_object(self, own_loop):
        async def main():
            return hash(own_loop)

        task = own_loop.create_task(main())
        assert own_loop.run_until_complete(task) == hash(own_loop) == object.__hash__(own_loop)
        assert {own_loop: "found"}[own_loop] == "found"
        assert own_loop == own_loop
        assert own_loop != boucle

    def test_one_task_asks_and_others_between_its_steps_do_not(self, loop):
        found = []

        async def asks():
            for _ in range(3):
                found.append(asyncio.current_task())
                await asyncio.sleep(0)

        async def is_silent():
            for _ in range(3):
                await asyncio.sleep(0)
            return asyncio.current_task()

        async def main():
            task = asyncio.create_task(asks())
            silent = [asyncio.create_task(is_silent()) for _ in range(3)]
            await task
            assert found == [task] * 3
            assert await asyncio.gather(*silent) == silent

        loop.run_until_complete(main())

    @needs_eager_tasks
    @pytest.mark.parametrize("outer_asks", [False, True])
    @pytest.mark.parametrize("inner_asks", [False, True])
    def test_an_eager_start_where_one_of_two_asks(self, loop, outer_asks, inner_asks):
        async def inner():
            return asyncio.current_task().get_name() if inner_asks else None

        async def main():
            if outer_asks:
                asyncio.current_task()
            task = boucle.Task(inner(), loop=loop, eager_start=True)
            assert task.done()
            assert task.result() == (task.get_name() if inner_asks else None)
            task = weakref.ref(task)
            assert asyncio.current_task() is me
            return task

        me = loop.create_task(main())
        # Nobody keeps the inner one.
        assert loop.run_until_complete(me)() is None

    @needs_eager_tasks
    def test_an_eager_start_that_fails(self, loop):
        async def inner():
            raise SystemExit("of the inner one")

        # That nobody has retrieved it is reported.
        loop.set_exception_handler(lambda loop, context: None)

        async def main():
            with pytest.raises(SystemExit, match="of the inner one"):
                boucle.Task(inner(), loop=loop, eager_start=True)
            return asyncio.current_task()

        me = loop.create_task(main())
        assert loop.run_until_complete(me) is me


@pytest.mark.skipif(sys.version_info >= (3, 14), reason="asyncio has no such dictionary any more")
class TestTheDictionaryOfCurrentTasks:
    """What asyncio keeps up to 3.13, and whoever looks a loop up in it finds."""

    def test_every_way_to_look_up(self, loop):
        current = asyncio.tasks._current_tasks
        ways = [current.get, current.__getitem__, current.setdefault, lambda loop: dict.get(current, loop)]

        async def main(way):
            if way is None:
                return loop in current
            return way(loop)

        for way in ways:
            task = loop.create_task(main(way))
            assert loop.run_until_complete(task) is task
        assert loop.run_until_complete(main(None))
        assert loop not in current

    def test_a_task_steps_aside(self, loop):
        current = asyncio.tasks._current_tasks

        async def main():
            assert loop in current
            assert current.pop(loop) is me
            assert asyncio.current_task() is None
            current[loop] = me
            assert asyncio.current_task() is me
            asyncio.tasks._leave_task(loop, me)
            assert asyncio.current_task() is None
            with pytest.raises(RuntimeError, match="does not match"):
                asyncio.tasks._leave_task(loop, me)
            asyncio.tasks._enter_task(loop, me)
            with pytest.raises(RuntimeError, match="Cannot enter"):
                asyncio.tasks._enter_task(loop, other)
            return asyncio.current_task()

        other = loop.create_task(asyncio.sleep(0))
        me = loop.create_task(main())
        assert loop.run_until_complete(me) is me

    def test_a_loop_with_a_hash_of_its_own(self):
        class Loop(boucle.Loop):
            def __hash__(self):
                return 1

        found = []

        async def main():
            found.append(asyncio.current_task())
            await asyncio.sleep(0)
            found.append(list(asyncio.tasks._current_tasks.values()))

        loop = Loop()
        try:
            task = loop.create_task(main())
            loop.run_until_complete(task)
            assert found == [task, [task]]
        finally:
            loop.close()

    def test_a_class_that_gets_a_hash_while_its_loop_runs(self):
        class Loop(boucle.Loop):
            pass

        async def main():
            found = [asyncio.current_task()]
            Loop.__hash__ = lambda self: super(Loop, self).__hash__()
            found.append(asyncio.current_task())
            await asyncio.sleep(0)
            found.append(asyncio.current_task())
            del Loop.__hash__
            await asyncio.sleep(0)
            found.append(asyncio.current_task())
            return found

        loop = Loop()
        try:
            task = loop.create_task(main())
            assert loop.run_until_complete(task) == [task] * 4
        finally:
            loop.close()
