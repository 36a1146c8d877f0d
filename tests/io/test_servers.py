"""Servers: what they listen on, when they serve, how they end."""

import asyncio
import contextlib
import os
import socket
import stat
import subprocess
import sys
import warnings
from pathlib import Path

import pytest

from conftest import FACTORIES
from connected import PATIENCE, Recorder, collect, reports_of, settle, until

PROGRAM = Path(__file__).with_name("out_of_descriptors.py")
V6 = socket.has_ipv6
with contextlib.suppress(OSError), socket.socket(socket.AF_INET6) as probe:
    V6 = False
    probe.bind(("::1", 0))
    V6 = True
needs_v6 = pytest.mark.skipif(not V6, reason="this machine has no IPv6 loopback")


class Site:
    """A server whose protocols are kept."""

    def __init__(self, loop, **arguments):
        self.loop = loop
        self.protocols = []
        arguments = {"host": "127.0.0.1", "port": 0} | arguments
        self.server = loop.run_until_complete(loop.create_server(self.make, **arguments))

    def make(self):
        self.protocols.append(Recorder())
        return self.protocols[-1]

    @property
    def address(self):
        return self.server.sockets[0].getsockname()

    def connect(self):
        """A client, once the server knows it."""
        known = len(self.protocols)
        client = socket.create_connection(self.address[:2], timeout=PATIENCE)
        until(self.loop, lambda: len(self.protocols) > known and self.protocols[-1].transport)
        return client

    def close(self):
        self.server.close()
        for protocol in self.protocols:
            if protocol.transport:
                protocol.transport.abort()
        settle(self.loop)


@pytest.fixture
def serve(loop):
    sites = []

    def serve(**arguments):
        sites.append(Site(loop, **arguments))
        return sites[-1]

    yield serve
    for site in sites:
        site.close()


class TestListening:
    def test_it_serves_at_once(self, serve):
        site = serve()
        assert site.server.is_serving()
        assert isinstance(site.server, asyncio.AbstractServer)
        assert site.server.get_loop() is site.loop
        site.connect().close()

    def test_not_before_it_is_told_to(self, serve):
        site = serve(start_serving=False)
        assert not site.server.is_serving()
        with pytest.raises(ConnectionRefusedError):
            socket.create_connection(site.address, timeout=PATIENCE)
        site.loop.run_until_complete(site.server.start_serving())
        site.loop.run_until_complete(site.server.start_serving())
        assert site.server.is_serving()
        site.connect().close()

    @needs_v6
    def test_several_hosts(self, serve):
        site = serve(host=["127.0.0.1", "::1"])
        families = {sock.family for sock in site.server.sockets}
        assert families == {socket.AF_INET, socket.AF_INET6}
        for sock in site.server.sockets:
            socket.create_connection(sock.getsockname()[:2], timeout=PATIENCE).close()
        until(site.loop, lambda: len(site.protocols) == 2)

    def test_the_same_host_twice_is_one(self, serve):
        assert len(serve(host=["127.0.0.1", "127.0.0.1"]).server.sockets) == 1

    @pytest.mark.parametrize("host", [None, ""])
    def test_every_address(self, serve, host):
        site = serve(host=host, family=socket.AF_INET)
        assert site.server.sockets[0].getsockname()[0] == "0.0.0.0"

    @needs_v6
    def test_an_ipv6_socket_leaves_ipv4_alone(self, serve):
        (sock,) = serve(host="::1").server.sockets
        assert sock.getsockopt(socket.IPPROTO_IPV6, socket.IPV6_V6ONLY) == 1

    def test_a_port_that_is_taken_is_named(self, serve, loop):
        port = serve().address[1]
        with pytest.raises(OSError, match=rf"error while attempting to bind on address \('127.0.0.1', {port}\)"):
            loop.run_until_complete(loop.create_server(Recorder, "127.0.0.1", port))

    def test_a_port_can_be_shared(self, serve, loop):
        port = serve(reuse_port=True).address[1]
        again = serve(reuse_port=True, port=port)
        assert again.address[1] == port

    def test_the_address_is_reused(self, serve):
        (sock,) = serve().server.sockets
        assert sock.getsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR)

    def test_the_backlog_is_the_kernels(self, serve):
        site = serve(backlog=1)
        # The loop does not run: what the kernel takes beyond the backlog is an implementation's generosity of 1.
        clients = []
        for _ in range(5):
            clients.append(socket.socket())
            clients[-1].setblocking(False)
            clients[-1].connect_ex(site.address)
        connected = [client for client in clients if not client.getsockopt(socket.SOL_SOCKET, socket.SO_ERROR)]
        assert connected
        for client in clients:
            client.close()

    def test_many_connections_at_once(self, serve):
        site = serve(backlog=50)
        clients = [socket.create_connection(site.address, timeout=PATIENCE) for _ in range(50)]
        until(site.loop, lambda: len(site.protocols) == 50 and all(p.transport for p in site.protocols))
        for client in clients:
            client.close()
        until(site.loop, lambda: all(protocol.lost for protocol in site.protocols))

    def test_wrong_arguments(self, loop):
        sock = socket.socket()
        for arguments in ({"host": "127.0.0.1", "port": 0, "sock": sock}, {}):
            with pytest.raises(ValueError, match=r"sock|host/port"):
                loop.run_until_complete(loop.create_server(Recorder, **arguments))
        with pytest.raises(TypeError, match="ssl"):
            loop.run_until_complete(loop.create_server(Recorder, "127.0.0.1", 0, ssl=True))
        with pytest.raises(ValueError, match="ssl_handshake_timeout is only meaningful with ssl"):
            loop.run_until_complete(loop.create_server(Recorder, "127.0.0.1", 0, ssl_handshake_timeout=1))
        sock.close()
        datagrams = socket.socket(type=socket.SOCK_DGRAM)
        with pytest.raises(ValueError, match="Stream Socket was expected"):
            loop.run_until_complete(loop.create_server(Recorder, sock=datagrams))
        datagrams.close()

    def test_an_unknown_host(self, loop):
        with pytest.raises(OSError, match=r"."):
            loop.run_until_complete(loop.create_server(Recorder, "no.such.host.invalid", 0))
        loop.run_until_complete(loop.shutdown_default_executor())


