"""Stream transports, the way in: data, buffers, pauses, the end of the stream."""

import asyncio
import contextlib
import socket
import sys

import pytest

from connected import BufferedRecorder, Connection, Recorder, settle

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


def test_data_arrives_as_bytes(connect):
    connection = connect()
    connection.theirs.send(b"one")
    connection.until(lambda: connection.protocol.received)
    assert connection.protocol.events == ["made", b"one"]
    assert type(connection.protocol.events[1]) is bytes


def test_what_is_there_arrives_at_once(connect):
    connection = connect()
    connection.theirs.send(b"one")
    connection.theirs.send(b"two")
    connection.until(lambda: connection.protocol.received)
    assert connection.protocol.events == ["made", b"onetwo"]


def test_a_lot_arrives_whole_and_in_order(connect):
    connection = connect()
    data = bytes(range(256)) * 8192
    left = memoryview(data)

    def sent():
        nonlocal left
        with contextlib.suppress(BlockingIOError):
            left = left[connection.theirs.send(left) :]
        return not left

    connection.until(sent)
    connection.until(lambda: len(connection.protocol.received) == len(data))
    assert connection.protocol.received == data


def test_a_piece_is_at_most_256_kib(connect):
    connection = connect()
    connection.theirs.setsockopt(socket.SOL_SOCKET, socket.SO_SNDBUF, 1 << 21)
    connection.transport.pause_reading()
    sent = connection.theirs.send(bytes(1 << 20))
    connection.transport.resume_reading()
    connection.until(lambda: len(connection.protocol.received) >= min(sent, 1))
    settle(connection.loop)
    assert max(len(event) for event in connection.protocol.events if isinstance(event, bytes)) <= 256 * 1024


def test_a_reader_does_not_starve_callbacks(connect):
    connection = connect()
    order = []

    class Forever(asyncio.Protocol):
        def data_received(self, data):
            order.append("data")
            connection.theirs.send(b"x")

    connection.transport.set_protocol(Forever())
    connection.loop.call_later(0.02, order.append, "timer")
    connection.theirs.send(b"x")
    connection.until(lambda: "timer" in order)
    assert order[0] == "data"
    connection.transport.set_protocol(Recorder())


class TestBuffers:
    def test_data_arrives_in_the_protocols_buffer(self, connect):
        connection = connect(BufferedRecorder())
        connection.theirs.send(b"one")
        connection.until(lambda: connection.protocol.received)
        assert connection.protocol.events == ["made", b"one"]

    def test_a_small_buffer_is_filled_again(self, connect):
        connection = connect(BufferedRecorder(2))
        connection.theirs.send(b"abcde")
        connection.until(lambda: connection.protocol.received == b"abcde")
        assert connection.protocol.events == ["made", b"ab", b"cd", b"e"]

    def test_a_memoryview_of_a_part_is_a_buffer(self, connect):
        whole = bytearray(b"..........")

        class Part(BufferedRecorder):
            def get_buffer(self, sizehint):
                return memoryview(whole)[3:6]

            def buffer_updated(self, nbytes):
                self.events.append(nbytes)

        connection = connect(Part())
        connection.theirs.send(b"abc")
        connection.until(lambda: len(connection.protocol.events) > 1)
        assert connection.protocol.events == ["made", 3]
        assert whole == b"...abc...."

    def test_the_end_reaches_a_buffered_protocol(self, connect):
        connection = connect(BufferedRecorder())
        connection.theirs.send(b"x")
        connection.theirs.close()
        connection.until_lost()
        assert connection.protocol.events == ["made", b"x", "eof", ("lost", None)]


