"""Stream transports: how a connection ends, and what can be done with it afterwards."""

import errno
import gc
import logging
import re
import warnings
import weakref

import pytest

import boucle
from conftest import FACTORIES
from connected import BufferedRecorder, Connection, Recorder, collect, reports_of, settle, until

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


class TestClose:
    def test_connection_lost_comes_in_a_later_turn(self, connect):
        connection = connect()
        connection.transport.close()
        assert connection.transport.is_closing()
        assert connection.protocol.events == ["made"]
        connection.until_lost()
        assert connection.protocol.events == ["made", ("lost", None)]

    def test_connection_lost_comes_after_what_was_queued(self, connect):
        connection = connect()
        connection.loop.call_soon(connection.protocol.events.append, "before")
        connection.transport.close()
        connection.loop.call_soon(connection.protocol.events.append, "after")
        connection.until(lambda: "after" in connection.protocol.events)
        assert connection.protocol.events == ["made", "before", ("lost", None), "after"]

    @pytest.mark.parametrize("ways", ["close close", "close abort", "abort close", "abort abort"])
    def test_connection_lost_comes_once(self, connect, ways):
        connection = connect()
        for way in ways.split():
            getattr(connection.transport, way)()
        connection.theirs.close()
        settle(connection.loop)
        assert connection.protocol.lost == [None]

    def test_connection_lost_comes_once_with_data_and_an_end_there(self, connect):
        connection = connect()
        connection.theirs.send(b"x")
        connection.theirs.close()
        connection.transport.close()
        settle(connection.loop)
        assert connection.protocol.events == ["made", ("lost", None)]

    def test_the_peer_sees_the_end_and_the_descriptor_is_closed(self, connect):
        connection = connect()
        connection.transport.write(b"last")
        connection.transport.close()
        assert connection.receive_all() == b"last"
        settle(connection.loop)
        assert connection.ours.fileno() == -1

    def test_what_is_buffered_is_sent_first(self, connect):
        connection = connect()
        sent = connection.fill()
        connection.transport.close()
        settle(connection.loop)
        assert not connection.protocol.lost
        assert connection.receive_all() == sent
        connection.until_lost()
        assert connection.protocol.lost == [None]

    def test_nothing_is_read_while_the_buffer_is_sent(self, connect):
        connection = connect()
        sent = connection.fill()
        connection.transport.close()
        connection.theirs.send(b"x")
        assert connection.receive(len(sent) // 2) == sent[: len(sent) // 2]
        settle(connection.loop)
        assert not connection.protocol.received

    def test_abort_throws_the_buffer_away(self, connect):
        connection = connect()
        sent = connection.fill()
        connection.transport.abort()
        assert connection.transport.get_write_buffer_size() == 0
        connection.until_lost()
        assert connection.protocol.lost == [None]
        assert len(connection.receive_all()) < len(sent)

    def test_abort_after_close_does_not_wait_for_the_buffer(self, connect):
        connection = connect()
        connection.fill()
        connection.transport.close()
        connection.transport.abort()
        connection.until_lost()
        assert connection.protocol.lost == [None]

    @pytest.mark.parametrize("way", ["close", "abort"])
    @pytest.mark.parametrize("make", [Recorder, BufferedRecorder])
    def test_in_connection_made(self, connect, way, make):
        class Leaving(make):
            def connection_made(self, transport):
                super().connection_made(transport)
                getattr(transport, way)()

        connection = connect(Leaving())
        connection.until_lost()
        assert connection.protocol.events == ["made", ("lost", None)]

    def test_in_connection_lost(self, connect):
        class Leaving(Recorder):
            def connection_lost(self, exc):
                super().connection_lost(exc)
                self.transport.close()
                self.transport.abort()
                self.transport.write(b"x")
                self.transport.pause_reading()

        connection = connect(Leaving())
        connection.transport.close()
        connection.until_lost()
        settle(connection.loop)
        assert connection.protocol.lost == [None]

    def test_in_pause_writing(self, connect):
        class Leaving(Recorder):
            def pause_writing(self):
                super().pause_writing()
                self.transport.abort()

        connection = connect(Leaving())
        connection.transport.write(bytes(4 << 20))
        connection.until_lost()
        assert connection.protocol.events == ["made", "pause", ("lost", None)]


class WritingAtLast(Recorder):
    def connection_lost(self, exc):
        self.transport.write(b"late")
        super().connection_lost(exc)


def test_what_connection_lost_writes_after_late_bytes_is_sent_where_asyncio_sends_it(kind):
    ends = []
    for new_loop in FACTORIES.values():
        loop = new_loop()
        connection = Connection(loop, kind, WritingAtLast())
        connection.fill()
        connection.transport.close()
        ends.append(connection.receive_all().endswith(b"late"))
        connection.close()
        loop.close()
    assert ends[0] == ends[1]


class TestAfterwards:
    def test_writes_are_ignored_and_warned_about_from_the_sixth_on(self, connect, caplog):
        connection = connect()
        connection.transport.abort()
        with caplog.at_level(logging.WARNING, "asyncio"):
            warned = []
            for _ in range(8):
                connection.transport.write(b"x")
                warned.append(len(caplog.records))
        assert warned == [0, 0, 0, 0, 1, 2, 3, 4]
        assert {record.getMessage() for record in caplog.records} == {"socket.send() raised exception."}
        assert connection.receive_all() == b""

    def test_a_write_after_close_is_not_sent(self, connect):
        connection = connect()
        connection.transport.write(b"before")
        connection.transport.close()
        connection.transport.write(b"after")
        assert connection.receive_all() == b"before"

    def test_a_write_of_a_wrong_type_still_raises(self, connect):
        connection = connect()
        connection.transport.close()
        with pytest.raises(TypeError, match="data argument must be a bytes"):
            connection.transport.write("text")

    def test_the_extra_info_stays(self, connect):
        connection = connect()
        names = connection.transport.get_extra_info("sockname"), connection.transport.get_extra_info("peername")
        connection.transport.close()
        connection.until_lost()
        transport = connection.transport
        assert (transport.get_extra_info("sockname"), transport.get_extra_info("peername")) == names
        assert transport.get_extra_info("socket").fileno() == -1
        assert transport.get_protocol() is None

    def test_the_repr_says_closed(self, connect):
        connection = connect()
        connection.transport.close()
        assert " closing " in repr(connection.transport)
        connection.until_lost()
        assert " closed " in repr(connection.transport)

    def test_the_transport_lets_go_of_its_protocol(self, connect):
        connection = connect()
        connection.transport.close()
        connection.until_lost()
        alive = weakref.ref(connection.protocol)
        connection.protocol = None
        collect()
        assert alive() is None


class TestLostConnections:
    def test_a_reset_while_reading(self, connect, kind):
        connection = connect()
        connection.transport.write(b"unread")
        settle(connection.loop)
        connection.reset()
        connection.until_lost()
        (lost,) = connection.protocol.lost
        assert isinstance(lost, ConnectionResetError)
        assert lost.errno == errno.ECONNRESET
        assert "eof" not in connection.protocol.events

    def test_a_broken_pipe_while_writing(self, connect):
        connection = connect()
        connection.transport.pause_reading()
        connection.fill()
        connection.reset()
        connection.until_lost()
        (lost,) = connection.protocol.lost
        assert isinstance(lost, (ConnectionResetError, BrokenPipeError))
        assert connection.transport.get_write_buffer_size() == 0

    def test_an_error_of_the_network_is_not_reported_to_the_handler(self, connect):
        # The fixture fails the test if it is; a write finds the error here, in the same step or at its end.
        connection = connect()
        connection.transport.pause_reading()
        connection.reset()
        for _ in range(3):
            connection.transport.write(b"x")
            settle(connection.loop)
        connection.until_lost()
        assert isinstance(connection.protocol.lost[0], OSError)
        assert connection.transport.is_closing()

    def test_a_failed_write_calls_nobody_at_once(self, connect):
        connection = connect()
        connection.transport.pause_reading()
        connection.reset()
        connection.transport.write(b"x")
        connection.transport.write(b"x")
        assert connection.protocol.events == ["made"]
        connection.until(lambda: connection.protocol.lost or connection.transport.write(b"x"))

    def test_closing_after_a_reset_tells_once(self, connect):
        connection = connect()
        connection.fill()
        connection.transport.close()
        connection.reset()
        connection.until_lost()
        settle(connection.loop)
        (lost,) = connection.protocol.lost
        assert isinstance(lost, OSError)


class TestObjects:
    def test_a_transport_can_be_referenced_weakly(self, loop, kind):
        connection = Connection(loop, kind)
        alive = weakref.ref(connection.transport)
        assert alive() is connection.transport
        connection.transport.close()
        connection.until_lost()
        connection.transport = connection.protocol.transport = None
        collect()
        assert alive() is None
        connection.theirs.close()

    def test_an_unclosed_transport_warns_and_closes_its_socket(self, factory, kind):
        loop = factory()
        connection = Connection(loop, kind)
        number, theirs = connection.descriptor, connection.theirs
        theirs.setblocking(True)
        shown = rf"unclosed transport <.*fd={number}"
        loop.close()
        with warnings.catch_warnings(record=True) as caught:
            warnings.simplefilter("always")
            del connection
            collect()
        assert any(re.search(shown, str(warning.message)) for warning in caught)
        assert theirs.recv(1) == b""
        theirs.close()

    def test_a_closed_transport_does_not_warn(self, loop, kind):
        connection = Connection(loop, kind)
        connection.transport.close()
        connection.until_lost()
        with warnings.catch_warnings():
            warnings.simplefilter("error")
            connection.transport = connection.protocol.transport = None
            collect()
        connection.theirs.close()

    def test_a_thousand_connections_leave_no_object(self, factory, kind):
        loop = factory()
        protocols = weakref.WeakSet()

        def round_trip():
            connection = Connection(loop, kind)
            protocols.add(connection.protocol)
            connection.theirs.send(b"x")
            connection.until(lambda: connection.protocol.received)
            connection.transport.write(b"y")
            connection.transport.close()
            connection.until_lost()
            connection.theirs.close()

        for _ in range(1000 if factory is boucle.new_event_loop else 20):
            round_trip()
        collect()
        assert not protocols
        loop.close()


def test_connection_lost_gets_its_exception_once_when_the_protocol_fails(connect):
    connection = connect()
    reports = reports_of(connection.loop)
    mistake = ValueError("on purpose")

    def fail(data):
        connection.transport.close()
        raise mistake

    connection.protocol.data_received = fail
    connection.theirs.send(b"x")
    connection.until_lost()
    settle(connection.loop)
    # close() came first: the connection is lost with nothing, and the mistake is reported all the same.
    assert connection.protocol.lost == [None]
    assert [report["exception"] for report in reports] == [mistake]


def test_the_garbage_collector_may_run_in_any_callback(connect):
    class Collecting(Recorder):
        def data_received(self, data):
            super().data_received(data)
            gc.collect()

        def connection_lost(self, exc):
            super().connection_lost(exc)
            gc.collect()

    connection = connect(Collecting())
    connection.theirs.send(b"x")
    connection.theirs.close()
    until(connection.loop, lambda: connection.protocol.lost)
    assert connection.protocol.events == ["made", b"x", "eof", ("lost", None)]
