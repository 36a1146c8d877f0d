"""A wrong call raises what asyncio raises, with its text."""

import asyncio
import re

import pytest

import boucle

CALLS = {
    "call_soon without a callback": lambda loop: loop.call_soon(),
    "call_soon with an unknown keyword": lambda loop: loop.call_soon(print, nonsense=1),
    "call_soon with two keywords": lambda loop: loop.call_soon(print, context=None, nonsense=1),
    "call_soon with a context that is none": lambda loop: run_one(loop, loop.call_soon(print, context=1)),
    "call_soon_threadsafe without a callback": lambda loop: loop.call_soon_threadsafe(),
    "call_later without anything": lambda loop: loop.call_later(),
    "call_later without a callback": lambda loop: loop.call_later(1),
    "call_later with None": lambda loop: loop.call_later(None, print),
    "call_later with a string": lambda loop: loop.call_later("soon", print),
    "call_later with an unknown keyword": lambda loop: loop.call_later(1, print, nonsense=1),
    "call_at without a callback": lambda loop: loop.call_at(1),
    "call_at with None": lambda loop: loop.call_at(None, print),
    "add_reader without a callback": lambda loop: loop.add_reader(0),
    "_add_reader without a callback": lambda loop: loop._add_reader(0),
    "add_reader without anything": lambda loop: loop.add_reader(),
    "add_signal_handler with a number that is none": lambda loop: loop.add_signal_handler(1000, print),
    "add_signal_handler with a string": lambda loop: loop.add_signal_handler("SIGINT", print),
    "add_signal_handler for SIGKILL": lambda loop: loop.add_signal_handler(9, print),
    "run_until_complete with a number": lambda loop: loop.run_until_complete(1),
    "run_until_complete of a loop stopped early": lambda loop: stop_early(loop),
    "run_forever inside": lambda loop: run_inside(loop, lambda: loop.run_forever()),
    "another loop inside": lambda loop: run_inside(loop, lambda: another(loop)),
}


def run_one(loop, handle):
    loop.call_soon(loop.stop)
    reports = []
    loop.set_exception_handler(lambda loop, context: reports.append(context["exception"]))
    loop.run_forever()
    raise TypeError(type(reports[0]).__name__) if reports else AssertionError


def stop_early(loop):
    loop.call_soon(loop.stop)
    future = loop.create_future()
    loop.run_until_complete(future)


def run_inside(loop, call):
    async def main():
        call()

    loop.run_until_complete(main())


def another(loop):
    other = type(loop)()
    try:
        other.run_forever()
    finally:
        other.close()


def outcome(factory, call):
    loop = factory()
    try:
        call(loop)
    except Exception as error:
        # An object of the message may show its address.
        return type(error), re.sub(r"0x[0-9a-f]+", "0x", str(error))
    finally:
        loop._ready.clear()
        loop.close()
    return None


@pytest.mark.parametrize("what", CALLS)
def test_the_same_exception_as_asyncio(what):
    expected = outcome(asyncio.SelectorEventLoop, CALLS[what])
    if what == "call_soon with a context that is none":
        # asyncio finds out when it runs the callback, by a missing attribute; we by the type.
        expected = (TypeError, "TypeError")
    assert expected is not None
    assert outcome(boucle.new_event_loop, CALLS[what]) == expected


def test_a_time_that_is_no_number_is_refused_at_once(own_loop):
    # asyncio takes it, and fails when it compares it with another.
    with pytest.raises(TypeError, match="must be real number, not str"):
        own_loop.call_at("noon", print)
