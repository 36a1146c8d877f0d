"""TLS: in which context protocols are called, and what they may do and raise."""

import asyncio
import contextvars
import os

import pytest

from conftest import run_turns
from tls_connections import (
    BIG,
    Echo,
    Recorder,
    client_context,
    connect,
    run,
    server_context,
)

pytestmark = pytest.mark.usefixtures("comparable_tls")

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

    run(loop, main())


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
