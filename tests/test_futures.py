"""Futures: what they are to a program, who is told, and what a wrong call raises."""

import asyncio
import contextvars
import gc
import re
import traceback
import weakref

import pytest

import boucle
from conftest import on_each_loop, run_turns

VARIABLE = contextvars.ContextVar("variable", default="default")


class TestIdentity:
    def test_a_future_is_a_future_to_everybody_who_asks(self, loop):
        future = loop.create_future()
        assert isinstance(future, asyncio.Future)
        assert not isinstance(future, asyncio.Task)
        assert future.__class__ is asyncio.Future
        assert asyncio.isfuture(future)
        match future:
            case asyncio.Task():
                matched = "task"
            case asyncio.Future():
                matched = "future"
        assert matched == "future"
        assert asyncio.ensure_future(future, loop=loop) is future
        assert asyncio.wrap_future(future) is future
        assert future.get_loop() is future._loop is loop

    def test_its_class_is_boucles(self, own_loop):
        assert type(own_loop.create_future()) is boucle.Future
        assert not issubclass(boucle.Future, asyncio.Future)
        assert boucle.Future[int].__origin__ is boucle.Future
        assert boucle.Future.__module__ == "boucle"

    def test_classes_derive_from_it(self, loop, classes):
        class Derived(classes[0]):
            def __init__(self, *, loop, extra):
                super().__init__(loop=loop)
                self.extra = extra

            def set_result(self, result):
                super().set_result(f"{result}, says {self.extra}")

        async def main():
            future = Derived(loop=loop, extra="it")
            assert isinstance(future, asyncio.Future)
            assert repr(future) == "<Derived pending>"
            loop.call_soon(future.set_result, "done")
            return await future

        assert loop.run_until_complete(main()) == "done, says it"

    def test_the_loop_is_the_running_one_unless_one_is_given(self, loop, classes):
        async def main():
            return classes[0]().get_loop(), classes[0](loop=None).get_loop()

        assert loop.run_until_complete(main()) == (loop, loop)
        assert classes[0](loop=loop).get_loop() is loop

    def test_it_takes_attributes_and_weak_references(self, loop):
        future = loop.create_future()
        future.something = "of the user"
        assert future.something == "of the user"
        assert weakref.ref(future)() is future
        del future.something
        assert not hasattr(future, "something")
        assert {future: "a key"}[future] == "a key"
        assert future != loop.create_future()

    @pytest.mark.parametrize("end", ["nothing", "a result", "an exception", "a cancellation"])
    def test_the_private_attributes_that_software_reads(self, end):
        names = ("_state", "_result", "_exception", "_log_traceback", "_source_traceback", "_cancel_message")
        names += ("_asyncio_future_blocking", "_callbacks")
        error = ValueError("failed")

        def observe(loop, future_class, task_class):
            future = future_class(loop=loop)
            {
                "nothing": lambda: None,
                "a result": lambda: future.set_result("result"),
                "an exception": lambda: future.set_exception(error),
                "a cancellation": lambda: future.cancel("message"),
            }[end]()
            values = [repr(future), *(getattr(future, name) for name in names), future.done(), future.cancelled()]
            future._log_traceback = False
            return values

        theirs, ours = on_each_loop(observe)
        assert ours == theirs

    def test_where_it_was_made_is_kept_in_debug_mode(self, loop, classes):
        loop.set_debug(True)
        name = "test_where_it_was_made_is_kept_in_debug_mode"
        future = classes[0](loop=loop)
        assert future._source_traceback[-1].name == name
        assert f"created at {__file__}:" in repr(future)
        # asyncio's create_future is a frame of its own.
        assert name in [frame.name for frame in loop.create_future()._source_traceback[-2:]]


class TestCallbacks:
    def test_each_runs_in_its_context(self, loop):
        ran = []

        def callback(future):
            ran.append(VARIABLE.get())

        def add_elsewhere(future):
            VARIABLE.set("at the call")
            future.add_done_callback(callback)

        given = contextvars.Context()
        given.run(VARIABLE.set, "given")
        for ends_first in (False, True):
            future = loop.create_future()
            if ends_first:
                future.set_result(None)
            contextvars.copy_context().run(add_elsewhere, future)
            future.add_done_callback(callback, context=given)
            future.add_done_callback(callback, context=None)
            if not ends_first:
                assert [context[VARIABLE] for _, context in future._callbacks[:2]] == ["at the call", "given"]
                future.set_result(None)
            assert future._callbacks is None
            run_turns(loop)
        assert ran == ["at the call", "given", "default"] * 2

    def test_they_run_in_a_later_turn(self, loop):
        ran = []
        future = loop.create_future()
        future.add_done_callback(ran.append)
        future.set_result(None)
        assert ran == []
        run_turns(loop, 1)
        assert ran == [future]

    def test_equal_callbacks_are_removed_together(self, loop):
        class Equal:
            def __init__(self, number):
                self.number = number

            def __eq__(self, other):
                return self.number == other.number

            __hash__ = None

            def __call__(self, future):
                ran.append(self.number)

        ran = []
        future = loop.create_future()
        for number in (1, 2, 1, 3, 1):
            future.add_done_callback(Equal(number))
        assert future.remove_done_callback(Equal(4)) == 0
        assert future.remove_done_callback(Equal(1)) == 3
        assert future.remove_done_callback(Equal(1)) == 0
        future.set_result(None)
        run_turns(loop)
        assert ran == [2, 3]

    def test_a_comparison_that_changes_the_future_is_survived(self):
        def observe(loop, future_class, task_class):
            future = future_class(loop=loop)
            ran = []

            class Meddling:
                def __init__(self, meddle):
                    self.meddle = meddle

                def __eq__(self, other):
                    self.meddle()
                    return False

                __hash__ = None

                def __call__(self, future):
                    ran.append("meddling")

            future.add_done_callback(lambda future: ran.append("first"))
            future.add_done_callback(Meddling(lambda: future.add_done_callback(lambda future: ran.append("added"))))
            future.add_done_callback(Meddling(lambda: future.done() or future.set_result(None)))
            # How many were removed differs: asyncio's counts those that were told meanwhile.
            future.remove_done_callback(print)
            run_turns(loop)
            return ran

        theirs, ours = on_each_loop(observe)
        assert ours == theirs

    def test_a_failing_comparison_raises(self, loop):
        class Incomparable:
            def __eq__(self, other):
                raise LookupError("no idea")

            __hash__ = None

        future = loop.create_future()
        future.add_done_callback(Incomparable())
        future.add_done_callback(print)
        with pytest.raises(LookupError):
            future.remove_done_callback(print)
        assert len(future._callbacks) == 2