class TestGivenSocket:
    def test_it_stays_usable(self, loop):
        with socket.create_server(("127.0.0.1", 0)) as sock:
            server = loop.run_until_complete(loop.create_server(Recorder, sock=sock))
            assert server.sockets[0].getsockname() == sock.getsockname()
            assert server.sockets[0].fileno() == sock.fileno()
            assert not sock.getblocking()
            sock.setsockopt(socket.SOL_SOCKET, socket.SO_KEEPALIVE, 1)
            server.close()
            settle(loop)
            assert sock.fileno() == -1

    def test_sockets_of_a_server_are_transport_sockets(self, serve):
        sockets = serve().server.sockets
        assert type(sockets) is tuple
        assert sys.version_info < (3, 11) or not hasattr(sockets[0], "accept")

    @pytest.mark.parametrize("proto", [0, socket.IPPROTO_TCP])
    def test_accepted_connections_send_at_once(self, loop, factory, proto):
        sock = socket.socket(socket.AF_INET, socket.SOCK_STREAM, proto)
        sock.bind(("127.0.0.1", 0))
        site = Site(loop, host=None, port=None, sock=sock)
        client = site.connect()
        accepted = site.protocols[0].transport.get_extra_info("socket")
        delayed = not accepted.getsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY)
        # asyncio goes by the number that the listening socket was made with, though 0 means TCP too.
        assert delayed is (proto == 0 and factory is FACTORIES["asyncio"])
        client.close()
        site.close()


class TestServeForever:
    def test_cancelling_closes(self, serve):
        site = serve(start_serving=False)

        async def main():
            serving = asyncio.ensure_future(site.server.serve_forever())
            await asyncio.sleep(0)
            await asyncio.sleep(0)
            assert site.server.is_serving()
            with pytest.raises(RuntimeError, match="is already being awaited on serve_forever"):
                await site.server.serve_forever()
            serving.cancel()
            with pytest.raises(asyncio.CancelledError):
                await serving

        site.loop.run_until_complete(main())
        assert not site.server.is_serving()
        assert site.server.sockets == ()

    def test_closing_cancels(self, serve):
        site = serve()

        async def main():
            serving = asyncio.ensure_future(site.server.serve_forever())
            await asyncio.sleep(0)
            site.server.close()
            with pytest.raises(asyncio.CancelledError):
                await serving

        site.loop.run_until_complete(main())

    def test_a_closed_server_cannot_serve(self, serve):
        site = serve()
        site.server.close()
        with pytest.raises(RuntimeError, match="is closed"):
            site.loop.run_until_complete(site.server.serve_forever())


