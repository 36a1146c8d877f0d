"""TLS: data, flow control, what is known of a connection, how a connection goes over to it."""

import asyncio
import ctypes
import gc
import itertools
import os
import ssl

import pytest

from tls_connections import (
    BIG,
    BufferedRecorder,
    BytearrayRecorder,
    Echo,
    Recorder,
    client_context,
    close,
    connect,
    run,
    server_context,
)

pytestmark = pytest.mark.usefixtures("comparable_tls")

# Data.


@pytest.mark.parametrize("protocol", [Recorder, BufferedRecorder])
def test_data_comes_back(loop, protocol):
    async def main():
        server, client = await connect(loop, Echo, protocol)
        client.transport.write(b"hello")
        await client.until(lambda: client.data == b"hello")
        assert await close(client, server) == [None, None]
        assert client.events == ["made", "data", *(["eof"] if "eof" in client.events else []), "lost"]

    run(loop, main())


@pytest.mark.parametrize("protocol", [Recorder, BufferedRecorder])
def test_much_data_goes_both_ways_at_once(loop, protocol):
    async def main():
        server, client = await connect(loop, protocol, protocol)
        there, back = os.urandom(BIG), os.urandom(BIG)
        client.transport.write(there)
        server.transport.write(back)
        await server.until(lambda: len(server.data) >= BIG)
        await client.until(lambda: len(client.data) >= BIG)
        assert server.data == there
        assert client.data == back
        await close(client, server)

    run(loop, main())


def test_any_buffer_of_a_buffered_protocol_is_filled(own_loop):
    async def main():
        server, client = await connect(own_loop, BytearrayRecorder)
        data = os.urandom(100_000)
        client.transport.write(data)
        await server.until(lambda: len(server.data) >= len(data))
        assert server.data == data
        await close(client, server)

    run(own_loop, main())


@pytest.mark.parametrize("make", [bytes, bytearray, lambda data: memoryview(data)[::1]])
def test_what_is_written_is_what_it_was_when_it_was_written(loop, make):
    async def main():
        server, client = await connect(loop)
        data = make(bytearray(b"first") * 100_000)
        client.transport.write(data)
        if not isinstance(data, bytes):
            # asyncio has encrypted it, we have copied it.
            data[:5] = b"later"
        client.transport.writelines([b"", b"second", bytearray(b"third"), memoryview(b"fourth")])
        client.transport.write(b"")
        await server.until(lambda: server.data.endswith(b"fourth"))
        assert server.data == b"first" * 100_000 + b"secondthirdfourth"
        await close(client, server)

    run(loop, main())


def test_small_pieces_keep_their_order_around_large_ones(loop):
    async def main():
        server, client = await connect(loop)
        pieces = [os.urandom(size) for size in (1, 16_383, 16_384, 16_385, 5, 5, 200_000, 5, 65_536, 65_537, 1, 2, 3)]
        client.transport.writelines(pieces)
        for piece in pieces:
            client.transport.write(piece)
        expected = b"".join(pieces) * 2
        await server.until(lambda: len(server.data) >= len(expected))
        assert server.data == expected
        await close(client, server)

    run(loop, main())


def test_write_refuses_what_is_not_bytes(loop):
    async def main():
        server, client = await connect(loop)
        with pytest.raises(TypeError, match="data: expecting a bytes-like instance, got str"):
            client.transport.write("text")
        with pytest.raises(NotImplementedError):
            client.transport.write_eof()
        assert not client.transport.can_write_eof()
        await close(client, server)

    run(loop, main())


def test_the_protocol_can_be_changed(loop):
    async def main():
        server, client = await connect(loop, Echo)
        other = Recorder(loop)
        other.connection_made(client.transport)
        client.transport.set_protocol(other)
        assert client.transport.get_protocol() is other
        client.transport.write(b"for the other")
        await other.until(lambda: other.data == b"for the other")
        assert not client.data
        await close(other, server)
        assert client.events == ["made"]

    run(loop, main())


def test_a_write_that_must_wait_for_the_peer_is_repeated_with_the_same_bytes(loop):
    attempts = []

    class Renegotiating(ssl.SSLObject):
        """Wants to read before it writes, now and then, as while the peer renegotiates; and writes little at a time."""

        waits = False

        def write(self, data):
            attempts.append(bytes(data))
            if self.waits:
                raise ssl.SSLWantReadError
            return super().write(memoryview(data)[:70_000])

    async def main():
        context = client_context()
        context.sslobject_class = Renegotiating
        server, client = await connect(loop, client=context)
        pieces = [b"one", b"two", os.urandom(100_000), b"three", os.urandom(20_000), b"four"]
        for piece in pieces:
            Renegotiating.waits = True
            client.transport.write(piece)
        assert client.transport.get_write_buffer_size() == sum(map(len, pieces))
        assert not server.data
        for former, attempt in itertools.pairwise(attempts):
            assert attempt.startswith(former)
        # What comes makes it try again.
        server.transport.write(b"go on")
        await client.until(lambda: client.data)
        assert client.transport.get_write_buffer_size() == sum(map(len, pieces))
        Renegotiating.waits = False
        server.transport.write(b"go on")
        await server.until(lambda: len(server.data) >= sum(map(len, pieces)))
        assert server.data == b"".join(pieces)
        assert client.transport.get_write_buffer_size() == 0
        await close(client, server)

    run(loop, main())


