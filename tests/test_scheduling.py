"""What runs when: call_soon, timers, other threads, and what an interrupt leaves behind."""

import asyncio
import contextvars
import gc
import math
import threading
import time
import weakref
from fractions import Fraction

import pytest


def run_turns(loop, turns=3):
    """Run so many turns."""
    for _ in range(turns):
        loop.call_soon(loop.stop)
        loop.run_forever()


def test_callbacks_run_in_the_order_of_the_calls(loop):
    ran = []
    for number in range(5):
        loop.call_soon(ran.append, number)
    run_turns(loop)
    assert ran == [0, 1, 2, 3, 4]


def test_a_callback_scheduled_by_a_callback_waits_for_the_next_turn(loop):
    ran = []
    loop.call_soon(loop.call_soon, ran.append, "child")
    loop.call_soon(ran.append, "sibling")
    loop.call_soon(loop.call_soon, loop.stop)
    loop.run_forever()
    assert ran == ["sibling", "child"]


def test_arguments_arrive_as_they_were_given(loop):
    ran = []
    for arguments in [(), (1,), (1, 2), ((1, 2),), tuple(range(20))]:
        loop.call_soon(lambda *args: ran.append(args), *arguments)
    run_turns(loop)
    assert ran == [(), (1,), (1, 2), ((1, 2),), tuple(range(20))]


def test_a_callback_runs_in_the_context_of_the_call(loop):
    variable = contextvars.ContextVar("variable", default="default")
    ran = []
    variable.set("at the call")
    loop.call_soon(lambda: ran.append(variable.get()))
    loop.call_later(0, lambda: ran.append(variable.get()))
    variable.set("later")
    given = contextvars.Context()
    loop.call_soon(lambda: ran.append(variable.get()), context=given)
    loop.call_soon(lambda: given.run(ran.append, "given"))
    run_turns(loop)
    assert ran == ["at the call", "default", "given", "at the call"]


def test_a_cancelled_callback_does_not_run(loop):
    ran = []
    handles = [loop.call_soon(ran.append, number) for number in range(3)]
    handles[1].cancel()
    run_turns(loop)
    assert ran == [0, 2]


def test_a_callback_can_cancel_one_of_its_own_batch(loop):
    ran = []
    loop.call_soon(lambda: last.cancel())
    last = loop.call_soon(ran.append, "last")
    run_turns(loop)
    assert ran == []


def test_a_callback_can_cancel_itself_while_it_runs(loop):
    ran = []

    def callback(argument):
        handle.cancel()
        gc.collect()
        ran.append(argument)

    handle = loop.call_soon(callback, "argument")
    run_turns(loop)
    assert ran == ["argument"]
    assert handle.cancelled()


def test_stop_before_run_makes_one_turn(loop):
    ran = []
    loop.call_soon(ran.append, 1)
    loop.call_soon(loop.call_soon, ran.append, 2)
    loop.stop()
    loop.run_forever()
    assert ran == [1]


def test_stop_lets_the_batch_finish(loop):
    ran = []
    loop.call_soon(loop.stop)
    loop.call_soon(ran.append, "after stop")
    loop.run_forever()
    assert ran == ["after stop"]


class TestTimers:
    def test_timers_fire_in_the_order_of_their_deadlines(self, loop):
        ran = []
        for delay in (0.003, 0.001, 0.002):
            loop.call_later(delay, ran.append, delay)
        loop.call_later(0.006, loop.stop)
        loop.run_forever()
        assert ran == [0.001, 0.002, 0.003]

    def test_equal_deadlines_fire_in_scheduling_order(self, own_loop):
        ran = []
        when = own_loop.time() + 0.001
        for number in range(20):
            own_loop.call_at(when, ran.append, number)
        own_loop.call_at(when, own_loop.stop)
        own_loop.run_forever()
        assert ran == list(range(20))

    def test_due_timers_run_after_what_was_ready(self, loop):
        ran = []
        loop.call_later(-1, ran.append, "timer")
        loop.call_soon(ran.append, "soon")
        run_turns(loop)
        assert ran == ["soon", "timer"]

    @pytest.mark.parametrize("delay", [0.0002, 0.001, 0.0035, 0.02])
    def test_a_timer_never_fires_early(self, loop, delay):
        for _ in range(20):
            before = loop.time()
            loop.call_later(delay, loop.stop)
            loop.run_forever()
            # asyncio allows itself the resolution of its clock: a nanosecond.
            assert loop.time() - before >= delay - 2e-9

    def test_time_is_the_monotonic_clock(self, loop):
        before = time.monotonic()
        now = loop.time()
        assert before <= now <= time.monotonic()

    def test_a_timer_handle_tells_when(self, loop):
        when = loop.time() + 10
        handle = loop.call_at(when, print)
        assert handle.when() == when
        assert loop.call_at(5, print).when() == 5
        assert loop.call_later(Fraction(1, 2), print).when() > loop.time()
        assert loop.call_later(1, print).when() > loop.time()

    def test_far_deadlines_are_kept(self, loop):
        ran = []
        for when in (math.inf, 1e300, 2**63):
            loop.call_at(when, ran.append, when)
        run_turns(loop)
        assert ran == []

    def test_cancelled_timers_keep_nothing_alive(self, own_loop):
        class Thing:
            pass

        things = [Thing() for _ in range(10_000)]
        alive = weakref.WeakSet(things)
        handles = [own_loop.call_later(3600, id, thing) for thing in things]
        for handle in handles:
            handle.cancel()
        del things
        assert len(alive) == 0
        assert len(own_loop._scheduled) == 0


