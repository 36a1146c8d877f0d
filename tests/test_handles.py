"""Handle and TimerHandle: to every observer they are asyncio's."""

import asyncio
import contextvars
import gc
import sys
import weakref

import pytest

from conftest import run_python


def callback(*args):
    pass


def test_they_are_instances_of_asyncios(loop):
    soon, later = loop.call_soon(callback), loop.call_later(10, callback)
    assert isinstance(soon, asyncio.Handle)
    assert not isinstance(soon, asyncio.TimerHandle)
    assert isinstance(later, asyncio.TimerHandle)
    assert isinstance(later, asyncio.Handle)


def test_the_private_attributes_that_software_reads(loop):
    handle = loop.call_later(10, callback, 1, 2)
    assert handle._callback is callback
    assert handle._args == (1, 2)
    assert handle._when == handle.when()
    assert handle._scheduled
    assert not handle._cancelled
    assert handle._loop is loop
    assert isinstance(handle._context, contextvars.Context)
    assert handle._source_traceback is None
    assert loop.call_soon(callback)._args == ()
    assert loop.call_soon(callback, "one")._args == ("one",)


def test_a_cancelled_handle_lets_go(loop):
    handle = loop.call_later(10, callback, 1)
    handle.cancel()
    handle.cancel()
    assert handle.cancelled()
    assert handle._callback is None
    assert handle._args is None


@pytest.mark.skipif(sys.version_info < (3, 12), reason="asyncio has get_context from 3.12 on")
def test_the_context_can_be_asked_for(loop):
    context = contextvars.copy_context()
    assert loop.call_soon(callback, context=context).get_context() is context


def test_repr_is_asyncios(loop):
    soon, later = loop.call_soon(callback, 1), loop.call_at(5, callback)
    asyncios = asyncio.Handle(callback, (1,), loop), asyncio.TimerHandle(5, callback, (), loop)
    assert (repr(soon), repr(later)) == tuple(map(repr, asyncios))
    for handle in (soon, later, *asyncios):
        handle.cancel()
    assert (repr(soon), repr(later)) == tuple(map(repr, asyncios))
    assert (repr(soon), repr(later)) == ("<Handle cancelled>", "<TimerHandle cancelled when=5>")


def test_timer_handles_compare_by_time(loop):
    first, second, same = loop.call_at(1, callback), loop.call_at(2, callback), loop.call_at(1, callback)
    foreign = asyncio.TimerHandle(1, callback, (), loop)
    assert first < second
    assert first <= same
    assert second > first
    assert second >= first
    assert first == same
    assert first != second
    assert first == foreign
    assert foreign == first
    assert hash(first) == hash(same)
    with pytest.raises(TypeError):
        first < 1  # noqa: B015


def test_weak_references_die_with_the_handle(own_loop):
    # asyncio's loop keeps a cancelled timer until its deadline.
    handle = own_loop.call_later(10, callback)
    handle.cancel()
    alive = weakref.ref(handle)
    assert alive() is handle
    del handle
    assert alive() is None


def test_run_can_be_called(loop):
    ran = []
    loop.call_soon(ran.append, 1)._run()
    assert ran == [1]


def test_an_exception_in_run_is_reported(factory):
    loop = factory()
    reports = []
    loop.set_exception_handler(lambda loop, context: reports.append(context["message"]))
    loop.call_soon(lambda: 1 / 0)._run()
    loop._ready.clear()
    loop.close()
    assert len(reports) == 1


def test_a_handle_that_has_run_keeps_no_cycle_alive(loop):
    class Owner:
        def method(self):
            pass

    owner = Owner()
    owner.handle = loop.call_soon(owner.method)
    alive = weakref.ref(owner)
    loop.call_soon(loop.stop)
    loop.run_forever()
    del owner
    gc.collect()
    assert alive() is None


def test_handles_that_others_made_run_too(loop):
    ran = []
    loop._ready.append(asyncio.Handle(ran.append, (1,), loop))
    loop._add_callback(asyncio.Handle(ran.append, (2,), loop))
    cancelled = asyncio.Handle(ran.append, (3,), loop)
    loop._ready.append(cancelled)
    cancelled.cancel()
    loop.call_soon(loop.stop)
    loop.run_forever()
    assert ran == [1, 2]


def test_they_are_made_by_loops_only(own_loop):
    with pytest.raises(TypeError):
        type(own_loop.call_soon(callback))()


@pytest.mark.parametrize("drop", ["loop._ready.append(handle); loop._ready.clear()", "loop.close()"])
def test_one_that_is_dropped_while_it_runs_keeps_what_it_runs(drop):
    program = f"""
import boucle

loop = boucle.new_event_loop()

def items():
    for number in range(1000):
        if number == 20:
            {drop}
        yield bytes(40)

handle = loop.call_soon([].extend, items())
handle._run()
loop.close()
assert handle._callback is None
"""
    finished = run_python("-c", program, PYTHONMALLOC="debug")
    assert (finished.stderr, finished.returncode) == ("", 0)
