"""boucle's own streams do what asyncio's do: each test runs with asyncio's on asyncio's loop, with boucle's on ours.

What differs between versions of asyncio is observed with both and compared.
"""

import asyncio
import contextlib
import gc
import inspect
import socket
import struct
import sys
import types
import warnings
import weakref

import pytest

import boucle
from conftest import FACTORIES, run_turns
from tls_connections import client_context, server_context

TUPLES_OF_SEPARATORS = sys.version_info >= (3, 13)
HAS_START_TLS = sys.version_info >= (3, 11)


@pytest.fixture
def streams(factory):
    """The module whose streams are tested: that of the loop."""
    return boucle if factory is boucle.new_event_loop else asyncio


@pytest.fixture
def connect(loop, streams):
    """Makes a connection: (reader, writer, the other end, which blocks)."""
    made = []

    def connect(limit=2**16):
        ours, theirs = socket.socketpair()
        theirs.settimeout(10)
        reader, writer = loop.run_until_complete(streams.open_connection(sock=ours, limit=limit))
        made.append((writer, theirs))
        return reader, writer, theirs

    yield connect
    for writer, theirs in made:
        writer.transport.abort()
        theirs.close()
    run_turns(loop)


@pytest.fixture
def reader(loop, streams):
    """A reader without a connection."""
    return streams.StreamReader(loop=loop, limit=10)


def both(observe):
    """What a coroutine function observes with boucle's streams on our loop. It must be the same with asyncio's."""
    observed = []
    for module, new_loop in zip((asyncio, boucle), FACTORIES.values(), strict=True):
        loop = new_loop()
        try:
            observed.append(loop.run_until_complete(observe(module)))
        finally:
            run_turns(loop)
            loop.close()
    assert observed[1] == observed[0]
    return observed[1]


def step(coroutine):
    """One step of a coroutine: (what it yields, None) or (None, what it returns)."""
    try:
        return coroutine.send(None), None
    except StopIteration as stop:
        return None, stop.value


def forget(make):
    """Makes something, and lets go of it."""
    make()
    gc.collect()


def failure_of(call):
    with pytest.raises(Exception) as caught:  # noqa: PT011
        call()
    return type(caught.value), str(caught.value)


class TestWhatTheyAre:
    def test_they_are_asyncios_to_a_check(self, connect):
        reader, writer, _ = connect()
        assert isinstance(reader, asyncio.StreamReader)
        assert isinstance(writer, asyncio.StreamWriter)
        assert isinstance(writer.transport.get_protocol(), asyncio.StreamReaderProtocol)

    def test_reprs(self, loop, streams):
        reader = streams.StreamReader(loop=loop, limit=10)
        assert repr(reader) == "<StreamReader limit=10>"
        reader.feed_data(b"12345")
        reader.feed_eof()
        assert repr(reader) == "<StreamReader 5 bytes eof limit=10>"

    @pytest.mark.parametrize("name", ["read", "readexactly", "readuntil", "readline", "drain"])
    def test_calls_are_coroutines(self, connect, name):
        reader, writer, _ = connect()
        owner = writer if name == "drain" else reader
        coroutine = getattr(owner, name)(*([1] if name == "readexactly" else []))
        assert asyncio.iscoroutine(coroutine)
        assert inspect.isawaitable(coroutine)
        assert coroutine.__name__ == name
        assert coroutine.__qualname__ == f"{type(owner).__name__}.{name}"
        coroutine.close()

    def test_a_call_that_is_not_awaited_warns(self, connect):
        reader, writer, _ = connect()
        for call in (lambda: reader.read(1), lambda: reader.readline(), writer.drain):
            with pytest.warns(RuntimeWarning, match=r"coroutine 'Stream\w+\.\w+' was never awaited"):
                forget(call)

    def test_a_coroutine_is_awaited_once(self, loop, connect):
        reader, _, theirs = connect()
        theirs.send(b"data")
        coroutine = reader.read(1)
        assert loop.run_until_complete(coroutine) == b"d"
        with pytest.raises(RuntimeError, match="cannot reuse already awaited coroutine"):
            coroutine.send(None)

    def test_what_is_usual_is_native(self, own_loop):
        reader = boucle.StreamReader(loop=own_loop)
        writer = boucle.StreamWriter(None, None, reader, own_loop)
        try:
            for coroutine in (reader.read(1), reader.readexactly(1), reader.readuntil(), reader.readline()):
                assert type(coroutine).__name__ == "StreamOperation"
                coroutine.close()
            coroutine = writer.drain()
            assert type(coroutine).__name__ == "StreamOperation"
            coroutine.close()
        finally:
            writer._transport = types.SimpleNamespace(is_closing=lambda: True)

    def test_another_loop_is_refused(self):
        async def use(call):
            with pytest.raises(RuntimeError, match=r"^boucle\.(\w+) needs a loop .* use asyncio\.\1 there$"):
                await call

        loop = asyncio.SelectorEventLoop()
        for call in (
            boucle.open_connection("127.0.0.1", 1),
            boucle.start_server(print, "127.0.0.1", 0),
            boucle.open_unix_connection("/nowhere"),
            boucle.start_unix_server(print, "/nowhere"),
        ):
            loop.run_until_complete(use(call))
        loop.close()

    def test_a_reader_works_on_any_loop(self):
        """One that is made by hand."""
        loop = asyncio.SelectorEventLoop()
        reader = boucle.StreamReader(loop=loop)
        loop.call_soon(reader.feed_data, b"line\nmore")
        assert loop.run_until_complete(reader.readline()) == b"line\n"
        loop.close()


