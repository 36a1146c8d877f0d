"""TLS: what a connection does, and how it ends. certificates/openssl.cnf says how the certificate was made."""

import asyncio
import contextvars
import gc
import logging
import os
import socket
import ssl
import sys
import weakref

import pytest

import boucle
from conftest import ROOT, run_turns

CERTIFICATES = ROOT / "tests" / "certificates"
BIG = 3_000_000

# asyncio's older TLS loses data and callbacks that its newer one, and ours, do not.
since_3_11 = pytest.mark.skipif(sys.version_info < (3, 11), reason="asyncio's TLS before 3.11 behaves otherwise")


def server_context():
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(CERTIFICATES / "certificate.pem", CERTIFICATES / "key.pem")
    return context


def client_context():
    return ssl.create_default_context(cafile=CERTIFICATES / "certificate.pem")


class Recorder(asyncio.Protocol):
    """Notes what it is called with. `lost` is done when the connection is."""

    def __init__(self, loop):
        self.loop = loop
        self.events = []
        self.data = bytearray()
        self.transport = None
        self.made = loop.create_future()
        self.lost = loop.create_future()
        self.changed = asyncio.Event() if sys.version_info >= (3, 10) else None

    def connection_made(self, transport):
        self.events.append("made")
        self.transport = transport
        if not self.made.done():
            self.made.set_result(None)

    def data_received(self, data):
        assert type(data) is bytes
        assert data
        if self.events[-1] != "data":
            self.events.append("data")
        self.data += data
        self.changed.set()

    def eof_received(self):
        self.events.append("eof")
        self.changed.set()

    def pause_writing(self):
        self.events.append("pause")
        self.changed.set()

    def resume_writing(self):
        self.events.append("resume")
        self.changed.set()

    def connection_lost(self, exc):
        self.events.append("lost")
        assert not self.lost.done(), "connection_lost was called twice"
        self.lost.set_result(exc)
        self.changed.set()

    async def until(self, condition):
        while not condition():
            self.changed.clear()
            await self.changed.wait()


class BufferedRecorder(Recorder, asyncio.BufferedProtocol):
    """The same with a buffer of its own, which is smaller than a record."""

    def __init__(self, loop):
        super().__init__(loop)
        self.buffer = bytearray(1000)

    def get_buffer(self, size_hint):
        return memoryview(self.buffer)

    def buffer_updated(self, count):
        assert 0 < count <= len(self.buffer)
        self.data_received(bytes(self.buffer[:count]))


class BytearrayRecorder(BufferedRecorder):
    """The same with a buffer that is no view, of which asyncio fills a copy."""

    def get_buffer(self, size_hint):
        return self.buffer


class Echo(Recorder):
    def data_received(self, data):
        super().data_received(data)
        self.transport.write(data)


def run(loop, main):
    """Run a coroutine, but not for ever."""
    return loop.run_until_complete(asyncio.wait_for(main, 30))


async def connect(loop, server_protocol=Recorder, client_protocol=Recorder, *, server=None, client=None, **options):
    """A connection to ourselves. Returns the protocols of its server and of its client; both are connected."""
    accepted = []

    def accept():
        accepted.append(server_protocol(loop))
        return accepted[-1]

    listener = await loop.create_server(accept, "127.0.0.1", 0, ssl=server or server_context())
    port = listener.sockets[0].getsockname()[1]
    options = {"server_hostname": "localhost", **options}
    _, connected = await loop.create_connection(
        lambda: client_protocol(loop), "127.0.0.1", port, ssl=client or client_context(), **options
    )
    await accepted[0].made
    listener.close()
    return accepted[0], connected


async def close(*protocols):
    """Close connections, and wait until they are lost."""
    for protocol in protocols:
        protocol.transport.close()
    return [await protocol.lost for protocol in protocols]


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

    run(loop, main()) if sys.version_info >= (3, 11) or isinstance(loop, boucle.Loop) else None


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


# Flow control.


@since_3_11
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


@since_3_11
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


@since_3_11
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


# The end.


def test_what_was_written_before_close_arrives(loop):
    async def main():
        server, client = await connect(loop)
        client.transport.write(bytes(BIG))
        client.transport.close()
        assert client.transport.is_closing()
        assert await server.lost is None
        assert await client.lost is None
        assert len(server.data) == BIG
        assert server.events == ["made", "data", "eof", "lost"]

    run(loop, main())