class TestSetProtocol:
    def test_the_new_protocol_gets_what_comes(self, connect):
        connection = connect()
        second = Recorder()
        connection.transport.set_protocol(second)
        assert connection.transport.get_protocol() is second
        connection.theirs.send(b"x")
        connection.theirs.close()
        connection.until(lambda: second.lost)
        assert connection.protocol.events == ["made"]
        assert second.events == [b"x", "eof", ("lost", None)]

    @pytest.mark.parametrize("first", [Recorder, BufferedRecorder])
    @pytest.mark.parametrize("second", [Recorder, BufferedRecorder])
    def test_switching_inside_of_a_callback(self, connect, first, second):
        after = second()

        class Switching(first):
            def data_received(self, data):
                super().data_received(data)
                self.transport.set_protocol(after)

            def buffer_updated(self, nbytes):
                super().buffer_updated(nbytes)
                self.transport.set_protocol(after)

        connection = connect(Switching())
        connection.theirs.send(b"one")
        connection.until(lambda: connection.protocol.received)
        connection.theirs.send(b"two")
        connection.until(lambda: after.received)
        assert connection.protocol.events == ["made", b"one"]
        assert after.events == [b"two"]

    def test_switching_in_connection_made(self, connect):
        after = BufferedRecorder()

        class Switching(Recorder):
            def connection_made(self, transport):
                super().connection_made(transport)
                transport.set_protocol(after)

        connection = connect(Switching())
        connection.theirs.send(b"x")
        connection.until(lambda: after.received)
        assert connection.protocol.events == ["made"]

    def test_switching_in_get_buffer_counts_at_once(self, connect):
        after = BufferedRecorder()

        class Switching(BufferedRecorder):
            def get_buffer(self, sizehint):
                self.transport.set_protocol(after)
                return super().get_buffer(sizehint)

        connection = connect(Switching())
        connection.theirs.send(b"one")
        connection.until(lambda: after.events)
        assert connection.protocol.events == ["made"]
        assert bytes(connection.protocol.buffer[:3]) == b"one"
        assert len(after.received) == 3

    def test_switching_in_eof_received(self, connect):
        after = Recorder()

        class Switching(Recorder):
            def eof_received(self):
                self.transport.set_protocol(after)
                return super().eof_received()

        connection = connect(Switching())
        connection.theirs.close()
        connection.until(lambda: after.lost)
        assert connection.protocol.events == ["made", "eof"]
        assert after.events == [("lost", None)]


class TestPauses:
    def test_nothing_arrives_while_paused(self, connect):
        connection = connect()
        assert connection.transport.is_reading()
        connection.transport.pause_reading()
        assert not connection.transport.is_reading()
        connection.theirs.send(b"x")
        settle(connection.loop)
        assert connection.protocol.events == ["made"]
        connection.transport.resume_reading()
        assert connection.transport.is_reading()
        connection.until(lambda: connection.protocol.received == b"x")

    def test_pausing_and_resuming_twice_does_nothing(self, connect):
        connection = connect()
        connection.transport.pause_reading()
        connection.transport.pause_reading()
        connection.transport.resume_reading()
        connection.transport.resume_reading()
        connection.theirs.send(b"x")
        connection.until(lambda: connection.protocol.received == b"x")

    def test_the_end_waits_while_paused(self, connect):
        connection = connect()
        connection.transport.pause_reading()
        connection.theirs.close()
        settle(connection.loop)
        assert connection.protocol.events == ["made"]
        connection.transport.resume_reading()
        connection.until_lost()
        assert connection.protocol.events == ["made", "eof", ("lost", None)]

    def test_data_and_the_end_wait_while_paused(self, connect):
        connection = connect()
        connection.transport.pause_reading()
        connection.theirs.send(b"last")
        connection.theirs.close()
        settle(connection.loop)
        connection.transport.resume_reading()
        connection.until_lost()
        assert connection.protocol.events == ["made", b"last", "eof", ("lost", None)]

    def test_a_pause_in_data_received_counts_at_once(self, connect):
        class Pausing(BufferedRecorder):
            def buffer_updated(self, nbytes):
                super().buffer_updated(nbytes)
                self.transport.pause_reading()

        connection = connect(Pausing(1))
        connection.theirs.send(b"abc")
        connection.until(lambda: connection.protocol.received)
        settle(connection.loop)
        assert connection.protocol.received == b"a"
        connection.transport.resume_reading()
        connection.until(lambda: len(connection.protocol.received) == 2)
        settle(connection.loop)
        assert connection.protocol.received == b"ab"

    def test_pause_and_resume_in_data_received_loses_nothing(self, connect):
        class Toggling(BufferedRecorder):
            def buffer_updated(self, nbytes):
                super().buffer_updated(nbytes)
                self.transport.pause_reading()
                self.transport.resume_reading()

        connection = connect(Toggling(1))
        connection.theirs.send(b"abc")
        connection.until(lambda: connection.protocol.received == b"abc")

    def test_a_resume_reads_in_a_later_turn(self, connect):
        connection = connect()
        connection.transport.pause_reading()
        connection.theirs.send(b"x")
        settle(connection.loop)
        connection.transport.resume_reading()
        assert connection.protocol.events == ["made"], "no protocol method is called by resume_reading itself"
        connection.loop.call_soon(connection.protocol.events.append, "soon")
        connection.until(lambda: connection.protocol.received)
        assert connection.protocol.events == ["made", "soon", b"x"]

    @pytest.mark.skipif(sys.version_info < (3, 11), reason="asyncio's own forgets it in this version")
    def test_a_pause_in_connection_made_holds_what_is_there_already(self, connect):
        class Pausing(Recorder):
            def connection_made(self, transport):
                super().connection_made(transport)
                transport.pause_reading()

        connection = connect(Pausing())
        connection.theirs.send(b"x")
        settle(connection.loop)
        assert connection.protocol.events == ["made"]
        connection.transport.resume_reading()
        connection.until(lambda: connection.protocol.received == b"x")

    def test_a_paused_transport_still_writes(self, connect):
        connection = connect()
        connection.transport.pause_reading()
        connection.transport.write(b"x")
        assert connection.receive(1) == b"x"

    def test_pausing_a_closed_transport_does_nothing(self, connect):
        connection = connect()
        connection.transport.close()
        connection.transport.pause_reading()
        connection.transport.resume_reading()
        assert not connection.transport.is_reading()
        connection.until_lost()
        connection.transport.pause_reading()
        connection.transport.resume_reading()
        assert connection.protocol.events == ["made", ("lost", None)]