class TestClosing:
    def test_nobody_is_accepted_any_more_and_connections_live(self, serve):
        site = serve()
        client, address = site.connect(), site.address
        site.server.close()
        site.server.close()
        assert not site.server.is_serving()
        assert site.server.sockets == ()
        settle(site.loop)
        with pytest.raises(ConnectionRefusedError):
            socket.create_connection(address, timeout=PATIENCE)
        client.send(b"x")
        until(site.loop, lambda: site.protocols[0].received == b"x")
        client.close()

    def test_a_connection_that_waits_in_the_backlog_is_not_accepted(self, serve):
        site = serve()
        client = socket.create_connection(site.address, timeout=PATIENCE)
        site.server.close()
        settle(site.loop)
        assert not site.protocols
        client.close()

    def test_wait_closed_without_connections(self, serve):
        site = serve()
        site.server.close()
        site.loop.run_until_complete(asyncio.wait_for(site.server.wait_closed(), PATIENCE))

    def test_wait_closed_waits_for_connections_where_python_does(self, serve):
        site = serve()
        client = site.connect()
        site.server.close()

        async def main():
            waiting = asyncio.ensure_future(site.server.wait_closed())
            await asyncio.sleep(0)
            await asyncio.sleep(0)
            done = waiting.done()
            client.close()
            await asyncio.wait_for(waiting, PATIENCE)
            return done

        # 3.12 began to wait; before, a closed server is waited for by nobody.
        assert site.loop.run_until_complete(main()) is (sys.version_info < (3, 12))
        until(site.loop, lambda: site.protocols[0].lost)

    def test_async_with(self, serve):
        site = serve()

        async def main():
            async with site.server as server:
                assert server is site.server
                assert server.is_serving()

        site.loop.run_until_complete(main())
        assert not site.server.is_serving()

    @pytest.mark.skipif(sys.version_info < (3, 13), reason="new in 3.13")
    @pytest.mark.parametrize("method", ["close_clients", "abort_clients"])
    def test_all_clients_at_once(self, serve, method):
        site = serve()
        clients = [site.connect() for _ in range(3)]
        site.server.close()
        getattr(site.server, method)()
        site.loop.run_until_complete(asyncio.wait_for(site.server.wait_closed(), PATIENCE))
        assert [protocol.lost for protocol in site.protocols] == [[None]] * 3
        for client in clients:
            assert client.recv(1) == b""
            client.close()

    @pytest.mark.skipif(sys.version_info < (3, 13), reason="new in 3.13")
    def test_abort_clients_throws_buffers_away_and_close_clients_sends_them(self, serve):
        site = serve()
        client = site.connect()
        site.protocols[0].transport.write(bytes(8 << 20))
        site.server.close_clients()
        settle(site.loop)
        assert not site.protocols[0].lost
        site.server.abort_clients()
        until(site.loop, lambda: site.protocols[0].lost)
        client.close()

    def test_a_server_dies_with_its_loop(self, factory):
        loop = factory()
        server = loop.run_until_complete(loop.create_server(Recorder, "127.0.0.1", 0))
        server.close()
        loop.run_until_complete(server.wait_closed())
        loop.close()


