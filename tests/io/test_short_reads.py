"""A read may end before the socket is empty, though it brings less than it could: what is behind arrives all the same.

The kernel ends a read before a byte out of band, behind a message with which descriptors came, and between two writers
where the reader asks for their credentials.
"""

import asyncio
import os
import socket
import subprocess
import sys

import pytest

import boucle
from connected import BufferedRecorder, Connection, Recorder, settle, socket_pair

BIG = 100_000


def out_of_band(theirs):
    theirs.send(b"before")
    theirs.send(b"!", socket.MSG_OOB)
    theirs.send(b"behind")


def descriptors(theirs):
    reading, writing = os.pipe()
    socket.send_fds(theirs, [b"before"], [reading, writing])
    os.close(reading)
    os.close(writing)
    theirs.send(b"behind")


def other_writers(theirs):
    descriptor = theirs.fileno()
    program = f"import os; os.write({descriptor}, b'before')"
    subprocess.run([sys.executable, "-c", program], pass_fds=[descriptor], check=True)
    theirs.send(b"behind")


WAYS = [("tcp", out_of_band), ("unix", descriptors), ("unix", other_writers)]


@pytest.fixture(params=WAYS, ids=lambda way: way[1].__name__)
def way(request):
    return request.param


@pytest.mark.parametrize("make_protocol", [Recorder, BufferedRecorder])
@pytest.mark.parametrize("is_big", [False, True], ids=["small", "after a big message"])
def test_what_is_behind_arrives(loop, way, make_protocol, is_big):
    kind, send = way
    connection = Connection(loop, kind, make_protocol())
    if send is other_writers:
        connection.ours.setsockopt(socket.SOL_SOCKET, socket.SO_PASSCRED, 1)
    expected = bytes(BIG) if is_big else b""
    connection.theirs.send(expected)
    connection.until(lambda: len(connection.protocol.received) == len(expected))
    settle(loop)
    send(connection.theirs)
    expected += b"beforebehind"
    connection.until(lambda: len(connection.protocol.received) >= len(expected))
    connection.theirs.send(b"later")
    connection.until(lambda: connection.protocol.received == expected + b"later")
    connection.theirs.shutdown(socket.SHUT_WR)
    connection.until(lambda: connection.protocol.lost == [None])
    connection.close()


@pytest.mark.parametrize("module", [asyncio, boucle])
@pytest.mark.parametrize("is_big", [False, True], ids=["small", "after a big message"])
def test_what_is_behind_is_read_from_a_stream(loop, way, module, is_big):
    if module is boucle and not isinstance(loop, boucle.Loop):
        pytest.skip("boucle's streams are for its loop")
    kind, send = way
    ours, theirs = socket_pair(kind)
    if send is other_writers:
        ours.setsockopt(socket.SOL_SOCKET, socket.SO_PASSCRED, 1)

    async def read():
        reader, writer = await module.open_connection(sock=ours, limit=2**20)
        for _ in range(3 if is_big else 0):
            task = asyncio.create_task(reader.readexactly(BIG))
            await asyncio.sleep(0)
            theirs.sendall(bytes(BIG))
            assert await task == bytes(BIG)
        send(theirs)
        message = await asyncio.wait_for(reader.readexactly(12), 20)
        writer.close()
        return message

    with theirs:
        assert loop.run_until_complete(read()) == b"beforebehind"
        settle(loop)


def test_a_byte_out_of_band_alone_is_nothing_to_read(loop):
    connection = Connection(loop, "tcp", BufferedRecorder())
    connection.theirs.send(b"!", socket.MSG_OOB)
    settle(loop)
    assert connection.protocol.events == ["made"]
    connection.theirs.send(b"behind")
    connection.until(lambda: connection.protocol.events == ["made", b"behind"])
    connection.close()
