"""Which calls tasks make: each call_soon that a program has replaced sees its steps, and otherwise there are none."""

import asyncio
import contextvars
import functools
import sys

import pytest

from conftest import on_each_loop


async def answer():
    return 42


class TestReplacedCallSoon:
    """A program that replaces call_soon sees each step of each task."""

    @staticmethod
    async def program():
        async def child(number):
            for _ in range(number):
                await asyncio.sleep(0)
            return number

        loop = asyncio.get_running_loop()
        future = loop.create_future()
        loop.call_soon(future.set_result, "result")
        return await asyncio.gather(*(loop.create_task(child(number)) for number in range(3)), future)

    @pytest.mark.parametrize("where", ["instance", "subclass", "class"])
    def test_from_the_start(self, where, monkeypatch):
        def observe(loop, *_):
            seen = []
            real = type(loop).call_soon

            def spy(self, callback, *args, **options):
                seen.append(getattr(callback, "__name__", type(callback).__name__))
                return real(self, callback, *args, **options)

            if where == "instance":
                loop.call_soon = functools.partial(spy, loop)
            elif where == "class":
                monkeypatch.setattr(type(loop), "call_soon", spy)
            else:
                loop = type("Derived", (type(loop),), {"call_soon": spy})()
            loop.run_until_complete(self.program())
            monkeypatch.undo()
            loop.close()
            return seen

        theirs, ours = on_each_loop(observe)
        steps = [name for name in theirs if "step" in name.lower()]
        assert len(steps) > 5
        # Newer versions of asyncio's C call a step by a wrapper.
        assert [name.replace("TaskStepMethWrapper", "task_step") for name in theirs] == ours

    @pytest.mark.parametrize("where", ["instance", "class"])
    def test_while_the_loop_runs(self, where, monkeypatch):
        def observe(loop, *_):
            seen = []
            real = type(loop).call_soon

            def spy(self, callback, *args, **options):
                seen.append(args)
                return real(self, callback, *args, **options)

            async def main():
                await asyncio.sleep(0)
                counts = []
                for _ in range(2):
                    if where == "class":
                        monkeypatch.setattr(type(loop), "call_soon", spy)
                    else:
                        loop.call_soon = functools.partial(spy, loop)
                    await asyncio.sleep(0)
                    await loop.create_task(answer())
                    counts.append(len(seen))
                    if where == "class":
                        monkeypatch.undo()
                    else:
                        del loop.call_soon
                    await asyncio.sleep(0)
                    counts.append(len(seen))
                return counts

            return loop.run_until_complete(main())

        theirs, ours = on_each_loop(observe)
        assert ours == theirs
        assert theirs[0] > 2

    def test_debug_mode_switched_on_and_off_by_a_task(self, loop):
        async def main():
            tasks = [loop.create_task(self.program())]
            for debug in (True, False, True):
                await asyncio.sleep(0)
                loop.set_debug(debug)
                tasks.append(loop.create_task(self.program()))
                assert (tasks[-1]._source_traceback is not None) is debug
            return await asyncio.gather(*tasks)

        assert loop.run_until_complete(main()) == [[0, 1, 2, "result"]] * 4


class TestCalls:
    """Making and running tasks makes no Python-level call that the program does not make."""

    def test_create_task_makes_none(self, own_loop):
        events = []
        coros = [answer() for _ in range(3)]
        context = contextvars.copy_context()
        options = {"context": context} if sys.version_info >= (3, 11) else {}
        sys.setprofile(lambda frame, event, arg: events.append((event, getattr(arg, "__name__", None))))
        tasks = [own_loop.create_task(coros[0])]
        tasks.append(own_loop.create_task(coros[1], name="a name"))
        tasks.append(own_loop.create_task(coros[2], **options))
        future = own_loop.create_future()
        sys.setprofile(None)
        own_loop.run_until_complete(asyncio.gather(*tasks))
        assert {event for event, name in events if name != "setprofile"} == {"c_call", "c_return"}
        assert [name for event, name in events if event == "c_call"].count("create_task") == 3
        assert {name for _, name in events} - {"append", "setprofile"} == {"create_task", "create_future"}
        assert not future.done()

    def test_steps_make_none(self, own_loop):
        calls = []

        async def child(future):
            await future

        async def main():
            future = own_loop.create_future()
            tasks = []
            for _ in range(3):
                tasks.append(own_loop.create_task(child(future)))
            own_loop.call_soon(future.set_result, None)
            for task in tasks:
                await task
            sys.setprofile(None)

        def profile(frame, event, arg):
            calls.append(frame.f_code.co_name if event == "call" else arg.__name__ if event == "c_call" else None)

        own_loop.call_soon(sys.setprofile, profile)
        own_loop.run_until_complete(main())
        made = [name for name in calls if name is not None]
        # Each is entered at its start and when its future is done; main when the first child is done, at least.
        assert set(made) == {"main", "child", "create_future", "create_task", "call_soon", "setprofile", "append"}
        assert made.count("child") == 6
