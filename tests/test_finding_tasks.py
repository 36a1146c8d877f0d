"""Who finds a task: all_tasks(), from wherever it is asked."""

import asyncio
import contextlib
import gc
import sys
import threading
import types

import pytest

import boucle
from boucle._tasks import _asyncios_set
from conftest import in_a_thread, needs_eager_tasks, run_python


async def forever():
    await asyncio.get_running_loop().create_future()


async def end(*tasks):
    """Cancel tasks and wait for their end."""
    for task in tasks:
        task.cancel()
    await asyncio.wait(tasks)


class TestAllTasks:
    def test_names_imported_before_boucle_find_ours(self):
        program = """
from asyncio import all_tasks, current_task
import asyncio
import boucle
async def main():
    child = asyncio.ensure_future(asyncio.sleep(0))
    assert type(child) is type(current_task()) is boucle.Task
    assert all_tasks() == {current_task(), child}
    await child
    assert all_tasks() == {current_task()}
boucle.run(main())
"""
        result = run_python("-W", "error", "-c", program)
        assert (result.returncode, result.stderr) == (0, "")

    def test_reloading_boucle_finds_each_task_once(self):
        program = """
import asyncio, importlib, boucle, boucle._tasks
tasks = boucle._tasks._asyncios_set()
for _ in range(2):
    importlib.reload(boucle._tasks)
    importlib.reload(boucle)
assert tasks is boucle._tasks._asyncios_set()
assert type(tasks).__mro__[1].__name__ == "WeakSet"
async def main():
    assert list(tasks) == [asyncio.current_task()]
    assert len(tasks) == len(asyncio.all_tasks()) == 1
boucle.run(main())
"""
        result = run_python("-W", "error", "-c", program)
        assert (result.returncode, result.stderr) == (0, "")

    def test_tasks_of_every_make_are_found_together(self, loop):
        async def main():
            # From 3.14 on all_tasks() knows native tasks only.
            of_python = [asyncio.tasks._PyTask] if sys.version_info < (3, 14) else []
            makes = (asyncio.Task, boucle.Task, *of_python)
            tasks = {make(forever(), loop=loop) for make in makes} | {loop.create_task(forever())}
            assert len(tasks) == len(makes) + 1
            assert asyncio.all_tasks() == {asyncio.current_task(), *tasks}
            await asyncio.sleep(0)
            assert asyncio.all_tasks() == {asyncio.current_task(), *tasks}
            await end(*tasks)
            assert asyncio.all_tasks() == {asyncio.current_task()}

        loop.run_until_complete(main())
        assert asyncio.all_tasks(loop) == set()

    def test_only_tasks_of_the_loop_are_found(self, loop):
        async def main():
            return asyncio.all_tasks()

        other = boucle.new_event_loop()
        task = other.create_task(asyncio.sleep(0))
        mine = loop.create_task(main())
        assert loop.run_until_complete(mine) == {mine}
        assert asyncio.all_tasks(other) == {task}
        other.run_until_complete(task)
        other.close()

    def test_asyncios_set_answers_for_ours(self, own_loop):
        tasks = _asyncios_set()
        # What other tests have left would go meanwhile.
        gc.collect()
        before = len(tasks)
        task = own_loop.create_task(asyncio.sleep(0))
        assert task in tasks
        assert task in list(tasks)
        assert len(tasks) == before + 1
        assert "nothing of the kind" not in tasks
        own_loop.run_until_complete(task)
        assert task not in tasks
        assert len(tasks) == before

    def test_a_task_is_found_from_the_call_that_makes_it_until_it_is_done(self, loop):
        found = []

        async def main():
            found.append(asyncio.all_tasks())

        task = loop.create_task(main())
        assert asyncio.all_tasks(loop) == {task}
        task.add_done_callback(lambda task: found.append(asyncio.all_tasks()))
        loop.run_until_complete(task)
        assert found == [{task}, set()]

    def test_another_thread_asks(self, loop):
        async def main():
            return in_a_thread(asyncio.all_tasks, loop), in_a_thread(asyncio.current_task, loop)

        task = loop.create_task(main())
        assert loop.run_until_complete(task) == ({task}, task)

    def test_another_thread_asks_again_and_again(self, own_loop):
        # asyncio gives up where its set of weak references changes too often meanwhile.
        failures = []
        done = threading.Event()

        def ask():
            while not done.is_set():
                try:
                    asyncio.all_tasks(own_loop)
                except Exception as error:
                    failures.append(error)

        async def main():
            for _ in range(100):
                await asyncio.gather(*(asyncio.sleep(0) for _ in range(20)))

        thread = threading.Thread(target=ask)
        thread.start()
        own_loop.run_until_complete(main())
        done.set()
        thread.join()
        assert failures == []

    def test_a_finalizer_asks(self, loop):
        found = []

        class Thing:
            def __del__(self):
                found.append((asyncio.all_tasks(loop), asyncio.current_task(loop)))

        async def main():
            thing = Thing()
            await asyncio.sleep(0)
            return id(thing)

        task = loop.create_task(main())
        loop.run_until_complete(task)
        # The coroutine's variables go at the end of its last step.
        assert found == [({task}, task)]

    def test_the_exception_handler_asks_about_a_destroyed_task(self, factory):
        loop = factory()
        found = []
        loop.set_exception_handler(lambda loop, context: found.append({task.get_name() for task in context_tasks()}))

        def context_tasks():
            gc.collect()
            return asyncio.all_tasks(loop)

        async def main():
            lost = loop.create_task(forever(), name="lost")
            await asyncio.sleep(0)
            lost._fut_waiter.itself = lost._fut_waiter
            del lost
            gc.collect()
            return asyncio.all_tasks()

        task = loop.create_task(main(), name="main")
        assert loop.run_until_complete(task) == {task}
        loop.close()
        # Whether the one that is about to go is still found differs.
        assert len(found) == 1
        assert found[0] - {"lost"} == {"main"}

    @needs_eager_tasks
    def test_an_eager_task_is_found_while_it_starts(self, loop):
        async def child():
            return asyncio.all_tasks(), asyncio.current_task()

        async def main():
            loop.set_task_factory(lambda loop, coro, **options: boucle.Task(coro, loop=loop, eager_start=True))
            task = loop.create_task(child())
            assert task.done()
            assert asyncio.all_tasks() == {asyncio.current_task()}
            found, current = task.result()
            assert current is task
            return found == {asyncio.current_task(), task}

        assert loop.run_until_complete(main())


@pytest.mark.parametrize("native", [True, False])
def test_a_python_that_keeps_its_tasks_elsewhere(monkeypatch, native):
    """What the error says helps: with asyncio's own tasks there is nothing to find."""
    from boucle import _tasks

    monkeypatch.setattr(_tasks, "_asyncios_set", lambda: None)
    monkeypatch.setattr(_tasks, "_boucle", types.SimpleNamespace(native_tasks=native))
    with pytest.raises(ImportError, match="set BOUCLE_TASKS=c") if native else contextlib.nullcontext():
        _tasks.make_visible()
