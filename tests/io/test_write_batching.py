"""Writes of one step leave together when it returns, and no later than where the bytes are waited for."""

import asyncio
import contextlib
import socket
import threading
import time

import pytest

from connected import PATIENCE, Connection, Recorder, settle, streams_are_native

pytestmark = pytest.mark.measures

BLOCK = 0.3


@pytest.fixture
def native_loop(own_loop):
    if not streams_are_native(own_loop):
        pytest.skip("boucle's transports of sockets are asyncio's own, which send each write at once")
    return own_loop


class Client(threading.Thread):
    """A blocking client in a thread, which notes when each piece came, by the clock that all threads share."""

    def __init__(self, address, count):
        super().__init__()
        self._address, self._count = address, count
        self.arrivals = []

    def run(self):
        with socket.create_connection(self._address, timeout=PATIENCE) as sock:
            sock.sendall(b"go")
            left = self._count
            while left:
                data = sock.recv(left)
                self.arrivals.append((time.monotonic(), data))
                left -= len(data)


def serve(loop, handler, count):
    """Let a client connect to a server with this handler, and receive so many bytes. Returns the client."""

    async def main():
        finished = loop.create_future()

        async def handle(reader, writer):
            try:
                await reader.readexactly(2)
                await handler(writer)
                finished.set_result(None)
            except Exception as error:
                finished.set_exception(error)
            finally:
                writer.close()

        server = await asyncio.start_server(handle, "127.0.0.1", 0)
        client = Client(server.sockets[0].getsockname(), count)
        client.start()
        await finished
        await loop.run_in_executor(None, client.join, PATIENCE)
        server.close()
        await server.wait_closed()
        await loop.shutdown_default_executor()
        return client

    return loop.run_until_complete(main())


def test_what_was_drained_arrives_before_the_step_blocks(loop):
    began = []

    async def handler(writer):
        writer.write(b"x" * 100)
        await writer.drain()
        began.append(time.monotonic())
        time.sleep(BLOCK)

    client = serve(loop, handler, 100)
    (arrival, data) = client.arrivals[-1]
    assert data == b"x" * 100
    # 5 ms is what is asked for, and a machine that gives the client's thread no time is allowed half of the block.
    assert arrival - began[0] < BLOCK / 2


def test_what_was_drained_arrives_within_5_ms_in_one_of_some_tries(loop):
    late = []
    for _ in range(10):
        began = []

        async def handler(writer, began=began):
            writer.write(b"x" * 100)
            await writer.drain()
            began.append(time.monotonic())
            time.sleep(BLOCK / 6)

        client = serve(loop, handler, 100)
        late.append(client.arrivals[-1][0] - began[0])
        if late[-1] < 0.005:
            return
    pytest.fail(f"the bytes came after {late}")


def test_a_generator_in_one_long_step_is_not_held_back(loop):
    ended = []

    async def handler(writer):
        for number in range(10):
            writer.write(b"%d" % number)
            time.sleep(0.01)
        ended.append(time.monotonic())

    client = serve(loop, handler, 10)
    assert b"".join(data for _, data in client.arrivals) == b"0123456789"
    before_the_end = b"".join(data for arrival, data in client.arrivals if arrival < ended[0])
    # All but the last one or two: how promptly the client's thread runs is not ours to say.
    assert len(before_the_end) >= 8, client.arrivals


def test_a_synchronous_callback_in_one_long_step_is_not_held_back(loop):
    connection = Connection(loop, "tcp")
    ended, arrivals = [], []
    connection.theirs.setblocking(True)
    connection.theirs.settimeout(PATIENCE)

    def receive():
        for _ in range(6):
            arrivals.append((time.monotonic(), connection.theirs.recv(1)))

    def step():
        for number in range(6):
            connection.transport.write(b"%d" % number)
            time.sleep(0.01)
        ended.append(time.monotonic())

    thread = threading.Thread(target=receive)
    thread.start()
    loop.call_soon(step)
    settle(loop)
    thread.join()
    assert sum(arrival < ended[0] for arrival, _ in arrivals) >= 4, arrivals
    connection.close()


def pieces(connection, step):
    """What the other end receives, read by read, of what a step writes. Packets keep the pieces of sends apart."""
    connection.loop.call_soon(step)
    settle(connection.loop)
    received = []
    with contextlib.suppress(BlockingIOError):
        while True:
            received.append(connection.theirs.recv(1 << 16))
    return received


