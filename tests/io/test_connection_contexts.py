"""In which context a connection calls its protocol, from 3.15 on: asyncio gives each connection one."""

import asyncio
import contextvars
import socket
import sys

import pytest

from tls_connections import client_context, server_context

PLACE = contextvars.ContextVar("place", default="outside")

pytestmark = pytest.mark.skipif(sys.version_info < (3, 15), reason="before, each callback has a context of its own")


class Watching(asyncio.Protocol):
    """Writes down the value that each callback finds, and leaves another one."""

    def __init__(self, loop, seen, answer):
        PLACE.set("factory")
        self.seen = seen
        self.answer = answer
        self.lost = loop.create_future()

    def note(self, event):
        self.seen.append((event, PLACE.get()))
        PLACE.set(event)

    def connection_made(self, transport):
        self.transport = transport
        self.note("made")

    def data_received(self, data):
        self.note("data")
        if self.answer:
            self.transport.write(b"answer")
        else:
            self.transport.close()

    def connection_lost(self, exc):
        self.note("lost")
        self.lost.set_result(None)


def serve_and_connect(loop, tls, own_accept):
    """Two connections, one after the other, to a server that was made elsewhere than started. What each end found."""

    async def main():
        PLACE.set("where the server is made")
        found, serving = [], []

        def accepting():
            serving.append(Watching(loop, [], True))
            return serving[-1]

        options = {"ssl": server_context()} if tls else {}
        server = await loop.create_server(accepting, "127.0.0.1", 0, start_serving=False, **options)
        PLACE.set("where it is started")
        await server.start_serving()
        host, port = server.sockets[0].getsockname()
        if own_accept:
            # What a program may have replaced is called, by asyncio's code then.
            loop._accept_connection2 = loop._accept_connection2
        for number in range(2):
            PLACE.set(f"client {number}")
            options = {"ssl": client_context(), "server_hostname": "localhost"} if tls else {}
            _, protocol = await loop.create_connection(lambda: Watching(loop, [], False), host, port, **options)
            inside = PLACE.get()
            protocol.transport.write(b"question")
            await protocol.lost
            await serving[-1].lost
            found.append((inside, protocol.seen, serving[-1].seen))
        server.close()
        return found

    return loop.run_until_complete(main())


@pytest.mark.parametrize("own_accept", [False, True])
@pytest.mark.parametrize("tls", [False, True])
def test_callbacks_share_what_the_connection_was_given(loop, tls, own_accept):
    def seen(first):
        return [("made", first), ("data", "made"), ("lost", "data")]

    # The server's protocol is made in its connection's context, the client's in that of who connects.
    assert serve_and_connect(loop, tls, own_accept) == [
        ("factory", seen(f"client {number}"), seen("factory")) for number in range(2)
    ]


def test_a_factory_of_a_server_finds_where_the_server_was_made(loop):
    async def main():
        found, serving = [], []

        def accepting():
            found.append(PLACE.get())
            serving.append(Watching(loop, [], True))
            return serving[-1]

        PLACE.set("where the server is made")
        server = await loop.create_server(accepting, "127.0.0.1", 0, start_serving=False)
        PLACE.set("where it is started")
        await server.start_serving()
        PLACE.set("elsewhere")
        host, port = server.sockets[0].getsockname()
        transport, protocol = await loop.create_connection(lambda: Watching(loop, [], False), host, port)
        transport.write(b"question")
        await protocol.lost
        await serving[0].lost
        server.close()
        return found

    assert loop.run_until_complete(main()) == ["where the server is made"]


def test_a_socket_that_is_connected_already(loop):
    ours, theirs = socket.socketpair()

    async def main():
        PLACE.set("caller")
        _, protocol = await loop.create_connection(lambda: Watching(loop, [], False), sock=ours)
        PLACE.set("caller, later")
        theirs.send(b"data")
        await protocol.lost
        return protocol.seen

    with theirs:
        assert loop.run_until_complete(main()) == [("made", "caller"), ("data", "made"), ("lost", "data")]
