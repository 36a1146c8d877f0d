"""Files sent through transports and sockets: what arrives, where the file stands afterwards, what a lost peer means."""

import asyncio
import contextlib
import io
import os
import socket

import pytest

CONTENT = os.urandom(3_000_000)


@pytest.fixture
def file(tmp_path):
    """A file on the disk, open."""
    path = tmp_path / "content"
    path.write_bytes(CONTENT)
    with path.open("rb") as file:
        yield file


class Collecting(asyncio.Protocol):
    """Collects what arrives."""

    def __init__(self, loop):
        self.received = bytearray()
        self.lost = loop.create_future()

    def connection_made(self, transport):
        self.transport = transport

    def data_received(self, data):
        self.received += data

    def connection_lost(self, error):
        self.lost.set_result(error)


@contextlib.asynccontextmanager
async def connection(loop):
    """A transport, its protocol, and the other side's protocol."""
    one, other = socket.socketpair()
    transport, protocol = await loop.create_connection(lambda: Collecting(loop), sock=one)
    far, far_protocol = await loop.create_connection(lambda: Collecting(loop), sock=other)
    try:
        yield transport, protocol, far_protocol
    finally:
        transport.abort()
        far.abort()
        await protocol.lost
        await far_protocol.lost


@pytest.mark.parametrize(
    ("offset", "count", "expected"),
    [(0, None, CONTENT), (10, None, CONTENT[10:]), (10, 20, CONTENT[10:30]), (2_999_990, 100, CONTENT[-10:])],
)
def test_a_transport_sends_the_part_that_was_asked_for(loop, file, offset, count, expected):
    async def main():
        async with connection(loop) as (transport, _, far):
            transport.write(b"before")
            sent = await loop.sendfile(transport, file, offset, count, fallback=False)
            transport.write(b"after")
            transport.close()
            await far.lost
            return sent, bytes(far.received), file.tell()

    sent, received, position = loop.run_until_complete(main())
    assert sent == len(expected)
    assert received == b"before" + expected + b"after"
    assert position == offset + sent


def test_what_arrives_meanwhile_is_received_afterwards(loop, file):
    async def main():
        async with connection(loop) as (transport, protocol, far):
            sending = asyncio.create_task(loop.sendfile(transport, file))
            await asyncio.sleep(0)
            far.transport.write(b"meanwhile")
            await sending
            assert transport.is_reading()
            while not protocol.received:
                await asyncio.sleep(0)
            return bytes(protocol.received)

    assert loop.run_until_complete(main()) == b"meanwhile"


def test_a_transport_that_was_paused_stays_paused(loop, file):
    async def main():
        async with connection(loop) as (transport, _, _):
            transport.pause_reading()
            await loop.sendfile(transport, file)
            return transport.is_reading()

    assert not loop.run_until_complete(main())


def test_nothing_else_can_be_written_meanwhile(loop, file):
    async def main():
        async with connection(loop) as (transport, _, far):
            far.transport.pause_reading()
            sending = asyncio.create_task(loop.sendfile(transport, file))
            await asyncio.sleep(0)
            with pytest.raises(RuntimeError, match="unable to write; sendfile is in progress"):
                transport.write(b"x")
            far.transport.resume_reading()
            await sending

    loop.run_until_complete(main())


def test_a_cancelled_call_leaves_a_transport_that_works(own_loop, file):
    loop = own_loop

    async def main():
        async with connection(loop) as (transport, _, far):
            far.transport.pause_reading()
            sending = asyncio.create_task(loop.sendfile(transport, file))
            for _ in range(5):
                await asyncio.sleep(0)
            sending.cancel()
            with pytest.raises(asyncio.CancelledError):
                await sending
            position = file.tell()
            assert 0 < position < len(CONTENT)
            transport.write(b"after")
            far.transport.resume_reading()
            transport.close()
            await far.lost
            return bytes(far.received) == CONTENT[:position] + b"after"

    assert loop.run_until_complete(main())