def test_close_says_goodbye(loop):
    # The peer's SSLObject would raise at an end without close_notify.
    ours, theirs = socket.socketpair()
    theirs.settimeout(10)
    context = client_context()

    def peer():
        with context.wrap_socket(theirs, server_hostname="localhost", suppress_ragged_eofs=False) as sock:
            return sock.recv(100), sock.recv(100)

    async def main():
        protocol = Recorder(loop)
        answer = loop.run_in_executor(None, peer)
        await loop.connect_accepted_socket(lambda: protocol, ours, ssl=server_context())
        protocol.transport.write(b"bye")
        protocol.transport.close()
        assert await answer == (b"bye", b"")
        await protocol.lost

    run(loop, main())


def test_abort_loses_the_connection_once(loop):
    async def main():
        server, client = await connect(loop)
        client.transport.write(bytes(20 * BIG))
        client.transport.abort()
        client.transport.abort()
        client.transport.close()
        assert client.transport.is_closing()
        assert "lost" not in client.events
        assert await client.lost is None
        await server.lost
        run_turns_left = [await asyncio.sleep(0) for _ in range(3)]
        assert client.events.count("lost") == server.events.count("lost") == 1
        return run_turns_left

    run(loop, main())


@since_3_11
def test_writes_after_close_are_ignored_and_logged_from_the_sixth_on(loop, caplog):
    async def main():
        server, client = await connect(loop)
        await close(client, server)
        caplog.clear()
        for _ in range(4):
            client.transport.write(b"late")
        assert not caplog.records
        client.transport.write(b"late")
        assert [record.getMessage() for record in caplog.records] == ["SSL connection is closed"]
        client.transport.writelines([b"late"])
        assert len(caplog.records) == 2

    with caplog.at_level(logging.WARNING, "asyncio"):
        # The first close() after the peer's one would take asyncio's transport apart.
        run(loop, main())


def test_data_that_waits_for_a_paused_reader_is_delivered_after_the_peer_has_gone(loop):
    async def main():
        server, client = await connect(loop)
        server.transport.pause_reading()
        client.transport.write(b"last words")
        client.transport.close()
        for _ in range(10):
            await asyncio.sleep(0)
        assert server.events == ["made"]
        server.transport.resume_reading()
        await server.until(lambda: "lost" in server.events)
        assert server.data == b"last words"
        assert server.events == ["made", "data", "eof", "lost"]
        await client.lost

    run(loop, main())


class Flood(Recorder):
    """Sends as long as the connection lives, and does not look at what comes."""

    def connection_made(self, transport):
        super().connection_made(transport)
        self.written = 0
        self.paused = False
        self.send()

    def send(self):
        if not self.paused and not self.lost.done():
            self.written += 10_000
            self.transport.write(bytes(10_000))
            self.loop.call_soon(self.send)

    def pause_writing(self):
        self.paused = True

    def resume_writing(self):
        self.paused = False
        self.send()

    def eof_received(self):
        pass


def plain_flood(sock, context, stop):
    """A peer that sends and sends, and never says goodbye. How much it got rid of before the connection was gone."""
    sent = 0
    with context.wrap_socket(sock, server_hostname="localhost") as connection:
        try:
            while not stop():
                sent += connection.send(bytes(10_000))
        except OSError:
            pass
    return sent


def test_close_does_not_go_on_downloading(own_loop):
    ours, theirs = socket.socketpair()
    theirs.settimeout(10)
    context = client_context()
    received_after_close = []

    class Closing(Recorder):
        def data_received(self, data):
            if self.transport.is_closing():
                received_after_close.append(data)
            self.transport.close()

    async def main():
        protocol = Closing(own_loop)
        flood = own_loop.run_in_executor(None, plain_flood, theirs, context, protocol.lost.done)
        # A shutdown timeout of a minute: what ends the connection is what has come, not that.
        await own_loop.connect_accepted_socket(
            lambda: protocol, ours, ssl=server_context(), **({"ssl_shutdown_timeout": 60} if SHUTDOWN_KEYWORD else {})
        )
        assert await protocol.lost is None
        # What was delivered, what may be dropped, one read, and what fits into the sockets between us.
        sizes = ours_and_theirs_buffers
        assert await flood < 256 * 1024 + 2 * 65_536 + sum(sizes)
        assert not received_after_close

    ours_and_theirs_buffers = [
        ours.getsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF),
        theirs.getsockopt(socket.SOL_SOCKET, socket.SO_SNDBUF),
    ]
    run(own_loop, main())


SHUTDOWN_KEYWORD = sys.version_info >= (3, 11)


