"""Stream transports, the way out: what is accepted, what is sent, the write buffer and its water marks."""

import array
import asyncio
import random
import socket
from unittest import mock

import pytest

from connected import Connection, Recorder, nonblocking_pair, reports_of, settle

pytestmark = pytest.mark.parametrize("kind", ["tcp", "unix"])


@pytest.fixture
def connect(loop, kind):
    connections = []

    def connect(protocol=None):
        connections.append(Connection(loop, kind, protocol))
        return connections[-1]

    yield connect
    for connection in connections:
        connection.close()


class TestData:
    @pytest.mark.parametrize("make", [bytes, bytearray, memoryview], ids=lambda make: make.__name__)
    def test_what_can_be_written(self, connect, make):
        connection = connect()
        connection.transport.write(make(b"abc"))
        assert connection.receive(3) == b"abc"

    def test_a_memoryview_of_wide_items_is_sent_as_its_bytes(self, connect):
        connection = connect()
        items = array.array("I", [1, 2, 3])
        connection.transport.write(memoryview(items))
        connection.transport.write(b"end")
        assert connection.receive(15) == items.tobytes() + b"end"

    def test_a_part_of_a_memoryview(self, connect):
        connection = connect()
        connection.transport.write(memoryview(b"abcdef")[2:4])
        assert connection.receive(2) == b"cd"

    @pytest.mark.parametrize("wrong", ["text", 3, None, [b"x"], array.array("b", b"x")], ids=repr)
    def test_what_cannot_be_written(self, connect, wrong):
        connection = connect()
        name = type(wrong).__name__
        with pytest.raises(TypeError, match=rf"^data argument must be a bytes.*object, not '{name}'$"):
            connection.transport.write(wrong)
        connection.transport.write(b"good")
        assert connection.receive(4) == b"good"

    def test_writing_nothing_does_nothing(self, connect):
        connection = connect()
        connection.transport.write(b"")
        connection.transport.write(bytearray())
        connection.transport.writelines([])
        settle(connection.loop)
        assert connection.transport.get_write_buffer_size() == 0
        with pytest.raises(BlockingIOError):
            connection.theirs.recv(1)

    def test_changing_a_bytearray_afterwards_does_not_change_what_was_sent(self, connect):
        connection = connect()
        data = bytearray(b"before")
        connection.transport.write(data)
        data[:] = b"after!"
        connection.transport.write(memoryview(data)[:5])
        data.clear()
        data.extend(b"more")
        assert connection.receive(11) == b"beforeafter"

    @pytest.mark.parametrize("size", [40_000, 4_000_000], ids=["taken", "more than is taken"])
    @pytest.mark.parametrize("make", [bytearray, memoryview], ids=lambda make: make.__name__)
    def test_a_large_one_leaves_between_what_is_written_before_and_after(self, connect, make, size):
        connection = connect()
        content = bytearray(random.randbytes(size))
        expected = b"before" + content + b"after" + content[:70_000]

        def write():
            connection.transport.write(b"bef")
            connection.transport.write(b"ore")
            connection.transport.write(make(content))
            connection.transport.write(b"after")
            connection.transport.write(make(content)[:70_000])
            # Nothing holds its memory; from 3.12 on asyncio keeps what it was given.
            if type(connection.loop).__module__.startswith("boucle"):
                content[:] = bytes(size)
                content.clear()

        connection.loop.call_soon(write)
        settle(connection.loop)
        assert connection.receive(len(expected)) == expected
        assert connection.transport.get_write_buffer_size() == 0

    def test_of_a_large_one_what_the_kernel_did_not_take_is_counted(self, connect):
        connection = connect()
        connection.transport.write(bytearray(4_000_000))
        assert 0 < connection.transport.get_write_buffer_size() < 4_000_000
        assert connection.protocol.events == ["made", "pause"]
        assert connection.receive(4_000_000) == bytes(4_000_000)
        connection.until(lambda: connection.protocol.events == ["made", "pause", "resume"])

    def test_a_large_one_to_a_peer_that_is_gone(self, connect):
        connection = connect()
        connection.theirs.close()
        content = bytearray(100_000)
        for _ in range(3):
            connection.transport.write(content)
        content.clear()
        connection.until_lost()
        assert isinstance(connection.protocol.lost[0], ConnectionError)

    def test_changing_what_writelines_got_does_not_change_what_was_sent(self, connect):
        connection = connect()
        data = bytearray(b"before")
        connection.transport.writelines([data, b"-", memoryview(data)])
        data[:] = b"after!"
        assert connection.receive(13) == b"before-before"

    def test_writes_leave_in_order(self, connect):
        connection = connect()
        for number in range(1000):
            connection.transport.write(b"%04d" % number)
        assert connection.receive(4000) == b"".join(b"%04d" % number for number in range(1000))

    def test_writes_and_lines_leave_in_order_also_when_the_peer_is_slow(self, connect):
        connection = connect()
        sent = connection.fill()
        connection.transport.writelines([b"one", bytearray(b"two"), memoryview(b"three")])
        connection.transport.write(b"four")
        sent += b"onetwothreefour"
        assert connection.receive(len(sent)) == sent
        assert connection.transport.get_write_buffer_size() == 0

    def test_many_lines(self, connect):
        connection = connect()
        connection.transport.writelines([b"%05d" % number for number in range(5000)])
        assert connection.receive(25_000) == b"".join(b"%05d" % number for number in range(5000))

    def test_lines_may_come_from_a_generator(self, connect):
        connection = connect()
        connection.transport.writelines(word for word in (b"one", b"two"))
        assert connection.receive(6) == b"onetwo"

    def test_a_write_in_connection_made(self, connect):
        class Greeting(Recorder):
            def connection_made(self, transport):
                super().connection_made(transport)
                transport.write(b"hello")

        assert connect(Greeting()).receive(5) == b"hello"

    def test_a_write_in_data_received(self, connect):
        class Echo(Recorder):
            def data_received(self, data):
                self.transport.write(data)

        connection = connect(Echo())
        connection.theirs.send(b"x" * 1024)
        assert connection.receive(1024) == b"x" * 1024