class TestThreads:
    def test_a_call_from_another_thread_wakes_a_sleeping_loop(self, loop):
        asleep = threading.Event()
        woken = []

        def caller():
            asleep.wait()
            loop.call_soon_threadsafe(woken.append, threading.get_ident())
            loop.call_soon_threadsafe(loop.stop)

        thread = threading.Thread(target=caller)
        thread.start()
        loop.call_soon(asleep.set)
        # Nothing else would ever end this run.
        loop.run_forever()
        thread.join()
        assert woken == [thread.ident]

    def test_calls_from_other_threads_keep_their_order(self, loop):
        ran = []

        def caller(name):
            for number in range(1000):
                loop.call_soon_threadsafe(ran.append, (name, number))

        threads = [threading.Thread(target=caller, args=(name,)) for name in "ab"]

        def start():
            for thread in threads:
                thread.start()

        loop.call_soon(start)
        while len(ran) < 2000:
            loop.call_later(0.001, loop.stop)
            loop.run_forever()
        for thread in threads:
            thread.join()
        for name in "ab":
            assert [number for who, number in ran if who == name] == list(range(1000))

    def test_what_a_thread_handed_in_runs_before_what_was_scheduled_after_it(self, loop):
        ran = []

        def callback():
            thread = threading.Thread(target=loop.call_soon_threadsafe, args=(ran.append, "thread"))
            thread.start()
            thread.join()
            loop.call_soon(ran.append, "callback")

        loop.call_soon(callback)
        run_turns(loop)
        assert ran == ["thread", "callback"]

    def test_a_loop_runs_in_any_thread(self, factory):
        results = []

        def run():
            loop = factory()
            results.append(loop.run_until_complete(asyncio.sleep(0.001, "slept")))
            loop.close()

        threads = [threading.Thread(target=run) for _ in range(8)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
        assert results == ["slept"] * 8

    def test_native_callbacks_let_other_threads_run(self, own_loop):
        # Nothing here runs Python code that would give the GIL up by itself.
        done = threading.Event()
        own_loop.call_soon(threading.Thread(target=done.set).start)

        def again():
            if done.is_set():
                own_loop.stop()

        for _ in range(3):
            own_loop.call_soon(again)
        own_loop.call_later(0.001, again)
        own_loop.call_later(5, own_loop.stop)
        own_loop.run_forever()
        assert done.is_set()


class TestInterrupts:
    @pytest.mark.parametrize("exception", [KeyboardInterrupt, SystemExit])
    def test_the_rest_of_the_batch_stays_queued(self, loop, exception):
        ran = []

        def interrupt():
            raise exception

        loop.call_soon(ran.append, 1)
        loop.call_soon(interrupt)
        loop.call_soon(ran.append, 2)
        with pytest.raises(exception):
            loop.run_forever()
        assert ran == [1]
        assert not loop.is_running()
        run_turns(loop)
        assert ran == [1, 2]

    def test_other_exceptions_go_to_the_exception_handler(self, factory):
        loop = factory()
        reports = []
        loop.set_exception_handler(lambda loop, context: reports.append(context))
        ran = []
        failing = loop.call_soon(lambda: 1 / 0)
        loop.call_soon(ran.append, "next")
        run_turns(loop)
        loop.close()
        assert ran == ["next"]
        (report,) = reports
        assert isinstance(report["exception"], ZeroDivisionError)
        assert report["message"].startswith("Exception in callback TestInterrupts.test_")
        assert report["handle"] is failing
        assert "source_traceback" not in report

    def test_a_cancelled_error_in_a_callback_is_reported(self, factory):
        loop = factory()
        reports = []
        loop.set_exception_handler(lambda loop, context: reports.append(context["exception"]))

        def cancelled():
            raise asyncio.CancelledError

        loop.call_soon(cancelled)
        run_turns(loop)
        loop.close()
        assert [type(report) for report in reports] == [asyncio.CancelledError]

    def test_a_context_that_is_entered_already_is_reported(self, factory, caplog):
        loop = factory()
        context = contextvars.copy_context()

        def inside():
            loop.call_soon(print, context=context)
            loop.call_soon(loop.stop)
            loop.run_forever()

        context.run(inside)
        loop.close()
        assert "cannot enter context" in caplog.text


def test_a_loop_takes_attributes_and_weak_references(loop):
    loop.something = "of the user"
    assert loop.something == "of the user"
    assert weakref.ref(loop)() is loop


def test_turns_of_others_are_refused(own_loop):
    with pytest.raises(RuntimeError, match="nest_asyncio"):
        own_loop._run_once()
    with pytest.raises(RuntimeError, match="nest_asyncio"):
        own_loop._selector.select(0)