def test_what_comes_after_close_is_dropped_and_the_peer_hears_goodbye(own_loop):
    async def main():
        server, client = await connect(own_loop)
        client.transport.write(b"x" * 1000)
        await server.until(lambda: server.data)
        # Under way in both directions at once.
        client.transport.write(b"y" * 100_000)
        server.transport.close()
        client.transport.write(b"z" * 100_000)
        assert await server.lost is None
        assert await client.lost is None
        assert server.data == b"x" * 1000
        assert client.events[-2:] == ["eof", "lost"]

    run(own_loop, main())


def test_a_paused_reader_that_closes_gets_nothing_more_and_no_error(own_loop):
    async def main():
        server, client = await connect(own_loop)
        server.transport.pause_reading()
        client.transport.write(b"unread")
        while not server.transport.get_read_buffer_size():
            await asyncio.sleep(0)
        assert await close(server) == [None]
        assert await client.lost is None
        assert not server.data

    run(own_loop, main())


def test_an_end_without_goodbye_is_an_end(loop):
    async def main():
        server, client = await connect(loop)
        client.transport.write(b"some")
        await server.until(lambda: server.data)
        sock = client.transport.get_extra_info("socket")
        os_level = socket.socket(fileno=os.dup(sock.fileno()))
        os_level.shutdown(socket.SHUT_WR)
        os_level.close()
        assert await server.lost is None
        assert server.events == ["made", "data", "eof", "lost"]
        client.transport.abort()
        await client.lost

    run(loop, main())


# Timeouts.


@pytest.fixture
def silent_server():
    with socket.create_server(("127.0.0.1", 0)) as server:
        yield server.getsockname()


def test_a_handshake_has_its_time(loop, silent_server):
    async def main():
        with pytest.raises(ConnectionAbortedError, match=r"SSL handshake is taking longer than 0\.01 seconds"):
            await loop.create_connection(
                lambda: Recorder(loop), *silent_server, ssl=client_context(), ssl_handshake_timeout=0.01
            )

    run(loop, main())


@pytest.mark.parametrize("value", [0, -1.5])
@pytest.mark.parametrize("option", ["ssl_handshake_timeout", "ssl_shutdown_timeout"])
def test_a_timeout_is_positive(own_loop, option, value):
    with pytest.raises(ValueError, match=f"{option} should be a positive number, got {value}"):
        boucle._boucle.SSLProtocol(own_loop, None, client_context(), None, **{option: value})


@since_3_11
def test_a_shutdown_has_its_time(loop):
    ours, theirs = socket.socketpair()
    theirs.settimeout(10)
    context = client_context()

    def peer():
        sock = context.wrap_socket(theirs, server_hostname="localhost")
        sock.recv(10)
        return sock  # and never an answer to close_notify

    async def main():
        protocol = Recorder(loop)
        answer = loop.run_in_executor(None, peer)
        await loop.connect_accepted_socket(lambda: protocol, ours, ssl=server_context(), ssl_shutdown_timeout=0.01)
        protocol.transport.write(b"x")
        sock = await answer
        protocol.transport.close()
        assert isinstance(await protocol.lost, asyncio.TimeoutError)
        sock.close()

    run(loop, main())


def test_a_handshake_that_is_cancelled_leaves_nothing(loop, silent_server):
    async def main(steps):
        task = loop.create_task(loop.create_connection(lambda: protocol, *silent_server, ssl=client_context()))
        for _ in range(steps):
            await asyncio.sleep(0)
        task.cancel()
        with pytest.raises(asyncio.CancelledError):
            await task

    descriptors = None
    for steps in range(12):
        protocol = Recorder(loop)
        run(loop, main(steps))
        run_turns(loop, 5)
        assert protocol.events == []
        descriptors = descriptors or len(os.listdir("/proc/self/fd"))
        assert len(os.listdir("/proc/self/fd")) == descriptors


def test_a_certificate_that_nobody_vouches_for_is_refused(loop):
    async def main():
        failed = loop.create_future()
        loop.set_exception_handler(lambda loop, context: None)
        listener = await loop.create_server(lambda: Recorder(loop), "127.0.0.1", 0, ssl=server_context())
        address = listener.sockets[0].getsockname()
        with pytest.raises(ssl.SSLCertVerificationError):
            await loop.create_connection(
                lambda: Recorder(loop), *address, ssl=ssl.create_default_context(), server_hostname="localhost"
            )
        with pytest.raises(ssl.SSLCertVerificationError):
            await loop.create_connection(
                lambda: Recorder(loop), *address, ssl=client_context(), server_hostname="elsewhere"
            )
        listener.close()
        failed.cancel()

    run(loop, main())
    run_turns(loop, 5)


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
        await close(server, client)
        made = [boucle._boucle.SSLProtocol(own_loop, Recorder(own_loop), client_context(), None)]

        def drop():
            made.clear()
            gc.collect()

        with pytest.warns(ResourceWarning, match=r"unclosed transport <boucle\._boucle\.SSLTransport object"):
            drop()

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
@pytest.mark.parametrize("layers", [1, pytest.param(2, marks=since_3_11), pytest.param(3, marks=since_3_11)])
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