class TestWaterMarks:
    def test_the_defaults(self, connect):
        assert connect().transport.get_write_buffer_limits() == (16 * 1024, 64 * 1024)

    @pytest.mark.parametrize(
        ("given", "limits"),
        [
            ({"high": 100}, (25, 100)),
            ({"low": 100}, (100, 400)),
            ({"high": 100, "low": 10}, (10, 100)),
            ({"high": 0}, (0, 0)),
            ({}, (16 * 1024, 64 * 1024)),
        ],
    )
    def test_one_follows_from_the_other(self, connect, given, limits):
        transport = connect().transport
        transport.set_write_buffer_limits(**given)
        assert transport.get_write_buffer_limits() == limits

    @pytest.mark.parametrize(("high", "low"), [(1, 2), (-1, None), (0, -1), (10, -5)])
    def test_wrong_limits(self, connect, high, low):
        transport = connect().transport
        with pytest.raises(ValueError, match=r"must be >= low .* must be >= 0"):
            transport.set_write_buffer_limits(high, low)
        assert transport.get_write_buffer_limits() == (16 * 1024, 64 * 1024)

    def test_the_protocol_is_paused_above_high_and_resumed_at_low(self, connect):
        connection = connect()
        transport, protocol = connection.transport, connection.protocol
        sent = connection.fill()
        assert protocol.events == ["made", "pause"]
        transport.write(b"more")
        assert protocol.events == ["made", "pause"], "it is paused once"
        sizes = []
        protocol.resume_writing = lambda: sizes.append(transport.get_write_buffer_size())
        assert connection.receive(len(sent) + 4) == sent + b"more"
        assert len(sizes) == 1
        assert sizes[0] <= 16 * 1024

    def test_pause_writing_is_called_in_write(self, connect):
        # asyncio's drain() relies on it.
        connection = connect()
        connection.fill()
        other = connect()
        other.transport.set_write_buffer_limits(0)
        other.transport.write(bytes(4 << 20))
        assert "pause" in other.protocol.events

    def test_exactly_high_does_not_pause(self, connect):
        connection = connect()
        connection.transport.set_write_buffer_limits(1 << 30)
        connection.fill()
        size = connection.transport.get_write_buffer_size()
        connection.transport.set_write_buffer_limits(size + 10, 0)
        connection.transport.write(b"x" * 10)
        assert connection.protocol.events == ["made"]
        connection.transport.write(b"x")
        assert connection.protocol.events == ["made", "pause"]

    def test_a_write_that_the_kernel_takes_does_not_pause(self, connect):
        connection = connect()
        connection.transport.set_write_buffer_limits(0)
        connection.transport.write(b"small")
        connection.receive(5)
        settle(connection.loop)
        assert "pause" not in connection.protocol.events

    def test_the_size_of_the_buffer_reads_as_if_nothing_were_put_off(self, connect):
        connection = connect()
        sizes = []
        for _ in range(10):
            connection.transport.write(b"x" * 100)
            sizes.append(connection.transport.get_write_buffer_size())
        assert sizes == [0] * 10

    def test_the_size_of_the_buffer_is_what_the_kernel_did_not_take(self, connect):
        connection = connect()
        sent = connection.fill()
        left = connection.transport.get_write_buffer_size()
        connection.transport.write(b"x" * 1000)
        assert connection.transport.get_write_buffer_size() == left + 1000
        connection.transport.write(bytearray(500))
        connection.transport.writelines([b"abc", b"de"])
        assert left + 1505 >= connection.transport.get_write_buffer_size() > left + 1000
        taken = len(sent) - left
        assert connection.receive(taken) == sent[:taken]

    def test_drain_waits_for_the_resume(self, loop, kind):
        async def main():
            ours, theirs = nonblocking_pair(kind)
            _, writer = await asyncio.open_connection(sock=ours)
            writer.write(bytes(4 << 20))
            draining = asyncio.ensure_future(writer.drain())
            await asyncio.sleep(0)
            await asyncio.sleep(0)
            assert not draining.done()
            left = 4 << 20
            while left:
                left -= len(await loop.sock_recv(theirs, 1 << 20))
            await draining
            writer.close()
            theirs.close()
            await asyncio.sleep(0)

        loop.run_until_complete(main())

    @pytest.mark.parametrize("method", ["pause_writing", "resume_writing"])
    def test_an_exception_of_the_protocol_is_reported_and_the_connection_lives(self, connect, method):
        connection = connect()
        reports = reports_of(connection.loop)
        mistake = ZeroDivisionError("on purpose")
        with mock.patch.object(connection.protocol, method, side_effect=mistake):
            sent = connection.fill()
            assert connection.receive(len(sent)) == sent
        (report,) = reports
        assert report == {
            "message": f"protocol.{method}() failed",
            "exception": mistake,
            "transport": connection.transport,
            "protocol": connection.protocol,
        }
        connection.transport.write(b"alive")
        assert connection.receive(5) == b"alive"


