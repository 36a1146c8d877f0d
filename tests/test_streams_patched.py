"""boucle's own streams call each other natively where nobody can tell: here somebody could.

Each test replaces something of a stream, of its transport or of its loop, and asks that it is used, with asyncio's
streams on asyncio's loop as with boucle's on ours.
"""

import asyncio
import gc
import socket
import weakref

import pytest

import boucle
import own_streams
from conftest import run_turns

CALLED = [
    ("protocol", "data_received"),
    ("reader", "feed_data"),
    ("reader", "exception"),
    ("transport", "write"),
    ("transport", "is_closing"),
    ("loop", "create_future"),
]
"""What a message calls once, of what."""

streams = pytest.fixture(own_streams.streams)
connect = pytest.fixture(own_streams.connect)


async def message(reader, writer, theirs):
    """Waits for a message, and answers."""
    reading = asyncio.ensure_future(reader.readexactly(4))
    await asyncio.sleep(0)
    theirs.send(b"data")
    writer.write(await reading)
    await writer.drain()
    return theirs.recv(4)


@pytest.fixture
def exchange(loop, connect):
    """A connection, and how often a method of it was called during each of three messages: before it is replaced,
    meanwhile, and after it was put back."""
    reader, writer, theirs = connect()
    transport = writer.transport
    owners = {"reader": reader, "protocol": transport.get_protocol(), "transport": transport, "loop": loop}

    def exchange(what, name, replace, put_back):
        calls = []
        function = getattr(owners[what], name)

        def counted(*args):
            calls.append(args)
            return function(*args[-1:] if name in ("data_received", "feed_data", "write") else ())

        counts = []
        for change in (lambda *_: None, replace, put_back):
            change(owners[what], name, counted)
            assert loop.run_until_complete(message(reader, writer, theirs)) == b"data"
            counts.append(len(calls))
            calls.clear()
        return counts

    return exchange


@pytest.mark.parametrize(("what", "name"), CALLED)
def test_a_method_of_the_instance_is_called(exchange, what, name):
    assert exchange(what, name, setattr, lambda owner, name, _: delattr(owner, name)) == [0, 1, 0]


@pytest.mark.parametrize(("what", "name"), CALLED[:-1])
def test_a_method_in_the_instances_dictionary_is_called(exchange, what, name):
    def replace(owner, name, function):
        vars(owner)[name] = function

    assert exchange(what, name, replace, lambda owner, name, _: vars(owner).pop(name)) == [0, 1, 0]


@pytest.mark.parametrize(("what", "name"), CALLED)
def test_a_method_that_is_replaced_in_the_class_is_called(exchange, monkeypatch, what, name):
    def replace(owner, name, function):
        monkeypatch.setattr(type(owner), name, lambda self, *args: function(*args))

    assert exchange(what, name, replace, lambda *_: monkeypatch.undo()) == [0, 1, 0]


# A transport of ours takes no subclass.
@pytest.mark.parametrize(("what", "name"), [called for called in CALLED if called[0] != "transport"])
def test_a_method_of_a_class_that_the_instance_takes_on_is_called(exchange, what, name):
    def replace(owner, name, function):
        own = {name: lambda self, *args: function(*args), "__slots__": ()}
        owner.__class__ = type(type(owner).__name__, (type(owner),), own)

    def put_back(owner, *_):
        owner.__class__ = type(owner).__base__

    assert exchange(what, name, replace, put_back) == [0, 1, 0]


@pytest.mark.parametrize(("what", "name"), CALLED[:4])
def test_an_attribute_of_another_name_changes_nothing(exchange, what, name):
    def replace(owner, *_):
        owner.label = "ours"

    assert exchange(what, name, replace, lambda owner, *_: delattr(owner, "label")) == [0, 0, 0]


@pytest.mark.parametrize("name", ["StreamReader", "StreamReaderProtocol"])
def test_access_that_is_watched_is_seen(loop, streams, connect, monkeypatch, name):
    reader, writer, theirs = connect()
    loop.run_until_complete(message(reader, writer, theirs))
    names = []

    def getattribute(self, name):
        names.append(name)
        return object.__getattribute__(self, name)

    monkeypatch.setattr(getattr(streams, name), "__getattribute__", getattribute)
    loop.run_until_complete(message(reader, writer, theirs))
    seen = {"StreamReader": {"feed_data", "exception"}, "StreamReaderProtocol": {"data_received"}}
    assert seen[name] <= set(names)


class Transport:
    """Of another class."""

    def __init__(self, is_closing=False):
        self.written = []
        self._is_closing = is_closing

    def write(self, data):
        self.written.append(data)

    def is_closing(self):
        if isinstance(self._is_closing, Exception):
            raise self._is_closing
        return self._is_closing


@pytest.fixture
def write_to(loop, connect):
    """Writes to another transport and drains."""
    _, writer, _ = connect()
    own = writer.transport

    async def drain(transport):
        writer._transport = transport
        writer.write(b"data")
        await writer.drain()

    yield lambda transport: loop.run_until_complete(drain(transport))
    writer._transport = own