def test_start_tls_on_a_transport_that_closes_meanwhile_fails(own_loop, tmp_path):
    async def main():
        server, client = await plain_pair(own_loop, "tcp", tmp_path)
        plain = client.transport
        upgrading = own_loop.create_task(
            own_loop.start_tls(plain, client, client_context(), server_hostname="localhost")
        )
        for _ in range(3):
            await asyncio.sleep(0)
        plain.abort()
        with pytest.raises(ConnectionAbortedError):
            await upgrading
        await server.lost

    run(own_loop, main())


# Callbacks.


def test_each_callback_runs_in_the_context_in_which_the_connection_was_made(own_loop):
    variable = contextvars.ContextVar("variable", default="none")
    seen = []

    class Seeing(Recorder):
        def connection_made(self, transport):
            seen.append(("made", variable.get()))
            variable.set("set in connection_made")
            super().connection_made(transport)

        def data_received(self, data):
            seen.append(("data", variable.get()))
            super().data_received(data)

        def eof_received(self):
            seen.append(("eof", variable.get()))
            super().eof_received()

        def pause_writing(self):
            seen.append(("pause", variable.get()))
            super().pause_writing()

        def resume_writing(self):
            seen.append(("resume", variable.get()))
            super().resume_writing()

        def connection_lost(self, exc):
            seen.append(("lost", variable.get()))
            super().connection_lost(exc)

    async def main():
        variable.set("set before")
        server, client = await connect(own_loop, Echo, Seeing)
        assert variable.get() == "set before"
        variable.set("set later")
        for _ in range(4):
            client.transport.write(bytes(BIG))
        await client.until(lambda: len(client.data) == 4 * BIG)
        server.transport.close()
        await client.lost

    run(own_loop, main())
    assert seen[0] == ("made", "set before")
    assert {event for event, _ in seen} == {"made", "data", "eof", "pause", "resume", "lost"}
    assert {value for _, value in seen[1:]} == {"set in connection_made"}


class MistakeError(Exception):
    """What a protocol raises here."""


@pytest.mark.parametrize("where", ["data_received", "eof_received", "pause_writing", "connection_lost"])
def test_an_exception_of_the_protocol_is_reported_and_the_connection_ends_once(factory, where):
    loop = factory()
    reports = []
    loop.set_exception_handler(lambda loop, context: reports.append(context))

    async def main():
        server, client = await connect(loop)

        def fail(*args):
            if where == "connection_lost":
                Recorder.connection_lost(server, *args)
            raise MistakeError

        setattr(server, where, fail)
        if where == "pause_writing":
            server.transport.write(bytes(5 * BIG))
            server.transport.write(bytes(BIG))
            server.transport.abort()
        client.transport.write(b"data")
        client.transport.close()
        await server.lost
        await client.lost

    run(loop, main())
    run_turns(loop, 5)
    loop.close()
    assert [type(report["exception"]) for report in reports] == [MistakeError]


@pytest.mark.parametrize("interrupt", [KeyboardInterrupt, SystemExit])
def test_what_ends_the_program_is_raised(loop, interrupt):
    async def main():
        nonlocal server, client
        server, client = await connect(loop)

    def fail(data):
        raise interrupt

    server = client = None
    run(loop, main())
    server.data_received = fail
    client.transport.write(b"data")
    with pytest.raises(interrupt):
        loop.run_until_complete(asyncio.sleep(10))
    server.transport.abort()
    client.transport.abort()
    run_turns(loop, 5)


ACTIONS = ["close", "abort", "pause_reading", "write_and_close", "set_protocol", "close_twice"]


