"""boucle's own streams: what they are, servers of them, and calls that do not fit."""

import asyncio
import gc
import inspect
import socket
import sys
import types

import pytest

import boucle
import own_streams
from own_streams import both, failure_of, forget, step
from tls_connections import client_context, server_context

HAS_START_TLS = sys.version_info >= (3, 11)
HANDS_ON = "StreamReaderProtocol" in asyncio.BaseEventLoop.start_tls.__code__.co_names
streams = pytest.fixture(own_streams.streams)
connect = pytest.fixture(own_streams.connect)
reader = pytest.fixture(own_streams.reader)


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

    def test_what_arrives_at_once_is_not_copied(self, own_loop):
        reader = boucle.StreamReader(loop=own_loop)
        for data in (b"all of it", b"and again"):
            reader.feed_data(data)
            assert step(reader.read(100))[1] is data

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

    @pytest.mark.skipif(not HANDS_ON, reason="this version loses what was read before")
    def test_a_server_that_goes_over_late_has_read_the_clients_first_words(self, loop, streams):
        async def serve(reader, writer):
            assert await reader.readexactly(1) == b"!"
            while not reader._buffer:
                await asyncio.sleep(0)
            await writer.start_tls(server_context())
            writer.write(await reader.readline())
            writer.close()
            await writer.wait_closed()

        async def main():
            server = await streams.start_server(serve, "127.0.0.1", 0)
            reader, writer = await streams.open_connection(*server.sockets[0].getsockname())
            writer.write(b"!")
            await writer.start_tls(client_context(), server_hostname="localhost")
            writer.write(b"hello\n")
            assert await asyncio.wait_for(reader.read(), 20) == b"hello\n"
            writer.close()
            await writer.wait_closed()
            server.close()

        loop.run_until_complete(main())

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
