"""boucle's own streams: who waits for data, when reading pauses, and what code of others may do to a reader."""

import asyncio
import gc
import socket
import weakref

import pytest

import boucle
import own_streams
from conftest import run_turns
from own_streams import failure_of, step

streams = pytest.fixture(own_streams.streams)
connect = pytest.fixture(own_streams.connect)
reader = pytest.fixture(own_streams.reader)


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

    def test_a_loss_between_waking_up_and_running_is_raised(self, own_loop):
        """asyncio's reader would wait for ever."""
        reader = boucle.StreamReader(loop=own_loop)
        task = own_loop.create_task(reader.readexactly(10))
        run_turns(own_loop)
        reader.feed_data(b"data")
        reader.set_exception(ConnectionResetError("gone"))
        with pytest.raises(ConnectionResetError, match="gone"):
            own_loop.run_until_complete(task)

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

    def test_a_buffer_that_is_kept(self, reader):
        reader.feed_data(b"one")
        buffer = reader._buffer
        assert step(reader.read(3)) == (None, b"one")
        reader.feed_data(b"two")
        assert buffer == b"two"
        buffer.extend(b" three")
        assert step(reader.readexactly(9)) == (None, b"two three")
        assert buffer == b""

    def test_a_buffer_of_another_kind(self, reader):
        reader.feed_data(b"old")
        coroutine = reader.read(10)
        reader._buffer = type("Buffer", (bytearray,), {})(b"new")
        assert step(coroutine) == (None, b"new")

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