class TestReading:
    def test_parts_of_what_arrives(self, loop, connect):
        reader, _, theirs = connect()
        theirs.send(b"abcdefgh")
        assert loop.run_until_complete(reader.read(3)) == b"abc"
        assert loop.run_until_complete(reader.read(100)) == b"defgh"
        task = loop.create_task(reader.read(100))
        run_turns(loop)
        assert not task.done()
        theirs.send(b"later")
        assert loop.run_until_complete(task) == b"later"

    def test_up_to_the_end(self, loop, connect):
        reader, _, theirs = connect(limit=4)
        task = loop.create_task(reader.read())
        theirs.send(b"0123456789")
        run_turns(loop)
        theirs.send(b"more")
        theirs.shutdown(socket.SHUT_WR)
        assert loop.run_until_complete(task) == b"0123456789more"
        assert reader.at_eof()
        assert loop.run_until_complete(reader.read(5)) == b""
        assert loop.run_until_complete(reader.read()) == b""

    def test_nothing_is_read_at_once(self, loop, reader):
        assert step(reader.read(0)) == (None, b"")
        assert step(reader.readexactly(0)) == (None, b"")

    def test_exactly(self, loop, connect):
        reader, _, theirs = connect()
        task = loop.create_task(reader.readexactly(10))
        for part in (b"012", b"345", b"6789ab"):
            assert not task.done()
            theirs.send(part)
            run_turns(loop)
        assert task.result() == b"0123456789"
        assert loop.run_until_complete(reader.readexactly(2)) == b"ab"

    def test_exactly_what_does_not_come(self, loop, connect):
        reader, _, theirs = connect()
        task = loop.create_task(reader.readexactly(10))
        theirs.send(b"012")
        theirs.close()
        with pytest.raises(asyncio.IncompleteReadError) as caught:
            loop.run_until_complete(task)
        assert (caught.value.partial, caught.value.expected) == (b"012", 10)
        assert str(caught.value) == "3 bytes read on a total of 10 expected bytes"
        assert reader._buffer == b""

    def test_a_negative_number(self, loop, reader):
        with pytest.raises(ValueError, match="readexactly size can not be less than zero"):
            loop.run_until_complete(reader.readexactly(-1))

    def test_data_in_memory_of_any_kind(self, loop, reader):
        for data in (b"one ", bytearray(b"two "), memoryview(b"three"), b""):
            reader.feed_data(data)
        assert loop.run_until_complete(reader.read(100)) == b"one two three"

    def test_what_is_read_does_not_change(self, loop, reader):
        reader.feed_data(b"first")
        data = loop.run_until_complete(reader.read(5))
        reader.feed_data(b"second")
        assert (type(data), data) == (bytes, b"first")

    def test_no_data_after_the_end(self, reader):
        reader.feed_eof()
        with pytest.raises(AssertionError, match="feed_data after feed_eof"):
            reader.feed_data(b"more")

    def test_iteration(self, loop, connect):
        reader, _, theirs = connect()

        async def lines():
            return [line async for line in reader]

        theirs.send(b"one\ntwo\n\nend")
        theirs.close()
        assert loop.run_until_complete(lines()) == [b"one\n", b"two\n", b"\n", b"end"]