@pytest.mark.parametrize("action", ACTIONS)
@pytest.mark.parametrize("where", ["connection_made", "data_received", "eof_received", "pause_writing"])
def test_a_protocol_may_do_anything_in_any_callback(loop, where, action):
    others = []

    def act(protocol):
        transport = protocol.transport
        if action == "write_and_close":
            transport.write(bytes(100_000))
        elif action == "set_protocol":
            others.append(Recorder(protocol.loop))
            others[-1].connection_made(transport)
            transport.set_protocol(others[-1])
        elif action == "close_twice":
            transport.close()
        elif action != "close":
            getattr(transport, action)()
        if "close" in action:
            transport.close()

    class Acting(Recorder):
        def connection_made(self, transport):
            super().connection_made(transport)
            if where == "connection_made":
                act(self)

        def data_received(self, data):
            super().data_received(data)
            if where == "data_received":
                act(self)

        def eof_received(self):
            super().eof_received()
            if where == "eof_received":
                act(self)

        def pause_writing(self):
            super().pause_writing()
            if where == "pause_writing":
                act(self)

    async def main():
        server, client = await connect(loop, Acting, Recorder)
        if where == "pause_writing":
            server.transport.write(bytes(2 * BIG))
            server.transport.write(bytes(BIG))
        client.transport.write(b"data")
        if not client.lost.done():
            client.transport.close()
        if action == "pause_reading":
            server.transport.abort()
        await client.lost
        heard = {id(one): one for one in [server, *others]}.values()
        await asyncio.wait([one.lost for one in heard], return_when=asyncio.FIRST_COMPLETED)
        assert sum(one.events.count("lost") for one in heard) == 1

    run(loop, main()) if sys.version_info >= (3, 11) or isinstance(loop, boucle.Loop) else None


def test_a_write_from_inside_of_a_write_keeps_the_order(own_loop):
    async def main():
        server, client = await connect(own_loop)
        transport = client.transport
        transport.set_write_buffer_limits(0)
        pauses = []

        def pause_writing():
            if len(pauses) < 5:
                pauses.append(None)
                transport.write(b"inner%d" % len(pauses))

        client.pause_writing = pause_writing
        for number in range(10):
            transport.write(b"outer%d" % number)
        await server.until(lambda: b"outer9" in server.data)
        transport.close()
        await server.lost
        for number in range(10):
            assert server.data.count(b"outer%d" % number) == 1
        assert server.data.index(b"outer0") < server.data.index(b"outer9")
        assert server.data.count(b"inner") == len(pauses)

    run(own_loop, main())


def test_streams_and_sendfile(loop, tmp_path):
    content = os.urandom(300_000)
    path = tmp_path / "file"
    path.write_bytes(content)

    async def serve(reader, writer):
        with path.open("rb") as file:
            await loop.sendfile(writer.transport, file)
        writer.close()

    async def main():
        server = await asyncio.start_server(serve, "127.0.0.1", 0, ssl=server_context())
        address = server.sockets[0].getsockname()
        reader, writer = await asyncio.open_connection(*address, ssl=client_context(), server_hostname="localhost")
        assert await reader.read() == content
        writer.close()
        await writer.wait_closed()
        server.close()

    run(loop, main())


# Lifetime.


def test_connections_leave_nothing_behind(own_loop):
    contexts = server_context(), client_context()

    async def once():
        server, client = await connect(own_loop, Echo, server=contexts[0], client=contexts[1])
        client.transport.write(b"x" * 1000)
        await client.until(lambda: len(client.data) == 1000)
        client.transport.close()
        await asyncio.gather(client.lost, server.lost)

    def count():
        gc.collect()
        return len(gc.get_objects()), len(os.listdir("/proc/self/fd"))

    async def main(times):
        for _ in range(times):
            await once()

    run(own_loop, main(10))
    objects, descriptors = count()
    run(own_loop, main(200))
    now_objects, now_descriptors = count()
    assert now_descriptors == descriptors
    assert now_objects - objects < 100


def test_a_lost_connection_needs_no_collector(own_loop):
    async def main():
        context = client_context()
        server, client = await connect(own_loop, client=context)
        watched = [weakref.ref(client.transport), weakref.ref(client.transport._ssl_protocol), weakref.ref(context)]
        await close(client, server)
        client.transport = server.transport = None
        await asyncio.sleep(0)
        del client, server, context
        return watched

    gc.collect()
    gc.disable()
    try:
        watched = run(own_loop, main())
        run_turns(own_loop, 3)
        assert [one() for one in watched] == [None, None, None]
    finally:
        gc.enable()


def test_a_callback_that_is_a_method_of_c_does_not_keep_its_object(own_loop):
    class Bytes(bytearray):
        """Can be referred to weakly."""

    data = Bytes(b"abc")
    watched = weakref.ref(data)
    own_loop.call_soon(data.zfill, 10)
    run_turns(own_loop, 2)
    del data
    assert watched() is None
