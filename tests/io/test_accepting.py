"""What a server gets of the connections it accepts, and what a client is told, in every family."""

import asyncio
import contextlib
import errno
import gc
import socket
import sys
import warnings

import pytest

from conftest import FACTORIES, run_python

FAMILIES = [
    pytest.param(socket.AF_INET, ("127.0.0.1", 0), id="IPv4"),
    pytest.param(socket.AF_INET6, ("::1", 0), id="IPv6"),
    pytest.param(socket.AF_UNIX, None, id="Unix"),
]


@pytest.mark.parametrize(("family", "address"), FAMILIES)
def test_what_is_accepted_is_what_accept_returns(loop, family, address, tmp_path):
    made = []

    class Noting(asyncio.Protocol):
        def connection_made(self, transport):
            shown = transport.get_extra_info("socket")
            facts = (shown.family, shown.type, shown.proto, shown.gettimeout(), shown.get_inheritable())
            made.append((transport.get_extra_info("peername"), transport.get_extra_info("sockname"), facts))
            transport.close()

    async def main():
        listener = socket.socket(family)
        listener.bind(address or str(tmp_path / "socket"))
        serve = loop.create_unix_server if family == socket.AF_UNIX else loop.create_server
        server = await serve(Noting, sock=listener)
        client = socket.socket(family)
        client.setblocking(False)
        await loop.sock_connect(client, listener.getsockname())
        own, peer = client.getsockname(), client.getpeername()
        assert await loop.sock_recv(client, 1) == b""
        client.close()
        server.close()
        return own, peer

    own, peer = loop.run_until_complete(main())
    # Python takes 0 for the protocol that it makes the listening socket with.
    assert made == [(own, peer, (family, socket.SOCK_STREAM, 0, 0.0, False))]


class Closing(asyncio.Protocol):
    def connection_made(self, transport):
        transport.close()


def test_all_that_wait_are_accepted_in_one_turn(loop):
    made = []

    async def main():
        server = await loop.create_server(lambda: made.append(1) or Closing(), "127.0.0.1", 0)
        clients = [socket.create_connection(server.sockets[0].getsockname()) for _ in range(3)]
        # One turn in which the server is found ready, one in which the tasks run.
        while not made:
            await asyncio.sleep(0)
        assert len(made) == 3
        for client in clients:
            client.setblocking(False)
            with client:
                assert await loop.sock_recv(client, 1) == b""
        server.close()

    loop.run_until_complete(main())


def close_while_accepting(loop):
    """A factory closes the server whose connection it is asked for. Returns what the client reads at once, what it
    reads once garbage was collected, and what was warned of."""
    read = []

    async def main():
        def factory():
            server.close()
            return asyncio.Protocol()

        server = await loop.create_server(factory, "127.0.0.1", 0)
        with socket.create_connection(server.sockets[0].getsockname()) as client:
            client.setblocking(False)
            while server.is_serving():
                await asyncio.sleep(0)
            await asyncio.sleep(0)
            for collect in (int, gc.collect):
                collect()
                with contextlib.suppress(BlockingIOError):
                    read.append(client.recv(1))

    gc.collect()
    gc.disable()
    try:
        with warnings.catch_warnings(record=True) as warned:
            warnings.simplefilter("always")
            loop.run_until_complete(main())
    finally:
        gc.enable()
        loop.close()
    texts = [str(warning.message) for warning in warned]
    # The transport and its socket are garbage together: which of them dies first is nobody's promise.
    return read, [text.partition(" <")[0] for text in texts if not text.startswith("unclosed <socket")]


def test_a_connection_whose_server_is_closed_by_its_factory_is_closed(monkeypatch):
    raised, outcomes = [], []
    monkeypatch.setattr(sys, "unraisablehook", lambda event: raised.append(repr(event.exc_value)))
    for name in FACTORIES:
        read, warned = close_while_accepting(FACTORIES[name]())
        # On asyncio it is garbage in a cycle.
        assert read == [b""] * (1 if name == "asyncio" else 2)
        outcomes.append((warned, [*raised]))
        raised.clear()
    assert outcomes[0] == outcomes[1]
    assert outcomes[0][0] == ["unclosed transport"]


def test_a_default_timeout_does_not_reach_what_is_accepted(loop):
    async def main():
        taken = loop.create_future()

        class Noting(asyncio.Protocol):
            def connection_made(self, transport):
                taken.set_result(transport.get_extra_info("socket").gettimeout())
                transport.close()

        server = await loop.create_server(Noting, "127.0.0.1", 0)
        transport, _ = await loop.create_connection(asyncio.Protocol, *server.sockets[0].getsockname())
        assert await taken == 0
        transport.close()
        server.close()

    socket.setdefaulttimeout(5)
    try:
        loop.run_until_complete(main())
    finally:
        socket.setdefaulttimeout(None)