class TestSeparators:
    def test_lines(self, loop, connect):
        reader, _, theirs = connect()
        theirs.send(b"one\ntwo\nth")
        assert loop.run_until_complete(reader.readline()) == b"one\n"
        assert loop.run_until_complete(reader.readuntil()) == b"two\n"
        task = loop.create_task(reader.readline())
        run_turns(loop)
        theirs.send(b"ree\nfour")
        assert loop.run_until_complete(task) == b"three\n"
        theirs.close()
        assert loop.run_until_complete(reader.readline()) == b"four"
        assert loop.run_until_complete(reader.readline()) == b""

    @pytest.mark.parametrize("parts", [[b"abEN", b"DEND"], [b"a", b"bE", b"N", b"D", b"END"], [b"abENDEND"]])
    def test_a_separator_in_parts(self, loop, reader, parts):
        task = loop.create_task(reader.readuntil(b"END"))
        for part in parts:
            run_turns(loop)
            reader.feed_data(part)
        run_turns(loop)
        assert task.result() == b"abEND"
        assert step(reader.readuntil(b"END")) == (None, b"END")

    def test_one_that_does_not_come(self, loop, reader):
        reader.feed_data(b"abEN")
        reader.feed_eof()
        with pytest.raises(asyncio.IncompleteReadError) as caught:
            loop.run_until_complete(reader.readuntil(b"END"))
        assert (caught.value.partial, caught.value.expected) == (b"abEN", None)
        assert reader.at_eof()

    @pytest.mark.parametrize(
        ("data", "text", "consumed"),
        [
            (b"0123456789abcdef", "Separator is not found, and chunk exceed the limit", 16),
            (b"0123456789abcdef\n", "Separator is found, but chunk is longer than limit", 16),
        ],
    )
    def test_one_that_comes_late(self, loop, reader, data, text, consumed):
        reader.feed_data(data)
        with pytest.raises(asyncio.LimitOverrunError, match=text) as caught:
            loop.run_until_complete(reader.readuntil())
        assert caught.value.consumed == consumed
        assert reader._buffer == data
        with pytest.raises(ValueError, match=text):
            loop.run_until_complete(reader.readline())
        assert reader._buffer == b""

    def test_one_just_within_the_limit(self, loop, reader):
        reader.feed_data(b"0123456789\n")
        assert loop.run_until_complete(reader.readline()) == b"0123456789\n"

    def test_a_line_that_is_too_long_once_more_has_come(self, loop, reader):
        task = loop.create_task(reader.readline())
        for part in (b"01234567", b"89abc", b"d\nrest"):
            run_turns(loop)
            reader.feed_data(part)
        run_turns(loop)
        assert isinstance(task.exception(), ValueError)
        assert reader._buffer == b"d\nrest"

    def test_separators_that_are_none(self):
        async def observe(streams):
            reader = streams.StreamReader(loop=asyncio.get_running_loop(), limit=10)
            reader.feed_data(b"abcdef")
            seen = []
            for separator in (b"", "text", None, (), (b"",), 1):
                try:
                    await reader.readuntil(separator)
                except Exception as error:
                    seen.append((type(error), str(error)))
            return seen

        assert len(both(observe)) == 6

    def test_separators_of_other_kinds(self, loop, reader):
        reader.feed_data(b"a-b")
        assert loop.run_until_complete(reader.readuntil(bytearray(b"-"))) == b"a-"

    @pytest.mark.skipif(not TUPLES_OF_SEPARATORS, reason="from Python 3.13 on")
    def test_several_at_once(self, loop, reader):
        reader.feed_data(b"a,b;c")
        assert loop.run_until_complete(reader.readuntil((b";", b","))) == b"a,"
        assert loop.run_until_complete(reader.readuntil((b"--", b";"))) == b"b;"


