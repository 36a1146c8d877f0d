"""TLS: how connections end, in time, too late, or not at all, and what they leave behind."""

import asyncio
import gc
import logging
import os
import socket
import ssl
import weakref
from asyncio import sslproto

import pytest

from conftest import run_turns
from tls_connections import (
    BIG,
    SHUTDOWN_KEYWORD,
    Echo,
    Recorder,
    client_context,
    close,
    connect,
    run,
    server_context,
)

pytestmark = pytest.mark.usefixtures("comparable_tls")

# The end.


def test_a_transport_closes_with_the_one_below_where_python_says_so(loop):
    async def main():
        server, client = await connect(loop)
        client.transport._ssl_protocol._transport.close()
        assert client.transport.is_closing() == hasattr(sslproto.SSLProtocol, "_is_transport_closing")
        await client.lost
        assert client.transport.is_closing()
        await server.lost

    run(loop, main())


def test_the_goodbye_has_its_time_until_the_connection_is_lost_where_python_says_so(loop):
    goes_on = "call_later" in getattr(sslproto.SSLProtocol, "_on_shutdown_complete", lambda: None).__code__.co_names
    seen = []

    class Looking(Recorder):
        def eof_received(self):
            super().eof_received()
            protocol = self.transport._ssl_protocol
            loop.call_soon(lambda: seen.append(protocol._shutdown_timeout_handle is not None))

    async def main():
        server, client = await connect(loop, Looking)
        await close(client)
        await server.lost
        assert seen == [goes_on]

    run(loop, main())


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


def test_a_large_write_to_a_peer_that_is_gone_is_no_flood_of_warnings(loop, caplog):
    async def main():
        server, client = await connect(loop)
        # The client does not see the end before it writes.
        client.transport._ssl_protocol._transport.pause_reading()
        server.transport.abort()
        await server.lost
        with caplog.at_level(logging.WARNING, "asyncio"):
            for _ in range(3):
                client.transport.write(bytes(BIG))
        await client.lost
        assert not caplog.records

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
@pytest.mark.parametrize("option", ["ssl_handshake_timeout", *(["ssl_shutdown_timeout"] if SHUTDOWN_KEYWORD else [])])
def test_a_timeout_is_positive(loop, silent_server, option, value):
    async def main():
        transport, _ = await loop.create_connection(asyncio.Protocol, *silent_server)
        with pytest.raises(ValueError, match=f"{option} should be a positive number, got {value}"):
            await loop.start_tls(transport, asyncio.Protocol(), client_context(), **{option: value})
        transport.abort()
        await asyncio.sleep(0)

    run(loop, main())


@pytest.mark.skipif(not SHUTDOWN_KEYWORD, reason="connect_accepted_socket() takes no ssl_shutdown_timeout")
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


def test_a_connection_whose_certificate_is_refused_needs_no_collector(own_loop):
    async def refused(address):
        plain, protocol = await own_loop.create_connection(asyncio.Protocol, *address)
        try:
            await own_loop.start_tls(plain, protocol, ssl.create_default_context(), server_hostname="localhost")
        except ssl.SSLCertVerificationError:
            return weakref.ref(plain)

    async def main():
        listener = await own_loop.create_server(lambda: Recorder(own_loop), "127.0.0.1", 0, ssl=server_context())
        left = await refused(listener.sockets[0].getsockname())
        listener.close()
        return left

    gc.collect()
    gc.disable()
    try:
        assert run(own_loop, main())() is None
    finally:
        gc.enable()


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