@pytest.mark.parametrize("address", [("127.0.0.1", 1), ("::1", 1, 0, 0)], ids=["IPv4", "IPv6"])
def test_a_refused_connection_says_so_as_pythons_connect_does(loop, address):
    async def main():
        with contextlib.closing(socket.socket(socket.AF_INET6 if len(address) == 4 else socket.AF_INET)) as client:
            client.setblocking(False)
            with pytest.raises(ConnectionRefusedError) as caught:
                await loop.sock_connect(client, address)
        return caught.value

    error = loop.run_until_complete(main())
    assert (error.errno, error.strerror) == (errno.ECONNREFUSED, f"Connect call failed {address}")


def test_an_error_of_the_call_itself_is_the_sockets_own(loop):
    async def main():
        client, plain = socket.socket(), socket.socket()
        client.setblocking(False)
        with client, plain:
            # Nobody can connect to all.
            with pytest.raises(OSError, match=r"unreachable|denied") as expected:
                plain.connect(("255.255.255.255", 1))
            with pytest.raises(OSError, match=r"unreachable|denied") as caught:
                await loop.sock_connect(client, ("255.255.255.255", 1))
        assert (type(caught.value), caught.value.args) == (type(expected.value), expected.value.args)

    loop.run_until_complete(main())


def test_a_loop_that_resolves_in_its_own_way_is_asked(own_loop):
    asked = []

    class Resolving(type(own_loop)):
        async def _ensure_resolved(self, address, **options):
            asked.append(address)
            return await super()._ensure_resolved(("127.0.0.1", address[1]), **options)

    async def main(loop):
        server = await loop.create_server(Closing, "127.0.0.1", 0)
        port = server.sockets[0].getsockname()[1]
        client = socket.socket()
        client.setblocking(False)
        with client:
            await loop.sock_connect(client, ("127.1.2.3", port))
            assert client.getpeername() == ("127.0.0.1", port)
            assert await loop.sock_recv(client, 1) == b""
        server.close()
        assert ("127.1.2.3", port) in asked

    loop = Resolving()
    try:
        loop.run_until_complete(main(loop))
    finally:
        loop.close()


AUDITED = """
import asyncio, socket, sys
import boucle

events = []
sys.addaudithook(lambda event, args: events.append((event, args[1:])) if event.startswith("socket.connect") else None)

async def main(loop):
    server = await loop.create_server(asyncio.Protocol, "127.0.0.1", 0)
    address = server.sockets[0].getsockname()
    transport, _ = await loop.create_connection(asyncio.Protocol, *address)
    assert events == [("socket.connect", (address,))], events
    transport.close()
    server.close()

with asyncio.Runner(loop_factory=boucle.new_event_loop) as runner:
    runner.run(main(runner.get_loop()))
"""


@pytest.mark.skipif(sys.version_info < (3, 11), reason="asyncio.Runner")
def test_connecting_is_audited():
    finished = run_python("-c", AUDITED)
    assert (finished.returncode, finished.stderr) == (0, "")


@pytest.mark.parametrize("name", ["connect", "accept", "getpeername"])
def test_a_method_that_somebody_has_put_into_the_class_is_called(loop, name, monkeypatch):
    # pytest-socket does so with connect, to allow some hosts only.
    called, original = [], getattr(socket.socket, name)

    def method(sock, *args):
        called.append(args)
        return original(sock, *args)

    async def main():
        server = await loop.create_server(Closing, "127.0.0.1", 0)
        address = server.sockets[0].getsockname()
        monkeypatch.setattr(socket.socket, name, method)
        transport, _ = await loop.create_connection(asyncio.Protocol, *address)
        while not called:
            await asyncio.sleep(0)
        monkeypatch.undo()
        assert called[0] == ((address,) if name == "connect" else ())
        transport.close()
        server.close()
        await server.wait_closed()

    loop.run_until_complete(main())


def test_a_listening_socket_of_a_class_that_took_sockets_place_is_accepted_from(loop, monkeypatch):
    class Own(socket.socket):
        pass

    async def main():
        monkeypatch.setattr(socket, "socket", Own)
        server = await loop.create_server(Closing, "127.0.0.1", 0)
        reader, writer = await asyncio.open_connection(*server.sockets[0].getsockname())
        assert await reader.read() == b""
        writer.close()
        server.close()
        await server.wait_closed()

    loop.run_until_complete(main())


REPLACED_BEFORE = """
import asyncio, socket

called = []

def replace(name):
    original = getattr(socket.socket, name)
    def method(sock, *args):
        called.append(name)
        return original(sock, *args)
    setattr(socket.socket, name, method)

replace("accept")
replace("connect")
import boucle

async def main():
    server = await asyncio.start_server(lambda reader, writer: writer.close(), "127.0.0.1", 0)
    reader, writer = await asyncio.open_connection(*server.sockets[0].getsockname())
    assert await reader.read() == b""
    writer.close()
    server.close()

boucle.run(main())
print(*called)
"""


def test_a_method_that_was_replaced_before_boucle_was_imported_is_called():
    finished = run_python("-c", REPLACED_BEFORE)
    # Until there is nothing more to accept.
    assert (finished.stdout, finished.stderr) == ("connect accept accept\n", "")
