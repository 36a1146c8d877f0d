"""asyncio's own stream reader is fed natively where nobody can tell: here somebody could.

Each test replaces something of asyncio's stream classes, or of what they hold, and asks that it is used, on asyncio's
loop as on ours.
"""

import asyncio
import socket
import sys
import types

import pytest

import boucle
from conftest import run_turns


@pytest.fixture
def connect(loop):
    """Makes a connection whose protocol and reader are those that are passed: (reader, transport, the other end)."""
    made = []

    def connect(reader=None, protocol=None):
        ours, theirs = socket.socketpair()
        ours.setblocking(False)
        reader = reader or asyncio.StreamReader(loop=loop, limit=100)
        protocol = protocol or asyncio.StreamReaderProtocol(reader, loop=loop)
        transport, _ = loop.run_until_complete(loop.create_connection(lambda: protocol, sock=ours))
        made.append((transport, theirs))
        # The protocol refers to the reader weakly.
        return reader, transport, theirs

    yield connect
    for transport, theirs in made:
        transport.abort()
        theirs.close()
    run_turns(loop)


def arrive(loop, theirs, data):
    """Send, and let it arrive."""
    theirs.sendall(data)
    run_turns(loop, 3)


def count_calls(calls, function):
    def counted(self, *args):
        calls.append(args)
        return function(self, *args)

    return counted


@pytest.mark.parametrize(
    ("owner", "name"),
    [
        (asyncio.StreamReaderProtocol, "data_received"),
        (asyncio.StreamReader, "feed_data"),
        (asyncio.StreamReader, "_wakeup_waiter"),
    ],
)
def test_a_method_that_is_replaced_in_the_class_is_called(loop, connect, monkeypatch, owner, name):
    reader, _, theirs = connect()
    arrive(loop, theirs, b"one ")
    calls = []
    monkeypatch.setattr(owner, name, count_calls(calls, getattr(owner, name)))
    arrive(loop, theirs, b"two ")
    assert len(calls) == 1
    monkeypatch.undo()
    arrive(loop, theirs, b"three")
    assert len(calls) == 1
    assert reader._buffer == b"one two three"


@pytest.mark.parametrize("name", ["data_received", "feed_data", "_wakeup_waiter"])
def test_a_method_of_the_instance_is_called(loop, connect, name):
    reader = asyncio.StreamReader(loop=loop)
    protocol = asyncio.StreamReaderProtocol(reader, loop=loop)
    _, _, theirs = connect(reader, protocol)
    calls = []
    instance = protocol if name == "data_received" else reader
    setattr(instance, name, types.MethodType(count_calls(calls, getattr(type(instance), name)), instance))
    arrive(loop, theirs, b"data")
    assert len(calls) == 1
    delattr(instance, name)
    arrive(loop, theirs, b" and more")
    assert len(calls) == 1
    assert reader._buffer == b"data and more"


def test_code_that_is_replaced_in_the_function_runs(loop, connect):
    reader, _, theirs = connect()
    arrive(loop, theirs, b"one")
    function = asyncio.StreamReader.feed_data
    code = function.__code__

    def feed_data(self, data):
        self.fed = data

    try:
        function.__code__ = feed_data.__code__
        arrive(loop, theirs, b"two")
    finally:
        function.__code__ = code
    assert reader.fed == b"two"
    arrive(loop, theirs, b"three")
    assert reader._buffer == b"onethree"


def test_methods_of_subclasses_are_called(loop, connect):
    calls = []

    class Reader(asyncio.StreamReader):
        feed_data = count_calls(calls, asyncio.StreamReader.feed_data)

    class Protocol(asyncio.StreamReaderProtocol):
        data_received = count_calls(calls, asyncio.StreamReaderProtocol.data_received)

    reader, _, theirs = connect(Reader(loop=loop))
    arrive(loop, theirs, b"data")
    assert (calls, reader._buffer) == ([(b"data",)], b"data")
    reader = asyncio.StreamReader(loop=loop)
    reader, _, theirs = connect(reader, Protocol(reader, loop=loop))
    arrive(loop, theirs, b"data")
    assert (calls, reader._buffer) == ([(b"data",)] * 2, b"data")


def test_a_class_that_the_instance_takes_on_is_asked(loop, connect):
    calls = []

    class Reader(asyncio.StreamReader):
        feed_data = count_calls(calls, asyncio.StreamReader.feed_data)

    reader, _, theirs = connect()
    arrive(loop, theirs, b"one")
    reader.__class__ = Reader
    arrive(loop, theirs, b"two")
    assert (calls, reader._buffer) == ([(b"two",)], b"onetwo")