class TestUnix:
    def test_it_serves_at_a_path(self, loop, tmp_path):
        path = tmp_path / "socket"
        server = loop.run_until_complete(loop.create_unix_server(Recorder, path))
        assert stat.S_ISSOCK(os.stat(path).st_mode)
        with socket.socket(socket.AF_UNIX) as client:
            client.connect(str(path))
            settle(loop)
        settle(loop)
        server.close()
        loop.run_until_complete(server.wait_closed())

    @pytest.mark.skipif(sys.version_info < (3, 13), reason="new in 3.13")
    @pytest.mark.parametrize("cleanup", [True, False])
    def test_the_socket_is_cleaned_up(self, loop, tmp_path, cleanup):
        path = tmp_path / "socket"
        server = loop.run_until_complete(loop.create_unix_server(Recorder, path, cleanup_socket=cleanup))
        server.close()
        settle(loop)
        assert path.exists() is not cleanup

    @pytest.mark.skipif(sys.version_info < (3, 13), reason="new in 3.13")
    def test_a_socket_of_somebody_else_is_left_alone(self, loop, tmp_path):
        path = tmp_path / "socket"
        server = loop.run_until_complete(loop.create_unix_server(Recorder, path))
        path.unlink()
        path.write_text("mine")
        server.close()
        settle(loop)
        assert path.read_text() == "mine"

    def test_a_stale_socket_is_replaced(self, loop, tmp_path):
        path = tmp_path / "socket"
        with socket.socket(socket.AF_UNIX) as stale:
            stale.bind(str(path))
        server = loop.run_until_complete(loop.create_unix_server(Recorder, path))
        server.close()
        settle(loop)

    def test_a_path_that_is_taken_is_named(self, loop, tmp_path):
        path = tmp_path / "file"
        path.write_text("")
        with pytest.raises(OSError, match=rf"Address '{path}' is already in use"):
            loop.run_until_complete(loop.create_unix_server(Recorder, path))

    def test_an_abstract_address(self, loop):
        name = f"\0boucle-{os.getpid()}"
        server = loop.run_until_complete(loop.create_unix_server(Recorder, name))
        with socket.socket(socket.AF_UNIX) as client:
            client.connect(name)
        settle(loop)
        server.close()
        settle(loop)


class TestConnectAcceptedSocket:
    def test_it_becomes_a_transport(self, loop):
        with socket.create_server(("127.0.0.1", 0)) as listening:
            client = socket.create_connection(listening.getsockname())
            accepted, _ = listening.accept()
        transport, protocol = loop.run_until_complete(loop.connect_accepted_socket(Recorder, accepted))
        client.send(b"x")
        until(loop, lambda: protocol.received == b"x")
        assert transport.get_extra_info("peername") == client.getsockname()
        client.close()
        until(loop, lambda: protocol.lost)

    def test_only_a_stream(self, loop):
        sock = socket.socket(type=socket.SOCK_DGRAM)
        with pytest.raises(ValueError, match="Stream Socket was expected"):
            loop.run_until_complete(loop.connect_accepted_socket(Recorder, sock))
        sock.close()


@pytest.mark.filterwarnings("ignore:unclosed <socket:ResourceWarning")  # asyncio leaves the socket to its finalizer
@pytest.mark.parametrize("debug", [False, True])
def test_a_failing_protocol_factory_is_reported_in_debug_mode_and_the_server_lives(loop, debug):
    reports = reports_of(loop)
    loop.set_debug(debug)
    failures = [ZeroDivisionError("on purpose")]
    protocols = []

    def factory():
        if failures:
            raise failures.pop()
        protocols.append(Recorder())
        return protocols[-1]

    server = loop.run_until_complete(loop.create_server(factory, "127.0.0.1", 0))
    address = server.sockets[0].getsockname()
    with socket.create_connection(address, timeout=PATIENCE), socket.create_connection(address, timeout=PATIENCE):
        until(loop, lambda: protocols)
    settle(loop)
    until(loop, lambda: protocols[0].lost)
    server.close()
    settle(loop)
    collect()
    told = [(report["message"], type(report["exception"])) for report in reports]
    assert told == [("Error on transport creation for incoming connection", ZeroDivisionError)] * debug
    # asyncio's code leaves the accepted socket to the collector, which warns.
    reports.clear()
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", ResourceWarning)
        collect()


@pytest.mark.parametrize("name", FACTORIES)
def test_connections_wait_while_no_descriptor_is_left(name):
    program = [sys.executable, PROGRAM, name]
    with subprocess.Popen(program, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True) as process:
        try:
            port, full = process.stdout.readline().split()
            assert full == "full"
            clients = [socket.create_connection(("127.0.0.1", port), timeout=PATIENCE) for _ in range(12)]
            assert process.stdout.readline() == "free\n", "that it cannot accept is reported"
            answers = [client.recv(10) for client in clients]
            assert answers == [b"hello"] * 12
            for client in clients:
                client.close()
            process.stdin.close()
            assert process.wait(PATIENCE) == 0
        finally:
            process.kill()
