"""boucle's own streams: what is written, and how a connection ends."""

import asyncio
import contextlib
import gc
import socket
import struct
import warnings

import pytest

import own_streams
from conftest import run_turns
from own_streams import both, step

streams = pytest.fixture(own_streams.streams)
connect = pytest.fixture(own_streams.connect)


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