@pytest.mark.parametrize("name", ["_buffer", "_eof", "_waiter", "_paused", "_limit", "_transport"])
def test_an_attribute_that_has_become_a_property_is_asked(loop, connect, monkeypatch, name):
    reader, _, theirs = connect()
    arrive(loop, theirs, b"one")
    value = reader.__dict__[name]
    asked = []

    def get(self):
        asked.append(name)
        return value

    monkeypatch.setattr(asyncio.StreamReader, name, property(get, lambda self, value: None), raising=False)
    arrive(loop, theirs, b"two")
    assert asked or (name == "_limit" and reader._paused)
    monkeypatch.undo()


def test_access_that_is_watched_is_seen(loop, connect, monkeypatch):
    reader, _, theirs = connect()
    arrive(loop, theirs, b"one")
    seen = []

    def setattr_(self, name, value):
        seen.append(name)
        object.__setattr__(self, name, value)

    waiter = loop.create_task(reader.readexactly(6))
    run_turns(loop, 1)
    monkeypatch.setattr(asyncio.StreamReader, "__setattr__", setattr_, raising=False)
    arrive(loop, theirs, b"two")
    monkeypatch.undo()
    assert "_waiter" in seen
    assert loop.run_until_complete(waiter) == b"onetwo"


def test_a_buffer_of_another_type_is_extended(loop, connect):
    class Buffer(bytearray):
        def extend(self, data):
            super().extend(data.upper())

    reader, _, theirs = connect()
    reader._buffer = Buffer()
    arrive(loop, theirs, b"data")
    assert reader._buffer == b"DATA"


def test_a_buffer_that_is_lent_ends_the_connection(loop, connect):
    reports = []
    loop.set_exception_handler(lambda loop, context: reports.append(context))
    reader, transport, theirs = connect()
    arrive(loop, theirs, b"data")
    with memoryview(reader._buffer):
        arrive(loop, theirs, b" and more")
    [report] = reports
    assert report["message"] == "Fatal error: protocol.data_received() call failed."
    assert type(report["exception"]) is BufferError
    assert str(report["exception"]) == "Existing exports of data: object cannot be re-sized"
    assert reader._buffer == b"data"
    assert transport.is_closing()


def test_data_after_the_end_is_refused(loop, connect):
    reports = []
    loop.set_exception_handler(lambda loop, context: reports.append(context))
    reader, transport, theirs = connect()
    reader.feed_eof()
    arrive(loop, theirs, b"data")
    [report] = reports
    assert repr(report["exception"]) == "AssertionError('feed_data after feed_eof')"
    assert transport.is_closing()


def test_a_reader_that_is_gone_gets_nothing(loop, connect):
    reader = asyncio.StreamReader(loop=loop)
    protocol = asyncio.StreamReaderProtocol(reader, loop=loop)
    _, transport, theirs = connect(reader, protocol)
    del reader
    protocol._stream_reader_wr = None
    arrive(loop, theirs, b"data")
    assert not transport.is_closing()


class Waiter:
    """Waits instead of a future."""

    def __init__(self, cancelled):
        self.is_cancelled = cancelled
        self.result = "nothing"

    def cancelled(self):
        return self.is_cancelled

    def set_result(self, result):
        self.result = result


@pytest.mark.parametrize("cancelled", [False, True])
def test_whoever_waits_is_told(loop, connect, cancelled):
    reader, _, theirs = connect()
    reader._waiter = waiter = Waiter(cancelled)
    arrive(loop, theirs, b"data")
    assert reader._waiter is None
    assert waiter.result == ("nothing" if cancelled else None)


def test_a_future_that_was_cancelled_is_left_alone(loop, connect):
    reader, transport, theirs = connect()
    reader._waiter = waiter = loop.create_future()
    waiter.cancel()
    arrive(loop, theirs, b"data")
    assert reader._waiter is None
    assert not transport.is_closing()


def test_a_future_that_has_a_result_already_ends_the_connection(loop, connect):
    reports = []
    loop.set_exception_handler(lambda loop, context: reports.append(context))
    reader, transport, theirs = connect()
    reader._waiter = waiter = loop.create_future()
    waiter.set_result(1)
    arrive(loop, theirs, b"data")
    assert reader._waiter is None
    assert reader._buffer == b"data"
    assert type(reports[0]["exception"]) is asyncio.InvalidStateError
    assert transport.is_closing()


class Pausing:
    """A transport that can be asked to pause."""

    def __init__(self, raises=None):
        self.raises = raises
        self.asked = 0

    def pause_reading(self):
        self.asked += 1
        if self.raises:
            raise self.raises