class TestWaiting:
    def test_one_at_a_time(self, loop, connect):
        reader, _, theirs = connect()
        first = loop.create_task(reader.readexactly(2))
        run_turns(loop)
        for call, name in (
            (reader.read(1), "read"),
            (reader.readexactly(1), "readexactly"),
            (reader.readuntil(), "readuntil"),
            (reader.readline(), "readuntil"),
        ):
            text = f"{name}() called while another coroutine is already waiting for incoming data"
            assert failure_of(lambda call=call: loop.run_until_complete(call)) == (RuntimeError, text)
        theirs.send(b"ok")
        assert loop.run_until_complete(first) == b"ok"

    def test_a_task_that_is_cancelled_loses_nothing(self, loop, connect):
        reader, _, theirs = connect()
        task = loop.create_task(reader.read(100))
        run_turns(loop)
        assert reader._waiter is not None
        task.cancel()
        run_turns(loop)
        assert task.cancelled()
        assert reader._waiter is None
        theirs.send(b"data")
        assert loop.run_until_complete(reader.read(100)) == b"data"

    def test_nor_one_that_was_woken_up(self, loop, reader):
        task = loop.create_task(reader.read(100))
        run_turns(loop)
        reader.feed_data(b"data")
        task.cancel()
        run_turns(loop)
        assert task.cancelled()
        assert step(reader.read(100)) == (None, b"data")

    def test_data_for_a_waiter_that_was_cancelled(self, loop, reader):
        task = loop.create_task(reader.read(100))
        run_turns(loop)
        task.cancel()
        reader.feed_data(b"data")
        run_turns(loop)
        assert task.cancelled()
        assert step(reader.read(100)) == (None, b"data")

    def test_a_coroutine_that_is_closed_waits_no_more(self, loop, reader):
        coroutine = reader.read(1)
        future, _ = step(coroutine)
        assert reader._waiter is future
        coroutine.close()
        assert reader._waiter is None

    def test_an_exception_that_is_thrown(self, loop, reader):
        coroutine = reader.readline()
        step(coroutine)
        with pytest.raises(KeyError):
            coroutine.throw(KeyError("thrown"))
        assert reader._waiter is None
        with pytest.raises(RuntimeError):
            coroutine.send(None)

    def test_somebody_else_takes_what_was_waited_for(self, loop, reader):
        exactly, some = loop.create_task(reader.readexactly(4)), None
        run_turns(loop)
        reader.feed_data(b"data")
        some = step(reader.read(2))
        run_turns(loop)
        assert (some, exactly.done()) == ((None, b"da"), False)
        reader.feed_data(b"da")
        run_turns(loop)
        assert exactly.result() == b"tada"

    def test_the_end_wakes_up(self, loop, reader):
        task = loop.create_task(reader.read(1))
        run_turns(loop)
        reader.feed_eof()
        assert loop.run_until_complete(task) == b""

    def test_an_exception_wakes_up_and_stays(self, loop, reader):
        error = ConnectionResetError("gone")
        task = loop.create_task(reader.read(1))
        run_turns(loop)
        reader.set_exception(error)
        run_turns(loop)
        assert task.exception() is error
        reader.feed_data(b"data")
        assert reader.exception() is error
        for call in (reader.read(1), reader.readexactly(1), reader.readline(), reader.readuntil(), reader.read()):
            with pytest.raises(ConnectionResetError, match="gone"):
                loop.run_until_complete(call)

    def test_an_exception_after_data_that_wakes_up(self, loop, reader):
        task = loop.create_task(reader.read(4))
        run_turns(loop)
        reader.feed_data(b"data")
        reader.set_exception(ConnectionResetError())
        assert loop.run_until_complete(task) == b"data"

    def test_an_end_and_an_exception_after_it(self, loop, reader):
        task = loop.create_task(reader.readexactly(4))
        run_turns(loop)
        reader.feed_eof()
        reader.set_exception(ConnectionResetError())
        with pytest.raises(asyncio.IncompleteReadError):
            loop.run_until_complete(task)

    def test_a_waiter_of_ones_own(self, loop, reader):
        """A future that other code has put there."""
        reader._waiter = asyncio.Future(loop=loop)
        waiter = reader._waiter
        reader.feed_data(b"data")
        assert waiter.done()
        assert reader._waiter is None