@pytest.mark.parametrize("is_closing", [False, 0, True, 1])
def test_a_transport_of_another_class_is_written_to(write_to, is_closing):
    transport = Transport(is_closing)
    write_to(transport)
    assert transport.written == [b"data"]


def test_what_the_transport_raises(write_to):
    with pytest.raises(ZeroDivisionError):
        write_to(Transport(is_closing=ZeroDivisionError()))
    with pytest.raises(AttributeError, match="write"):
        write_to(None)


def test_what_a_write_refuses(connect):
    _, writer, _ = connect()
    with pytest.raises(TypeError, match="argument must be a bytes"):
        writer.write("text")
    writer.write_eof()
    with pytest.raises(RuntimeError, match="write_eof"):
        writer.write(b"data")


def test_a_transport_that_is_closing_is_lost_in_the_turn_for_which_drain_waits(loop, connect):
    _, writer, _ = connect()
    ran = []

    async def drain():
        writer.close()
        loop.call_soon(ran.append, "turn")
        await writer.drain()

    with pytest.raises(ConnectionResetError, match="Connection lost"):
        loop.run_until_complete(drain())
    assert ran == ["turn"]


def test_an_exception_of_the_reader_is_raised(loop, connect):
    reader, writer, _ = connect()
    reader.set_exception(ZeroDivisionError())
    with pytest.raises(ZeroDivisionError):
        loop.run_until_complete(writer.drain())


def test_a_reader_of_another_class_is_asked_for_its_exception(loop, connect):
    class Reader:
        def exception(self):
            return ZeroDivisionError()

    _, writer, _ = connect()
    writer._reader = Reader()
    with pytest.raises(ZeroDivisionError):
        loop.run_until_complete(writer.drain())


@pytest.mark.parametrize("spoil", ["lend", "end"])
def test_data_that_the_reader_refuses_ends_the_connection(loop, connect, spoil):
    reader, writer, theirs = connect()
    reader.feed_data(b"some")
    if spoil == "lend":
        lent = memoryview(reader._buffer)
    else:
        reader.feed_eof()
    reports = []
    reporter = loop._exception_handler
    loop.set_exception_handler(lambda _, context: reports.append(context))
    theirs.send(b"data")
    run_turns(loop, 3)
    loop.set_exception_handler(reporter)
    assert [report["message"] for report in reports] == ["Fatal error: protocol.data_received() call failed."]
    assert type(reports[0]["exception"]) is (BufferError if spoil == "lend" else AssertionError)
    assert writer.transport.is_closing()
    if spoil == "lend":
        assert lent == b"some"


def test_more_than_the_limit_pauses_the_transport(loop, connect):
    reader, writer, theirs = connect(limit=4)
    theirs.send(b"123456789")
    run_turns(loop, 3)
    assert not writer.transport.is_reading()
    assert loop.run_until_complete(reader.readexactly(9)) == b"123456789"
    assert writer.transport.is_reading()


def test_a_reader_that_is_gone_gets_nothing(loop, streams):
    protocol = streams.StreamReaderProtocol(streams.StreamReader(loop=loop), loop=loop)
    gc.collect()
    assert protocol._stream_reader is None
    protocol.data_received(b"data")


def test_private_attributes(loop, connect):
    _reader, writer, _ = connect()
    protocol = writer.transport.get_protocol()
    assert writer._loop is protocol._loop is loop
    assert protocol._source_traceback is None
    assert protocol._drain_waiters is not None
    assert protocol._client_connected_cb is protocol._task is None
    assert not protocol._over_ssl
    del writer._complete_fut, protocol._source_traceback
    assert not hasattr(writer, "_complete_fut")
    assert protocol._source_traceback is None


@pytest.mark.parametrize("name", ["_over_ssl", "_strong_reader", "_source_traceback", "label"])
def test_what_refers_to_itself_is_collected(loop, streams, name):
    protocol = streams.StreamReaderProtocol(streams.StreamReader(loop=loop), loop=loop)
    setattr(protocol, name, protocol)
    gone = weakref.ref(protocol)
    del protocol
    gc.collect()
    assert gone() is None


def test_methods_belong_to_the_class():
    """The interpreter calls a native method without detours only where it is of exactly the object's class."""
    for method in (boucle.StreamReader.read, boucle.StreamWriter.write, boucle.StreamReaderProtocol.data_received):
        assert method.__objclass__.__module__ == "boucle._streams"


def test_no_part_of_a_connection_has_a_dictionary(own_loop):
    """With one the interpreter and the native half would look methods up in it."""
    ours, theirs = socket.socketpair()
    reader, writer = own_loop.run_until_complete(boucle.open_connection(sock=ours))
    parts = (reader, writer, writer.transport, writer.transport.get_protocol())
    held = [kind for part in parts for kind in map(type, gc.get_referents(part))]
    # What get_extra_info answers, of the transport's.
    assert held.count(dict) == 1
    writer.close()
    theirs.close()
    run_turns(own_loop, 3)
