"""The exception by which a native coroutine hands its value to the interpreter is used again: nobody may notice."""

import asyncio
import gc
import socket
import sys
import weakref

import pytest

import boucle
import own_streams

streams = pytest.fixture(own_streams.streams)
reader = pytest.fixture(own_streams.reader)


def stopped(coroutine):
    """How the interpreter, which awaits it, sees a coroutine of ours end."""
    with pytest.raises(StopIteration) as caught:
        next(coroutine)
    return caught.value


@pytest.fixture
def own_reader(own_loop):
    reader = boucle.StreamReader(loop=own_loop, limit=10)
    reader.feed_data(b"one two three four")
    return reader


def test_what_is_read_is_held_by_nobody(loop, reader):
    async def read():
        reader.feed_data(bytes(1000))
        held = [await reader.read(1000)]
        del reader._buffer[:]
        # The list's and the call's own; a variable may lend its own to the call.
        return sys.getrefcount(held[0])

    assert loop.run_until_complete(read()) == loop.run_until_complete(read()) == 2


def test_a_coroutine_that_is_kept_keeps_its_end(loop, reader):
    async def read():
        reader.feed_data(b"onetwo")
        kept = reader.read(3)
        first = await kept
        return first, await reader.read(3), first

    assert loop.run_until_complete(read()) == (b"one", b"two", b"one")


def test_a_program_that_traces_may_keep_it(loop, reader):
    kept = []

    def trace(frame, event, arg):
        if event == "exception":
            kept.append(arg[1])
        return trace

    async def read():
        reader.feed_data(b"onetwothree")
        return [await reader.read(3), await reader.read(3), await reader.read(5)]

    former = sys.gettrace()
    sys.settrace(trace)
    try:
        values = loop.run_until_complete(read())
    finally:
        sys.settrace(former)
    assert values == [b"one", b"two", b"three"]
    stops = [stop for stop in kept if isinstance(stop, StopIteration) and isinstance(stop.value, bytes)]
    assert [stop.value for stop in stops] in ([], values)
    assert [stop.args for stop in stops] in ([], [(value,) for value in values])


def test_one_that_was_caught_stays_as_it_is(own_reader):
    first = stopped(own_reader.read(3))
    second = stopped(own_reader.read(4))
    assert type(first) is type(second) is StopIteration
    assert first is not second
    assert (first.value, first.args, second.value, second.args) == (b"one", (b"one",), b" two", (b" two",))
    assert first.__traceback__ is not None
    assert first.__context__ is second.__context__ is None


@pytest.mark.parametrize(
    "leave",
    [
        lambda stop: setattr(stop, "args", (b"other", b"arguments")),
        lambda stop: setattr(stop, "value", b"another"),
        lambda stop: setattr(stop, "label", "ours"),
        lambda stop: setattr(stop, "__cause__", ValueError()),
        lambda stop: setattr(stop, "__context__", ValueError()),
        lambda stop: setattr(stop, "__suppress_context__", True),
        lambda stop: setattr(stop, "__notes__", ["a note"]),
    ],
)
def test_what_was_left_in_one_is_not_found_in_the_next(own_loop, own_reader, leave):
    async def read(count):
        return await own_reader.read(count)

    assert own_loop.run_until_complete(read(3)) == b"one"
    for stop in gc.get_objects():
        if type(stop) is StopIteration:
            leave(stop)
    del stop
    assert own_loop.run_until_complete(read(4)) == b" two"
    last = stopped(own_reader.read(6))
    assert (last.value, last.args, vars(last)) == (b" three", (b" three",), {})
    assert last.__cause__ is last.__context__ is None
    assert last.__suppress_context__ is False


def test_one_that_the_collector_shows_is_not_changed(own_loop, own_reader):
    async def read(count):
        return await own_reader.read(count)

    assert own_loop.run_until_complete(read(3)) == b"one"
    shown = [stop for stop in gc.get_objects() if type(stop) is StopIteration]
    content = [(stop.value, stop.args) for stop in shown]
    assert own_loop.run_until_complete(read(4)) == b" two"
    assert [(stop.value, stop.args) for stop in shown] == content


def test_a_cycle_through_it_is_collected(own_reader):
    class Mark:
        pass

    def catch():
        mark = Mark()
        coroutine = own_reader.read(3)
        try:
            next(coroutine)
        except StopIteration as stop:
            mark.stop = stop
        mark.coroutine = coroutine
        return weakref.ref(mark)

    gone = catch()
    gc.collect()
    assert gone() is None


def test_of_sockets_too(loop):
    async def receive():
        ours, theirs = socket.socketpair()
        with ours, theirs:
            ours.setblocking(False)
            theirs.send(b"onetwo")
            running = asyncio.get_running_loop()
            return [await running.sock_recv(ours, 3), await running.sock_recv(ours, 3)]

    assert loop.run_until_complete(receive()) == [b"one", b"two"]