class TestLimits:
    def test_reading_pauses_and_goes_on(self, loop, connect):
        reader, writer, theirs = connect(limit=100)
        theirs.send(b"x" * 200)
        run_turns(loop)
        assert writer.transport.is_reading()
        theirs.send(b"x")
        run_turns(loop)
        assert not writer.transport.is_reading()
        assert loop.run_until_complete(reader.read(100)) == b"x" * 100
        assert not writer.transport.is_reading()
        assert loop.run_until_complete(reader.readexactly(1)) == b"x"
        assert writer.transport.is_reading()

    def test_who_waits_for_more_than_fits_gets_it(self, loop, connect):
        reader, _, theirs = connect(limit=10)
        task = loop.create_task(reader.readexactly(1000))
        run_turns(loop)
        for _ in range(4):
            theirs.send(b"x" * 250)
            run_turns(loop)
        assert loop.run_until_complete(task) == b"x" * 1000

    def test_a_transport_that_cannot_pause(self, loop, reader):
        class Transport:
            def pause_reading(self):
                raise NotImplementedError

        reader.set_transport(Transport())
        reader.feed_data(b"x" * 21)
        assert reader._transport is None
        assert step(reader.read(100)) == (None, b"x" * 21)

    @pytest.mark.parametrize("limit", [0, -1])
    def test_a_limit_is_positive(self, loop, streams, limit):
        with pytest.raises(ValueError, match="Limit cannot be <= 0"):
            streams.StreamReader(loop=loop, limit=limit)

    def test_a_limit_that_is_no_int(self, loop, streams):
        reader = streams.StreamReader(loop=loop, limit=2.5)
        reader.feed_data(b"ab\nabc\n")
        assert loop.run_until_complete(reader.readline()) == b"ab\n"
        with pytest.raises(ValueError, match="longer than limit"):
            loop.run_until_complete(reader.readline())


class TestCallsThatDoNotFit:
    @pytest.mark.parametrize(
        "call",
        [
            lambda reader, writer: reader.read(1, 2),
            lambda reader, writer: reader.read(size=1),
            lambda reader, writer: reader.readexactly(),
            lambda reader, writer: reader.readline(1),
            lambda reader, writer: reader.readuntil(b"a", b"b"),
            lambda reader, writer: reader.feed_data(),
            lambda reader, writer: writer.write(),
            lambda reader, writer: writer.write("text"),
            lambda reader, writer: writer.drain(1),
        ],
    )
    def test_they_raise_what_asyncios_raise(self, call):
        async def observe(streams):
            ours, theirs = socket.socketpair()
            with theirs:
                reader, writer = await streams.open_connection(sock=ours)
                failure = failure_of(lambda: call(reader, writer))
                writer.close()
                # The text about a wrong type of data is the transport's.
                return failure[0], failure[1] if "data argument" not in failure[1] else "data"

        assert both(observe)[0] is TypeError

    def test_keywords(self, loop, reader):
        reader.feed_data(data=b"ab-c\n")
        assert loop.run_until_complete(reader.read(n=1)) == b"a"
        assert loop.run_until_complete(reader.readuntil(separator=b"-")) == b"b-"
        assert loop.run_until_complete(reader.readexactly(n=1)) == b"c"