def test_a_peer_that_goes_away_is_an_error(loop, file):
    async def main():
        async with connection(loop) as (transport, protocol, far):
            far.transport.pause_reading()
            sending = asyncio.create_task(loop.sendfile(transport, file))
            for _ in range(5):
                await asyncio.sleep(0)
            far.transport.abort()
            with pytest.raises(ConnectionError):
                await sending
            await protocol.lost

    loop.run_until_complete(main())


@pytest.mark.parametrize("how", ["abort", "close"])
def test_a_transport_closed_meanwhile_is_an_error(own_loop, file, how):
    loop = own_loop

    async def main():
        async with connection(loop) as (transport, protocol, far):
            far.transport.pause_reading()
            number = transport.get_extra_info("socket").fileno()
            sending = asyncio.create_task(loop.sendfile(transport, file))
            for _ in range(5):
                await asyncio.sleep(0)
            getattr(transport, how)()
            with pytest.raises(ConnectionError, match="Connection is closed by peer"):
                await sending
            await protocol.lost
            return number in loop._selector.get_map()

    assert not loop.run_until_complete(main())


def test_a_second_file_at_the_same_time_is_refused(own_loop, file):
    loop = own_loop

    async def main():
        async with connection(loop) as (transport, _, far):
            far.transport.pause_reading()
            sending = asyncio.create_task(loop.sendfile(transport, file))
            for _ in range(5):
                await asyncio.sleep(0)
            with pytest.raises(RuntimeError, match="Empty waiter is already set"):
                await loop.sendfile(transport, file)
            far.transport.resume_reading()
            return await sending

    assert loop.run_until_complete(main()) == len(CONTENT)


def test_a_file_in_memory_is_read_and_written(loop):
    async def main():
        async with connection(loop) as (transport, _, far):
            memory = io.BytesIO(CONTENT)
            sent = await loop.sendfile(transport, memory, 5)
            transport.close()
            await far.lost
            return sent, bytes(far.received) == CONTENT[5:], memory.tell()

    assert loop.run_until_complete(main()) == (len(CONTENT) - 5, True, len(CONTENT))


def test_a_file_in_memory_without_fallback_is_refused(loop):
    async def main():
        async with connection(loop) as (transport, _, _):
            with pytest.raises(asyncio.SendfileNotAvailableError, match="not a regular file"):
                await loop.sendfile(transport, io.BytesIO(CONTENT), fallback=False)
            transport.write(b"still works")

    loop.run_until_complete(main())


def test_a_transport_that_is_closing_is_refused(loop, file):
    async def main():
        async with connection(loop) as (transport, _, _):
            transport.close()
            with pytest.raises(RuntimeError, match="Transport is closing"):
                await loop.sendfile(transport, file)

    loop.run_until_complete(main())


@pytest.mark.parametrize(("offset", "count"), [(-1, None), (0, 0), (0, -1)])
def test_wrong_numbers_are_refused(loop, file, offset, count):
    async def main():
        async with connection(loop) as (transport, _, _):
            with pytest.raises(ValueError, match="integer"):
                await loop.sendfile(transport, file, offset, count)

    loop.run_until_complete(main())


def test_an_empty_file_sends_nothing(loop, tmp_path):
    path = tmp_path / "empty"
    path.touch()

    async def main():
        async with connection(loop) as (transport, _, _):
            with path.open("rb") as file:
                return await loop.sendfile(transport, file)

    assert loop.run_until_complete(main()) == 0


@pytest.mark.parametrize("memory", [False, True])
def test_a_socket_sends_a_file(loop, file, memory):
    one, other = socket.socketpair()
    with one, other:
        one.setblocking(False)
        other.setblocking(False)

        async def receive():
            received = bytearray()
            while data := await loop.sock_recv(other, 1 << 18):
                received += data
            return bytes(received)

        async def main():
            source = io.BytesIO(CONTENT) if memory else file
            receiving = asyncio.create_task(receive())
            sent = await loop.sock_sendfile(one, source, 7)
            one.shutdown(socket.SHUT_WR)
            return sent, await receiving == CONTENT[7:], source.tell()

        assert loop.run_until_complete(main()) == (len(CONTENT) - 7, True, len(CONTENT))
        assert one.fileno() not in loop._selector.get_map()