class TestOneSegment:
    """Over sockets that keep the bounds of each send, so that two sends cannot look like one."""

    @pytest.fixture
    def connection(self, native_loop):
        ours, theirs = socket.socketpair(socket.AF_UNIX, socket.SOCK_SEQPACKET)
        ours.setblocking(False)
        theirs.setblocking(False)
        connection = Connection.__new__(Connection)
        connection.loop, connection.ours, connection.theirs = native_loop, ours, theirs
        connection.protocol = Recorder()
        connection.transport = native_loop._make_socket_transport(ours, connection.protocol)
        settle(native_loop)
        yield connection
        connection.close()

    def test_two_small_writes_of_one_step(self, connection):
        def step():
            connection.transport.write(b"head")
            connection.transport.write(b"body")

        assert pieces(connection, step) == [b"headbody"]

    def test_writes_and_lines_of_one_step(self, connection):
        def step():
            connection.transport.write(b"head")
            connection.transport.writelines([b"one", b"two"])
            connection.transport.write(b"tail")

        assert pieces(connection, step) == [b"headonetwotail"]

    def test_writes_of_two_steps_are_two(self, connection):
        connection.loop.call_soon(connection.transport.write, b"first")
        assert pieces(connection, lambda: connection.transport.write(b"second")) == [b"first", b"second"]

    def test_writes_before_a_close_leave_together(self, connection):
        def step():
            connection.transport.write(b"head")
            connection.transport.write(b"body")
            connection.transport.close()

        connection.loop.call_soon(step)
        settle(connection.loop)
        assert connection.theirs.recv(100) == b"headbody"
        assert connection.theirs.recv(100) == b""

    def test_writes_of_a_task_between_two_awaits(self, connection):
        async def main():
            connection.transport.write(b"a")
            connection.transport.write(b"b")
            await asyncio.sleep(0)
            connection.transport.write(b"c")
            connection.transport.write(b"d")

        connection.loop.run_until_complete(main())
        assert pieces(connection, lambda: None) == [b"ab", b"cd"]


def test_a_write_from_outside_of_a_run_is_not_lost(loop):
    connection = Connection(loop, "tcp")
    connection.transport.write(b"between two runs")
    assert connection.receive(16) == b"between two runs"
    connection.close()


class Parting:
    """Writes to a transport when it goes."""

    def __init__(self, transport):
        self._transport = transport

    def __del__(self):
        self._transport.write(b"parting")


def goes_with_its_handle(loop, parting):
    loop.call_soon(lambda _: None, parting)


def goes_with_a_cancelled_handle(loop, parting):
    loop.call_soon(lambda _: None, parting).cancel()


def goes_with_a_reader(loop, parting):
    ours, theirs = socket.socketpair()

    def read(_):
        loop.remove_reader(ours)
        ours.close()
        theirs.close()

    loop.add_reader(ours, read, parting)
    theirs.send(b"x")


@pytest.mark.parametrize("goes", [goes_with_its_handle, goes_with_a_cancelled_handle, goes_with_a_reader])
def test_what_a_destructor_writes_after_a_step_does_not_wait_for_the_next(loop, goes):
    connection = Connection(loop)
    connection.theirs.setblocking(True)
    connection.theirs.settimeout(BLOCK)
    received = []

    def receive():
        with contextlib.suppress(TimeoutError):
            received.append(connection.theirs.recv(100))

    async def main():
        goes(loop, Parting(connection.transport))
        thread = threading.Thread(target=receive)
        thread.start()
        await asyncio.sleep(2 * BLOCK)
        thread.join()

    loop.run_until_complete(main())
    assert received == [b"parting"]
    connection.close()


def test_an_attempt_that_sends_nothing_resumes_nothing(loop):
    connection = Connection(loop)
    connection.fill()
    assert connection.protocol.events == ["made", "pause"]
    connection.transport.set_write_buffer_limits(high=1 << 30)
    connection.transport.writelines([b"x"])
    assert connection.protocol.events == ["made", "pause"]
    connection.close()


def test_a_step_that_raises_has_written(loop):
    connection = Connection(loop, "tcp")
    loop.set_exception_handler(lambda loop, context: None)

    def step():
        connection.transport.write(b"x")
        raise ValueError("on purpose")

    loop.call_soon(step)
    assert connection.receive(1) == b"x"
    connection.close()


@pytest.mark.parametrize("interrupt", [KeyboardInterrupt, SystemExit])
def test_a_step_that_is_interrupted_has_written(loop, interrupt):
    connection = Connection(loop, "tcp")

    def step():
        connection.transport.write(b"x")
        raise interrupt

    loop.call_soon(step)
    with pytest.raises(interrupt):
        loop.run_forever()
    connection.theirs.setblocking(True)
    connection.theirs.settimeout(PATIENCE)
    assert connection.theirs.recv(1) == b"x"
    connection.close()


def test_a_step_that_stops_the_loop_has_written(loop):
    connection = Connection(loop, "tcp")

    def step():
        connection.transport.write(b"x")
        loop.stop()

    loop.call_soon(step)
    loop.run_forever()
    connection.theirs.setblocking(True)
    connection.theirs.settimeout(PATIENCE)
    assert connection.theirs.recv(1) == b"x"
    connection.close()