class TestWriteEof:
    def test_it_can(self, connect):
        assert connect().transport.can_write_eof() is True

    def test_the_peer_sees_the_end_after_the_data(self, connect):
        connection = connect()
        connection.transport.write(b"last")
        connection.transport.write_eof()
        assert connection.receive_all() == b"last"

    def test_the_way_in_stays_open(self, connect):
        connection = connect()
        connection.transport.write_eof()
        assert connection.receive_all() == b""
        connection.theirs.send(b"answer")
        connection.until(lambda: connection.protocol.received == b"answer")
        assert not connection.transport.is_closing()

    def test_what_is_buffered_goes_first(self, connect):
        connection = connect()
        sent = connection.fill()
        connection.transport.write_eof()
        assert connection.receive_all() == sent
        connection.theirs.send(b"x")
        connection.until(lambda: connection.protocol.received == b"x")

    def test_twice_is_once(self, connect):
        connection = connect()
        connection.transport.write_eof()
        connection.transport.write_eof()
        assert connection.receive_all() == b""

    def test_no_write_afterwards(self, connect):
        connection = connect()
        connection.transport.write_eof()
        with pytest.raises(RuntimeError, match=r"^Cannot call write\(\) after write_eof\(\)$"):
            connection.transport.write(b"x")
        with pytest.raises(RuntimeError, match=r"^Cannot call (write|writelines)\(\) after write_eof\(\)$"):
            connection.transport.writelines([b"x"])

    def test_half_closed_both_ways(self, connect):
        connection = connect()
        connection.protocol.keep_open = True
        connection.theirs.send(b"request")
        connection.theirs.shutdown(socket.SHUT_WR)
        connection.until(lambda: "eof" in connection.protocol.events)
        connection.transport.write(b"answer")
        connection.transport.write_eof()
        assert connection.receive_all() == b"answer"
        settle(connection.loop)
        assert not connection.protocol.lost, "who keeps it open closes it"
        connection.transport.close()
        connection.until_lost()
        assert connection.protocol.lost == [None]

    def test_after_close_it_does_nothing(self, connect):
        connection = connect()
        sent = connection.fill()
        connection.transport.close()
        connection.transport.write_eof()
        assert connection.receive_all() == sent


class TestPatchedMethods:
    def test_a_patched_write_is_what_others_call(self, loop, kind):
        async def main():
            ours, theirs = nonblocking_pair(kind)
            _, writer = await asyncio.open_connection(sock=ours)
            writer.transport.write = mock.Mock()
            writer.write(b"x")
            writer.transport.write.assert_called_once_with(b"x")
            del writer.transport.write
            writer.write(b"y")
            assert await loop.sock_recv(theirs, 10) == b"y"
            writer.close()
            await writer.wait_closed()
            theirs.close()

        loop.run_until_complete(main())

    @pytest.mark.parametrize(
        "method", ["close", "is_closing", "pause_reading", "get_extra_info", "writelines", "abort"]
    )
    def test_every_method_can_be_patched(self, connect, method):
        connection = connect()
        with mock.patch.object(connection.transport, method) as patched:
            getattr(connection.transport, method)()
            patched.assert_called_once_with()
        assert method not in vars(connection.transport)