# Flow control.


def test_a_reader_that_pauses_stops_the_writer(loop):
    async def main():
        server, client = await connect(loop)
        server.transport.pause_reading()
        assert not server.transport.is_reading()
        # Whatever is written first goes down; then the transport below has enough.
        client.transport.write(bytes(10 * BIG))
        assert client.events == ["made"]
        client.transport.write(bytes(10 * BIG))
        assert client.events == ["made", "pause"]
        assert client.transport.get_write_buffer_size() > client.transport.get_write_buffer_limits()[1]
        assert not server.data
        server.transport.resume_reading()
        assert server.transport.is_reading()
        await client.until(lambda: "resume" in client.events)
        await server.until(lambda: len(server.data) == 20 * BIG)
        assert client.transport.get_write_buffer_size() == 0
        await close(client, server)

    run(loop, main())


def test_the_limits_of_buffers_are_asyncios(loop):
    async def main():
        server, client = await connect(loop)
        transport = client.transport
        assert transport.get_write_buffer_limits() == (128 * 1024, 512 * 1024)
        assert transport.get_read_buffer_limits() == (64 * 1024, 256 * 1024)
        transport.set_write_buffer_limits(low=10)
        assert transport.get_write_buffer_limits() == (10, 40)
        transport.set_read_buffer_limits(high=100)
        assert transport.get_read_buffer_limits() == (25, 100)
        with pytest.raises(ValueError, match=r"high \(1\) must be >= low \(2\) must be >= 0"):
            transport.set_write_buffer_limits(1, 2)
        assert transport.get_read_buffer_size() == 0
        transport.set_write_buffer_limits(0)
        transport.set_write_buffer_limits(high=None, low=None)
        await close(client, server)

    run(loop, main())


def test_while_reading_is_paused_no_more_than_the_limit_is_buffered(loop):
    async def main():
        server, client = await connect(loop)
        server.transport.set_read_buffer_limits(100_000, 10_000)
        server.transport.pause_reading()
        client.transport.write(bytes(10 * BIG))
        while server.transport.get_read_buffer_size() < 100_000:
            await asyncio.sleep(0)
        for _ in range(100):
            await asyncio.sleep(0)
        # One read of asyncio's takes 256 KiB.
        assert server.transport.get_read_buffer_size() <= 100_000 + 262_144
        server.transport.resume_reading()
        await server.until(lambda: len(server.data) == 10 * BIG)
        await close(client, server)

    run(loop, main())


# What is known of a connection.


def test_extra_info(loop):
    async def main():
        context = client_context()
        server, client = await connect(loop, client=context)
        info = client.transport.get_extra_info
        assert info("sslcontext") is context
        assert info("peercert")["subject"] == ((("commonName", "localhost"),),)
        assert info("cipher") == info("ssl_object").cipher()
        assert info("compression") is None
        assert isinstance(info("ssl_object"), ssl.SSLObject)
        assert info("peername") == server.transport.get_extra_info("sockname")
        assert info("socket") is not None
        assert info("nothing") is None
        assert info("nothing", "default") == "default"
        await close(client, server)
        assert info("sslcontext", None) in (context, None)

    run(loop, main())


def test_sni_and_alpn(loop):
    asked = []

    async def main():
        there, here = server_context(), client_context()
        there.set_alpn_protocols(["h2", "http/1.1"])
        here.set_alpn_protocols(["http/1.1"])
        there.sni_callback = lambda sslobj, name, context: asked.append(name)
        server, client = await connect(loop, server=there, client=here, server_hostname="other.localhost")
        assert client.transport.get_extra_info("ssl_object").selected_alpn_protocol() == "http/1.1"
        assert server.transport.get_extra_info("ssl_object").selected_alpn_protocol() == "http/1.1"
        await close(client, server)

    run(loop, main())
    assert asked == ["other.localhost"]


def test_to_everybody_the_classes_are_asyncios(own_loop):
    async def main():
        server, client = await connect(own_loop)
        transport = client.transport
        protocol = transport._ssl_protocol
        assert isinstance(transport, asyncio.Transport)
        assert isinstance(transport, asyncio.sslproto._SSLProtocolTransport)
        assert isinstance(protocol, asyncio.BufferedProtocol)
        assert isinstance(protocol, asyncio.sslproto.SSLProtocol)
        assert transport._start_tls_compatible
        assert transport._sendfile_compatible is asyncio.constants._SendfileMode.FALLBACK
        assert transport._loop is protocol._loop is own_loop
        assert protocol._app_transport is transport
        assert protocol._app_protocol is client
        assert protocol._sslcontext is transport.get_extra_info("sslcontext")
        assert protocol._sslobj is transport.get_extra_info("ssl_object")
        assert protocol._extra["ssl_object"] is protocol._sslobj
        assert protocol._server_hostname == "localhost"
        assert not protocol._server_side
        assert server.transport._ssl_protocol._server_side
        assert str(protocol._state).endswith("WRAPPED")
        assert not transport._closed
        await close(client, server)
        assert transport._closed
        assert protocol._transport is None
        assert str(protocol._state).endswith("UNWRAPPED")

    run(own_loop, main())