class TestCodeOfOthers:
    def test_the_buffer_shows_all(self, loop, reader):
        reader.feed_data(b"0123")
        assert step(reader.read(1)) == (None, b"0")
        assert reader._buffer == b"123"
        reader.feed_data(b"45")
        assert reader._buffer == b"12345"
        reader._buffer += b"6"
        assert step(reader.read(100)) == (None, b"123456")
        reader._buffer = bytearray(b"new")
        reader.feed_data(b"er")
        assert step(reader.read(100)) == (None, b"newer")

    def test_a_buffer_that_is_borrowed(self, loop, reader):
        reader._buffer.extend(b"data")
        with memoryview(reader._buffer):
            for call in (lambda: reader.feed_data(b"x"), lambda: step(reader.read(1))):
                with pytest.raises(BufferError):
                    call()
        assert step(reader.read(100)) == (None, b"data")

    def test_methods_that_are_overridden(self, loop, streams):
        calls = []

        class Reader(streams.StreamReader):
            def feed_data(self, data):
                calls.append("feed_data")
                super().feed_data(data)

            async def readuntil(self, separator=b"\n"):
                calls.append("readuntil")
                return await super().readuntil(separator)

            async def _wait_for_data(self, name):
                calls.append(name)
                await super()._wait_for_data(name)

            def exception(self):
                calls.append("exception")
                return super().exception()

        ours, theirs = socket.socketpair()
        reader = Reader(loop=loop)
        protocol = streams.StreamReaderProtocol(reader, loop=loop)
        transport, _ = loop.run_until_complete(loop.create_connection(lambda: protocol, sock=ours))
        writer = streams.StreamWriter(transport, protocol, reader, loop)
        task = loop.create_task(reader.readline())
        run_turns(loop)
        theirs.send(b"line\n")
        assert loop.run_until_complete(task) == b"line\n"
        loop.run_until_complete(writer.drain())
        assert calls == ["readuntil", "readuntil", "feed_data", "exception"]
        writer.close()
        theirs.close()
        run_turns(loop)

    def test_a_reader_that_is_gone(self, loop, streams):
        reader = streams.StreamReader(loop=loop)
        protocol = streams.StreamReaderProtocol(reader, loop=loop)
        del reader
        gc.collect()
        protocol.data_received(b"data")
        assert streams.StreamReaderProtocol(None, loop=loop).data_received(b"data") is None

    def test_a_stream_is_collected(self, loop, streams):
        ours, theirs = socket.socketpair()
        reader, writer = loop.run_until_complete(streams.open_connection(sock=ours))
        reader.itself, writer.itself = [reader, writer], writer
        waiting = reader.read(1)
        step(waiting)
        reader.waiting = waiting
        writer.close()
        theirs.close()
        run_turns(loop)
        gone = weakref.ref(reader)
        del reader, writer, waiting
        gc.collect()
        assert gone() is None

    def test_a_loop_that_makes_other_futures(self):
        class Loop(boucle.Loop):
            def create_future(self):
                return asyncio.Future(loop=self)

        loop = Loop()
        reader = boucle.StreamReader(loop=loop)
        task = loop.create_task(reader.readexactly(4))
        run_turns(loop)
        assert type(reader._waiter) is asyncio.Future
        reader.feed_data(b"data")
        assert loop.run_until_complete(task) == b"data"
        loop.close()


