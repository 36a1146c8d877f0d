"""What a protocol receives are bytes like all others: nobody can tell that their memory held others before."""

import asyncio
import os
import socket

import pytest

from conftest import run_turns


class Letting(asyncio.Protocol, asyncio.DatagramProtocol):
    """Looks at what it receives, and keeps it if it is told to."""

    def __init__(self):
        self.seen, self.kept, self.is_keeping, self.transport = [], [], False, None

    def connection_made(self, transport):
        self.transport = transport

    def data_received(self, data):
        self.seen.append((bytes(bytearray(data)), hash(data), id(data)))
        if self.is_keeping:
            self.kept.append(data)

    def datagram_received(self, data, addr):
        self.data_received(data)


def _stream(loop):
    ours, theirs = socket.socketpair()
    transport, protocol = loop.run_until_complete(loop.create_connection(Letting, sock=ours))
    return transport, protocol, theirs.sendall, theirs.close


def _pipe(loop):
    reading, writing = os.pipe()
    transport, protocol = loop.run_until_complete(loop.connect_read_pipe(Letting, os.fdopen(reading, "rb")))
    return transport, protocol, lambda data: os.write(writing, data), lambda: os.close(writing)


def _datagrams(loop):
    endpoint = loop.create_datagram_endpoint(Letting, local_addr=("127.0.0.1", 0))
    transport, protocol = loop.run_until_complete(endpoint)
    theirs = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
    address = transport.get_extra_info("sockname")
    return transport, protocol, lambda data: theirs.sendto(data, address), theirs.close


@pytest.fixture(params=[_stream, _pipe, _datagrams], ids=["stream", "pipe", "datagrams"])
def receiving(request, loop):
    """The protocol, and what delivers a message to it."""
    transport, protocol, send, close = request.param(loop)

    def deliver(data):
        send(data)
        loop.run_until_complete(_until(lambda: protocol.seen and protocol.seen[-1][0] == data))

    yield protocol, deliver
    transport.close()
    run_turns(loop)
    close()


async def _until(is_so):
    while not is_so():
        await asyncio.sleep(0)


def _message(number, length=1024):
    return f"{number:016}".encode() * (length // 16)


def test_what_is_kept_stays_as_it_came(receiving):
    protocol, deliver = receiving
    protocol.is_keeping = True
    messages = [_message(number) for number in range(10)]
    for message in messages:
        deliver(message)
    assert protocol.kept == messages


def test_what_is_let_go_of_is_nobodys_and_comes_again(receiving):
    protocol, deliver = receiving
    messages = [_message(number) for number in range(10)]
    for message in messages:
        deliver(message)
    assert [content for content, _, _ in protocol.seen] == messages
    assert len({where for _, _, where in protocol.seen}) == 1, "the memory was not used again"


def test_each_message_has_its_own_hash(receiving):
    protocol, deliver = receiving
    messages = [_message(number) for number in range(10)]
    for message in messages:
        deliver(message)
    assert [noted for _, noted, _ in protocol.seen] == [hash(message) for message in messages]


def test_a_view_keeps_what_it_shows(receiving):
    protocol, deliver = receiving
    protocol.is_keeping = True
    deliver(_message(1))
    view = memoryview(protocol.kept.pop())
    deliver(_message(2))
    assert view.tobytes() == _message(1)
    assert protocol.kept == [_message(2)]


def test_what_waits_to_be_written_stays(loop):
    """A transport that the kernel takes nothing from holds the message while the next ones come."""
    ours, theirs = socket.socketpair()
    full, other = socket.socketpair()
    full.setsockopt(socket.SOL_SOCKET, socket.SO_SNDBUF, 4096)

    class Forwarding(asyncio.Protocol):
        def data_received(self, data):
            outlet.write(data)

    outlet, _ = loop.run_until_complete(loop.create_connection(asyncio.Protocol, sock=full))
    inlet, _ = loop.run_until_complete(loop.create_connection(Forwarding, sock=ours))
    messages = [_message(number) for number in range(50)]
    for message in messages:
        theirs.sendall(message)
        run_turns(loop, 3)
    expected = b"".join(messages)
    other.setblocking(False)
    got = bytearray()

    async def read():
        while len(got) < len(expected):
            got.extend(await loop.sock_recv(other, 1 << 16))

    loop.run_until_complete(asyncio.wait_for(read(), 10))
    assert got == expected
    for transport in (inlet, outlet):
        transport.abort()
    run_turns(loop)
    theirs.close()
    other.close()


@pytest.mark.parametrize("byte", [b"a", b"\xff"])
def test_a_single_byte_is_everybodys(receiving, byte):
    """CPython has one object for each byte: it must not be written to."""
    protocol, deliver = receiving
    deliver(byte)
    protocol.seen.clear()
    deliver(b"b")
    assert (bytes([ord("a")]), bytes([255]), b"b") == (b"\x61", b"\xff", b"\x62")
    deliver(byte)


def test_lengths_may_change(receiving):
    protocol, deliver = receiving
    messages = [_message(number, length) for number, length in enumerate([1024, 512, 1024, 2048, 16, 1024])]
    for message in messages:
        deliver(message)
    assert [content for content, _, _ in protocol.seen] == messages