def test_an_unclosed_transport_says_so(own_loop):
    async def main():
        server, client = await connect(own_loop)
        protocol_class = type(client.transport._ssl_protocol)
        await close(server, client)
        made = [protocol_class(own_loop, Recorder(own_loop), client_context(), None, server_hostname="localhost")]

        def drop():
            made.clear()
            gc.collect()

        with pytest.warns(ResourceWarning, match=r"unclosed transport <boucle\._boucle\.SSLTransport object"):
            drop()

    run(own_loop, main())


class Mallinfo(ctypes.Structure):
    """What glibc tells of the memory that it has given out."""

    _fields_ = [(name, ctypes.c_size_t) for name in ("arena", "ordblks", "smblks", "hblks", "hblkhd")]
    _fields_ += [(name, ctypes.c_size_t) for name in ("usmblks", "fsmblks", "uordblks", "fordblks", "keepcost")]


@pytest.mark.skipif(not hasattr(ctypes.CDLL(None), "mallinfo2"), reason="needs glibc 2.33")
@pytest.mark.parametrize("says_something", [False, True])
def test_a_client_that_has_only_listened_keeps_no_buffer_for_writing(own_loop, says_something):
    mallinfo = ctypes.CDLL(None).mallinfo2
    mallinfo.restype = Mallinfo

    async def main():
        connections = [await connect(own_loop) for _ in range(10)]
        for server, client in connections:
            if says_something:
                server.transport.write(b"hello")
                await client.until(lambda client=client: client.data)
            while not client.transport.get_extra_info("ssl_object").session.has_ticket:
                await asyncio.sleep(0)
        before = mallinfo().uordblks
        for _, client in connections:
            # OpenSSL frees its buffer of 17 KB after each write.
            client.transport.get_extra_info("ssl_object").write(b"")
        assert before - mallinfo().uordblks < 16_000
        await close(*itertools.chain.from_iterable(connections))

    run(own_loop, main())


# start_tls.


async def upgrade(loop, server, client, **options):
    """Go over to TLS on both sides of a connection."""
    transports = await asyncio.gather(
        loop.start_tls(server.transport, server, server_context(), server_side=True),
        loop.start_tls(client.transport, client, client_context(), server_hostname="localhost", **options),
    )
    server.transport, client.transport = transports


async def plain_pair(loop, kind, tmp_path):
    """A connection to ourselves without TLS."""
    server, client = Echo(loop), Recorder(loop)
    if kind == "tcp":
        listener = await loop.create_server(lambda: server, "127.0.0.1", 0)
        await loop.create_connection(lambda: client, *listener.sockets[0].getsockname())
    else:
        path = str(tmp_path / "socket")
        listener = await loop.create_unix_server(lambda: server, path)
        await loop.create_unix_connection(lambda: client, path)
    await server.made
    listener.close()
    return server, client


@pytest.mark.parametrize("kind", ["tcp", "unix"])
@pytest.mark.parametrize("layers", [1, 2, 3])
def test_start_tls(loop, kind, layers, tmp_path):
    async def main():
        server, client = await plain_pair(loop, kind, tmp_path)
        for _ in range(layers):
            await upgrade(loop, server, client)
        data = os.urandom(400_000)
        client.transport.write(data)
        await client.until(lambda: len(client.data) >= len(data))
        assert client.data == data
        assert client.events.count("made") == 1
        assert await close(client) == [None]
        assert await server.lost is None

    run(loop, main())


def test_start_tls_wants_a_context_and_a_transport_that_can(loop, tmp_path):
    async def main():
        server, client = await plain_pair(loop, "tcp", tmp_path)
        with pytest.raises(TypeError, match=r"sslcontext is expected to be an instance of ssl\.SSLContext"):
            await loop.start_tls(client.transport, client, None)
        with pytest.raises(TypeError, match="is not supported by start_tls"):
            await loop.start_tls(None, client, client_context())
        await close(client, server)

    run(loop, main())


def test_start_tls_on_a_transport_that_closes_meanwhile_returns_none(comparable_tls, loop, tmp_path):
    async def main():
        server, client = await plain_pair(loop, "tcp", tmp_path)
        plain = client.transport
        upgrading = loop.create_task(loop.start_tls(plain, client, client_context(), server_hostname="localhost"))
        for _ in range(3):
            await asyncio.sleep(0)
        plain.abort()
        assert await upgrading is None
        await server.lost

    run(loop, main())