class TestWriting:
    def test_it_arrives(self, loop, connect):
        _, writer, theirs = connect()
        writer.write(b"one ")
        writer.write(bytearray(b"two "))
        writer.writelines([b"three ", b"four"])
        loop.run_until_complete(writer.drain())
        assert theirs.recv(100) == b"one two three four"
        assert writer.can_write_eof()
        writer.write_eof()
        run_turns(loop)
        assert theirs.recv(100) == b""

    def test_half_a_connection(self, loop, connect):
        reader, writer, theirs = connect()
        writer.write_eof()
        assert theirs.recv(100) == b""
        theirs.send(b"still here")
        assert loop.run_until_complete(reader.read(100)) == b"still here"

    def test_drain_does_not_wait_for_nothing(self, connect):
        _, writer, _ = connect()
        writer.write(b"data")
        assert step(writer.drain()) == (None, None)

    def test_drain_waits_for_room(self, loop, connect):
        _, writer, theirs = connect()
        writer.transport.set_write_buffer_limits(high=1)
        writer.write(bytes(4_000_000))
        first, second = loop.create_task(writer.drain()), loop.create_task(writer.drain())
        third = loop.create_task(writer.drain())
        run_turns(loop)
        third.cancel()
        run_turns(loop)
        assert (first.done(), second.done(), third.cancelled()) == (False, False, True)
        theirs.setblocking(False)
        while not first.done():
            with contextlib.suppress(BlockingIOError):
                theirs.recv(1_000_000)
            run_turns(loop)
        loop.run_until_complete(asyncio.gather(first, second))

    def test_drain_of_a_connection_that_is_lost(self, loop, connect):
        _, writer, _ = connect()
        writer.transport.set_write_buffer_limits(high=1)
        writer.write(bytes(4_000_000))
        task = loop.create_task(writer.drain())
        run_turns(loop)
        writer.transport.abort()
        loop.run_until_complete(task)
        for _ in range(2):
            with pytest.raises(ConnectionResetError, match="Connection lost"):
                loop.run_until_complete(writer.drain())

    def test_drain_of_a_writer_that_closes_yields_once(self, loop, connect):
        _, writer, _ = connect()
        writer.close()
        assert writer.is_closing()
        coroutine = writer.drain()
        assert step(coroutine) == (None, None)
        with pytest.raises(StopIteration):
            coroutine.send(None)

    def test_drain_raises_the_readers_exception(self, loop, connect):
        reader, writer, _ = connect()
        reader.set_exception(KeyError("reader"))
        with pytest.raises(KeyError, match="reader"):
            loop.run_until_complete(writer.drain())

    def test_a_writer_without_a_reader(self, loop, streams, connect):
        _, writer, _ = connect()
        other = streams.StreamWriter(writer.transport, writer.transport.get_protocol(), None, loop)
        assert step(other.drain()) == (None, None)
        other.close()

    def test_a_writer_of_another_protocol(self, loop, streams, connect):
        """One that has asyncio's mixin only, as some programs write."""
        _, writer, _ = connect()
        protocol = asyncio.streams.FlowControlMixin(loop=loop)
        other = streams.StreamWriter(writer.transport, protocol, None, loop)
        protocol.pause_writing()
        task = loop.create_task(other.drain())
        run_turns(loop)
        assert not task.done()
        protocol.resume_writing()
        loop.run_until_complete(task)
        other.close()

    def test_the_end_is_waited_for(self, loop, connect):
        _, writer, theirs = connect()
        assert writer.get_extra_info("socket").fileno() == writer.transport.get_extra_info("socket").fileno()
        assert writer.get_extra_info("nothing", "default") == "default"
        writer.write(b"last words")
        writer.close()
        loop.run_until_complete(writer.wait_closed())
        assert theirs.recv(100) == b"last words"
        assert theirs.recv(100) == b""

    def test_a_reset(self):
        async def observe(streams):
            made = asyncio.get_running_loop().create_future()
            server = await streams.start_server(lambda *ends: made.set_result(ends), "127.0.0.1", 0)
            client = socket.create_connection(server.sockets[0].getsockname())
            reader, writer = await made
            seen = []
            reading = asyncio.ensure_future(reader.read(10))
            await asyncio.sleep(0)
            client.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
            client.close()
            for wait in (reading, writer.drain(), writer.wait_closed(), reader.readline()):
                try:
                    seen.append(await wait)
                except ConnectionError as error:
                    seen.append((type(error), str(error)))
            server.close()
            await server.wait_closed()
            return seen

        assert both(observe)[0][0] is ConnectionResetError

    def test_one_that_is_forgotten(self):
        async def observe(streams):
            ours, theirs = socket.socketpair()
            with theirs, warnings.catch_warnings(record=True) as caught:
                warnings.simplefilter("always")
                reader, writer = await streams.open_connection(sock=ours)
                transport = writer.transport
                del reader, writer
                gc.collect()
                closing = transport.is_closing()
                transport.abort()
                await asyncio.sleep(0)
            return closing, [(one.category, str(one.message).split("transport=")[0]) for one in caught]

        both(observe)

    def test_a_server_whose_reader_is_forgotten(self):
        """asyncio keeps it until the connection is there, and closes it then."""

        async def observe(streams):
            loop = asyncio.get_running_loop()
            reports = []
            loop.set_exception_handler(lambda loop, context: reports.append(sorted(context)))
            reader = streams.StreamReader(loop=loop)
            protocol = streams.StreamReaderProtocol(reader, loop=loop)
            protocol._reject_connection = True
            ours, theirs = socket.socketpair()
            with theirs:
                await loop.create_connection(lambda: protocol, sock=ours)
                return await loop.sock_recv(theirs, 1) if theirs.setblocking(False) else None, reports

        assert len(both(observe)[1]) == 1