@pytest.mark.parametrize(("limit", "pauses"), [(100, False), (99.5, True), (50, True), (1 << 70, False)])
def test_the_limit_may_be_any_number(loop, connect, limit, pauses):
    reader, _, theirs = connect()
    reader._transport = transport = Pausing()
    reader._limit = limit
    arrive(loop, theirs, b"x" * 200)
    assert (transport.asked, reader._paused) == (pauses, pauses)


def test_a_limit_that_is_no_number_ends_the_connection(loop, connect):
    reports = []
    loop.set_exception_handler(lambda loop, context: reports.append(context))
    reader, _, theirs = connect()
    reader._limit = None
    arrive(loop, theirs, b"x")
    assert repr(reports[0]["exception"]) == """TypeError("unsupported operand type(s) for *: 'int' and 'NoneType'")"""


def test_a_transport_that_cannot_pause_is_forgotten(loop, connect):
    reader, _, theirs = connect()
    reader._transport = transport = Pausing(NotImplementedError())
    arrive(loop, theirs, b"x" * 201)
    assert transport.asked == 1
    assert reader._transport is None
    assert not reader._paused


def test_a_transport_that_fails_to_pause_ends_the_connection(loop, connect):
    reports = []
    loop.set_exception_handler(lambda loop, context: reports.append(context))
    reader, transport, theirs = connect()
    reader._transport = Pausing(ZeroDivisionError())
    arrive(loop, theirs, b"x" * 201)
    assert type(reports[0]["exception"]) is ZeroDivisionError
    assert not reader._paused
    assert transport.is_closing()


def test_a_long_buffer_pauses_the_transport(loop, connect):
    reader, transport, theirs = connect()
    arrive(loop, theirs, b"x" * 200)
    assert transport.is_reading()
    arrive(loop, theirs, b"x")
    assert (transport.is_reading(), reader._paused) == (False, True)
    assert len(loop.run_until_complete(reader.read(101))) == 101
    assert (transport.is_reading(), reader._paused) == (True, False)


def test_a_protocol_that_is_replaced_gets_nothing_more(loop, connect):
    reader, transport, theirs = connect()
    other = asyncio.StreamReader(loop=loop)
    arrive(loop, theirs, b"one")
    transport.set_protocol(asyncio.StreamReaderProtocol(other, loop=loop))
    arrive(loop, theirs, b"two")
    assert (reader._buffer, other._buffer) == (b"one", b"two")


def test_the_order_in_which_things_happen(loop, connect):
    """The waiter is told before the transport is asked to pause, and is not there any more by then."""
    reader, _, theirs = connect()
    told = []

    class Told(Waiter):
        def set_result(self, result):
            told.append(("woken", reader._waiter, bytes(reader._buffer)))

    class Asked(Pausing):
        def pause_reading(self):
            told.append(("paused", reader._paused))

    reader._waiter = Told(False)
    reader._transport = Asked()
    arrive(loop, theirs, b"x" * 201)
    assert told == [("woken", None, b"x" * 201), ("paused", False)]


def test_who_is_woken_may_replace_the_buffer(loop, connect):
    reader, _, theirs = connect()

    class Told(Waiter):
        def set_result(self, result):
            reader._buffer = bytearray(b"short")

    reader._waiter = Told(False)
    arrive(loop, theirs, b"x" * 201)
    assert not reader._paused


@pytest.mark.parametrize("debug", [False, True])
def test_in_debug_mode_every_call_is_made(own_loop, debug):
    """A profiler sees it then, and only then."""
    own_loop.set_debug(debug)
    ours, theirs = socket.socketpair()
    ours.setblocking(False)
    reader = asyncio.StreamReader(loop=own_loop)
    transport, _ = own_loop.run_until_complete(
        own_loop.create_connection(lambda: asyncio.StreamReaderProtocol(reader, loop=own_loop), sock=ours)
    )
    called = []
    sys.setprofile(lambda frame, event, arg: event == "call" and called.append(frame.f_code.co_name))
    try:
        arrive(own_loop, theirs, b"data")
    finally:
        sys.setprofile(None)
    assert ("feed_data" in called) == debug
    assert reader._buffer == b"data"
    transport.abort()
    theirs.close()
    run_turns(own_loop)


def test_the_chronology_names_the_protocols_method(own_loop):
    async def program():
        ours, theirs = socket.socketpair()
        ours.setblocking(False)
        reader, writer = await asyncio.open_connection(sock=ours)
        theirs.sendall(b"data")
        assert await reader.read(10) == b"data"
        writer.close()
        await writer.wait_closed()
        theirs.close()

    with boucle.record() as chronology:
        own_loop.run_until_complete(program())
    assert "StreamReaderProtocol.data_received" in {step.function for step in chronology.steps}