class TestTheEnd:
    @pytest.mark.parametrize("answer", [None, False])
    def test_the_transport_closes_itself(self, connect, answer):
        connection = connect()
        connection.protocol.keep_open = answer
        connection.theirs.shutdown(socket.SHUT_WR)
        connection.until_lost()
        assert connection.protocol.events == ["made", "eof", ("lost", None)]
        assert connection.transport.is_closing()
        assert connection.receive_all() == b""

    def test_true_keeps_the_way_out_open(self, connect):
        connection = connect()
        connection.protocol.keep_open = True
        connection.theirs.shutdown(socket.SHUT_WR)
        connection.until(lambda: "eof" in connection.protocol.events)
        settle(connection.loop)
        assert not connection.transport.is_closing()
        connection.transport.write(b"answer")
        assert connection.receive(6) == b"answer"
        connection.transport.close()
        connection.until_lost()
        assert connection.protocol.events == ["made", "eof", ("lost", None)]

    def test_the_end_is_told_once(self, connect):
        connection = connect()
        connection.protocol.keep_open = True
        connection.theirs.shutdown(socket.SHUT_WR)
        connection.until(lambda: "eof" in connection.protocol.events)
        settle(connection.loop, 20)
        assert connection.protocol.events == ["made", "eof"]

    def test_what_was_written_in_eof_received_is_sent(self, connect):
        class Answering(Recorder):
            def eof_received(self):
                super().eof_received()
                self.transport.write(b"bye" * 100_000)

        connection = connect(Answering())
        connection.theirs.shutdown(socket.SHUT_WR)
        assert connection.receive_all() == b"bye" * 100_000
        connection.until_lost()
        assert connection.protocol.lost == [None]

    def test_closing_in_data_received_ends_reading(self, connect):
        class Closing(BufferedRecorder):
            def buffer_updated(self, nbytes):
                super().buffer_updated(nbytes)
                self.transport.close()

        connection = connect(Closing(1))
        connection.theirs.send(b"abc")
        connection.until_lost()
        assert connection.protocol.events == ["made", b"a", ("lost", None)]