class TestServing:
    @pytest.mark.parametrize("kind", ["tcp", "unix"])
    def test_much_goes_both_ways(self, loop, streams, kind, tmp_path):
        data = bytes(range(256)) * 12_000

        async def echo(reader, writer):
            assert type(writer).__module__.startswith(streams.__name__)
            while part := await reader.read(100_000):
                writer.write(part)
                await writer.drain()
            writer.close()
            await writer.wait_closed()

        async def main():
            if kind == "tcp":
                server = await streams.start_server(echo, "127.0.0.1", 0)
                reader, writer = await streams.open_connection(*server.sockets[0].getsockname())
            else:
                server = await streams.start_unix_server(echo, tmp_path / "socket")
                reader, writer = await streams.open_unix_connection(tmp_path / "socket")
            reading = asyncio.ensure_future(reader.readexactly(len(data)))
            for begin in range(0, len(data), 70_000):
                writer.write(data[begin : begin + 70_000])
                await writer.drain()
            writer.write_eof()
            received = await reading
            rest = await reader.read()
            writer.close()
            await writer.wait_closed()
            server.close()
            await server.wait_closed()
            return received, rest

        received, rest = loop.run_until_complete(main())
        assert received == data
        assert rest == b""

    def test_a_limit_is_passed_on(self, loop, streams):
        made = loop.create_future()

        async def main():
            server = await streams.start_server(lambda *ends: made.set_result(ends), "127.0.0.1", 0, limit=100)
            client = await streams.open_connection(*server.sockets[0].getsockname(), limit=50)
            ends = await made
            limits = client[0]._limit, ends[0]._limit
            for _, writer in (client, ends):
                writer.close()
                await writer.wait_closed()
            server.close()
            return limits

        assert loop.run_until_complete(main()) == (50, 100)

    @pytest.mark.parametrize("way", ["raises", "is cancelled", "plain raises", "returns"])
    def test_a_callback_that_ends(self, way):
        async def observe(streams):
            loop = asyncio.get_running_loop()
            reports, writers = [], []
            loop.set_exception_handler(
                lambda loop, context: reports.append((context["message"], type(context.get("exception"))))
            )

            async def callback(reader, writer):
                writers.append(writer)
                if way == "raises":
                    raise KeyError("callback")
                if way == "is cancelled":
                    asyncio.current_task().cancel()
                    await asyncio.sleep(0)

            def plain(reader, writer):
                writers.append(writer)
                raise KeyError("callback")

            server = await streams.start_server(plain if way == "plain raises" else callback, "127.0.0.1", 0)
            _, client = await streams.open_connection(*server.sockets[0].getsockname())
            while not writers:
                await asyncio.sleep(0)
            for _ in range(5):
                await asyncio.sleep(0)
            closing = writers[0].is_closing()
            for writer in (client, *writers):
                writer.transport.abort()
            server.close()
            await asyncio.sleep(0)
            writers.clear()
            gc.collect()
            # A callback's report has the callback in its text.
            return closing, [(message.split(" ")[0], kind) for message, kind in reports]

        both(observe)

    @pytest.mark.skipif(not HAS_START_TLS, reason="from Python 3.11 on")
    def test_start_tls(self, loop, streams):
        async def serve(reader, writer):
            writer.write(await reader.readline())
            await writer.drain()
            await writer.start_tls(server_context())
            assert writer.get_extra_info("sslcontext") is not None
            writer.write(b"tls: " + await reader.readline())
            await writer.drain()
            writer.close()
            await writer.wait_closed()

        async def main():
            server = await streams.start_server(serve, "127.0.0.1", 0)
            reader, writer = await streams.open_connection(*server.sockets[0].getsockname())
            writer.write(b"plain\n")
            lines = [await reader.readline()]
            before = writer.transport
            await writer.start_tls(client_context(), server_hostname="localhost")
            assert writer.transport is not before
            writer.write(b"hello\n")
            await writer.drain()
            lines.extend([await reader.readline(), await reader.read()])
            writer.close()
            await writer.wait_closed()
            server.close()
            return lines

        assert loop.run_until_complete(main()) == [b"plain\n", b"tls: hello\n", b""]

    def test_tls_from_the_beginning(self, loop, streams, comparable_tls):
        async def echo(reader, writer):
            writer.write(await reader.readexactly(100_000))
            await writer.drain()
            writer.close()

        async def main():
            server = await streams.start_server(echo, "127.0.0.1", 0, ssl=server_context())
            address = server.sockets[0].getsockname()
            reader, writer = await streams.open_connection(*address, ssl=client_context(), server_hostname="localhost")
            writer.write(b"x" * 100_000)
            await writer.drain()
            data = await reader.read()
            writer.close()
            await writer.wait_closed()
            server.close()
            return data

        assert loop.run_until_complete(main()) == b"x" * 100_000