class TestExceptions:
    @pytest.mark.parametrize("how", ["an instance", "a class", "a derived instance"])
    def test_a_stop_iteration_is_no_exception_of_a_future(self, how):
        class Derived(StopIteration):
            pass

        exception = {"an instance": StopIteration(3), "a class": StopIteration, "a derived instance": Derived(3)}[how]

        def observe(loop, future_class, task_class):
            future = future_class(loop=loop)
            try:
                future.set_exception(exception)
            except TypeError as error:
                return str(error)
            error = future.exception()
            return type(error), str(error), type(error.__cause__), type(error.__context__)

        theirs, ours = on_each_loop(observe)
        assert ours == theirs

    def test_awaiting_a_failed_future_again_makes_its_traceback_no_longer(self, loop):
        async def wait(future):
            await future

        async def main():
            future = loop.create_future()
            future.set_exception(ValueError("failed"))
            lengths = []
            for _ in range(3):
                try:
                    await wait(future)
                except ValueError as error:
                    lengths.append(len(traceback.extract_tb(error.__traceback__)))
            return lengths

        lengths = loop.run_until_complete(main())
        assert len(set(lengths)) == 1

    def test_the_traceback_that_an_exception_came_with_is_shown_once(self):
        def observe(loop, future_class, task_class):
            def fail():
                raise ValueError("failed")

            future = future_class(loop=loop)
            try:
                fail()
            except ValueError as error:
                future.set_exception(error)
            shown = []
            for _ in range(2):
                try:
                    future.result()
                except ValueError as error:
                    shown.append([frame.name for frame in traceback.extract_tb(error.__traceback__)])
            return shown

        theirs, ours = on_each_loop(observe)
        assert ours == theirs
        assert "fail" in ours[0]

    @pytest.mark.parametrize("debug", [False, True])
    @pytest.mark.parametrize("kind", ["future", "task", "derived future", "derived task"])
    def test_an_exception_that_nobody_asked_for_is_reported(self, kind, debug):
        def observe(loop, future_class, task_class):
            reports = []
            loop.set_debug(debug)
            loop.set_exception_handler(lambda loop, context: reports.append(context))
            base = task_class if "task" in kind else future_class
            cls = type("Derived", (base,), {}) if "derived" in kind else base

            async def fail():
                raise ValueError("failed")

            if "task" in kind:
                thing = cls(fail(), loop=loop)
                run_turns(loop)
            else:
                thing = cls(loop=loop)
                thing.set_exception(ValueError("failed"))
            retrieved = cls(fail(), loop=loop) if "task" in kind else cls(loop=loop)
            if "task" not in kind:
                retrieved.set_exception(ValueError("failed"))
            run_turns(loop)
            assert str(retrieved.exception()) == "failed"
            address = id(thing)
            del thing, retrieved
            gc.collect()
            (report,) = reports
            assert id(report["future"]) == address
            assert report["future"].exception() is report["exception"]
            return sorted(report), report["message"], str(report["exception"])

        theirs, ours = on_each_loop(observe)
        assert ours == theirs

    @pytest.mark.parametrize("debug", [False, True])
    def test_a_task_that_is_destroyed_while_it_is_pending_is_reported(self, debug):
        async def wait(future):
            await future

        def observe(loop, future_class, task_class):
            reports = []
            loop.set_debug(debug)
            loop.set_exception_handler(lambda loop, context: reports.append(context))
            task = task_class(wait(future_class(loop=loop)), loop=loop, name="lost")
            quiet = task_class(wait(future_class(loop=loop)), loop=loop)
            quiet._log_destroy_pending = False
            run_turns(loop)
            address = id(task)
            del task, quiet
            gc.collect()
            (report,) = reports
            assert id(report["task"]) == address
            return sorted(report), report["message"], re.sub(r"0x\w+|:\d+", "", repr(report["task"]))

        theirs, ours = on_each_loop(observe)
        assert ours == theirs
