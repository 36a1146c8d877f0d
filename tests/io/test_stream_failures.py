"""Stream transports: exceptions in a protocol's callbacks. What is reported, and what becomes of the connection."""

import asyncio

import pytest

from connected import BufferedRecorder, Connection, Recorder, nonblocking_pair, reports_of, settle, until


class MistakeError(Exception):
    """What the protocols of this file raise."""


def failing(base, method, mistake):
    """A protocol of this kind whose method raises, after it has noted the call."""

    def fail(self, *arguments):
        if method == "connection_made":
            self.transport = arguments[0]
        self.events.append("failing")
        raise mistake

    fail.__qualname__ = f"Failing.{method}"
    return type("Failing", (base,), {method: fail})()


@pytest.fixture
def connect(loop):
    connections = []

    def connect(protocol=None):
        connections.append(Connection(loop, "tcp", protocol))
        return connections[-1]

    yield connect
    for connection in connections:
        connection.close()


READING = [(Recorder, "data_received"), (BufferedRecorder, "get_buffer"), (BufferedRecorder, "buffer_updated")]
READING += [(Recorder, "eof_received"), (BufferedRecorder, "eof_received")]


@pytest.mark.parametrize(("base", "method"), READING)
def test_a_mistake_is_reported_and_ends_the_connection(connect, base, method):
    mistake = MistakeError()
    connection = connect(failing(base, method, mistake))
    reports = reports_of(connection.loop)
    connection.theirs.close() if method == "eof_received" else connection.theirs.send(b"x")
    connection.until_lost()
    (report,) = reports
    assert report == {
        "message": f"Fatal error: protocol.{method}() call failed.",
        "exception": mistake,
        "transport": connection.transport,
        "protocol": connection.protocol,
    }
    assert connection.protocol.events == ["made", "failing", ("lost", mistake)]


@pytest.mark.parametrize(("base", "method"), READING)
def test_an_error_of_the_system_ends_it_without_a_report(connect, base, method):
    mistake = OSError("as if the connection had failed")
    connection = connect(failing(base, method, mistake))
    connection.theirs.close() if method == "eof_received" else connection.theirs.send(b"x")
    connection.until_lost()
    assert connection.protocol.lost == [mistake]


@pytest.mark.parametrize("interrupt", [KeyboardInterrupt, SystemExit])
@pytest.mark.parametrize(("base", "method"), READING)
def test_an_interrupt_leaves_the_run_and_the_loop_goes_on(connect, interrupt, base, method):
    connection = connect(failing(base, method, interrupt()))
    loop = connection.loop
    loop.call_later(10, loop.stop)
    connection.theirs.close() if method == "eof_received" else connection.theirs.send(b"x")
    with pytest.raises(interrupt):
        loop.run_forever()
    assert not loop.is_running()
    assert connection.protocol.events == ["made", "failing"]
    connection.transport.set_protocol(Recorder())
    assert loop.run_until_complete(asyncio.sleep(0, "goes on")) == "goes on"


def test_an_interrupt_in_connection_made_leaves_the_run(loop):
    ours, theirs = nonblocking_pair("tcp")
    protocol = failing(Recorder, "connection_made", KeyboardInterrupt())
    connecting = loop.create_task(loop.create_connection(lambda: protocol, sock=ours))
    with pytest.raises(KeyboardInterrupt):
        loop.run_until_complete(connecting)
    transport, _ = loop.run_until_complete(connecting)
    theirs.send(b"x")
    until(loop, lambda: protocol.received == b"x")
    transport.abort()
    theirs.close()
    settle(loop)


def test_a_mistake_in_connection_made_is_reported_and_the_connection_lives(loop):
    reports = reports_of(loop)
    mistake = MistakeError()
    connection = Connection(loop, "tcp", failing(Recorder, "connection_made", mistake))
    (report,) = reports
    assert report["exception"] is mistake
    assert "Exception in callback" in report["message"]
    assert "connection_made" in report["message"]
    connection.theirs.send(b"x")
    connection.until(lambda: connection.protocol.received == b"x")
    connection.close()


def test_a_mistake_in_connection_lost_is_reported_and_the_descriptor_is_closed(loop):
    reports = reports_of(loop)
    mistake = MistakeError()
    connection = Connection(loop, "tcp", failing(Recorder, "connection_lost", mistake))
    connection.transport.close()
    connection.until(lambda: "failing" in connection.protocol.events)
    settle(loop)
    (report,) = reports
    assert report["exception"] is mistake
    assert "connection_lost" in report["message"]
    assert connection.ours.fileno() == -1
    assert connection.protocol.events == ["made", "failing"]
    connection.close()


@pytest.mark.parametrize(
    "buffer", [b"", bytearray(), memoryview(bytearray())], ids=lambda buffer: type(buffer).__name__
)
def test_an_empty_buffer_is_a_mistake(connect, buffer):
    class Empty(BufferedRecorder):
        def get_buffer(self, sizehint):
            return buffer

    connection = connect(Empty())
    reports = reports_of(connection.loop)
    connection.theirs.send(b"x")
    connection.until_lost()
    (report,) = reports
    assert report["message"] == "Fatal error: protocol.get_buffer() call failed."
    assert str(report["exception"]) == "get_buffer() returned an empty buffer"
    assert connection.protocol.lost == [report["exception"]]


@pytest.mark.parametrize("buffer", [b"read-only", None, 3, "text"], ids=repr)
def test_what_is_no_writable_buffer_is_a_mistake(connect, buffer):
    class Wrong(BufferedRecorder):
        def get_buffer(self, sizehint):
            return buffer

    connection = connect(Wrong())
    reports = reports_of(connection.loop)
    connection.theirs.send(b"x")
    connection.until_lost()
    (report,) = reports
    assert isinstance(report["exception"], TypeError)
    assert report["message"].startswith("Fatal ")
    assert connection.protocol.lost == [report["exception"]]


def test_scattered_memory_cannot_be_sent(connect):
    connection = connect()
    reports = reports_of(connection.loop)
    scattered = memoryview(b"abcdef")[::2]

    def write():
        connection.transport.write(b"before")
        connection.transport.write(scattered)
        connection.transport.write(b"after")

    connection.loop.call_soon(write)
    connection.until_lost()
    (report,) = reports
    assert report["message"] == "Fatal write error on socket transport"
    (lost,) = connection.protocol.lost
    assert report["exception"] is lost
    assert isinstance(lost, BufferError)
    connection.transport.write(scattered)
    assert connection.receive_all() == b"before"
    assert len(reports) == 1


def test_other_connections_do_not_notice(connect):
    wrong = connect(failing(Recorder, "data_received", MistakeError()))
    right = connect()
    reports = reports_of(wrong.loop)
    for connection in (wrong, right):
        connection.theirs.send(b"x")
    until(wrong.loop, lambda: wrong.protocol.lost and right.protocol.received)
    assert len(reports) == 1
    assert right.protocol.events == ["made", b"x"]


def test_a_mistake_of_the_exception_handler_itself_does_no_harm(connect, caplog):
    connection = connect(failing(Recorder, "data_received", MistakeError()))

    def handler(loop, context):
        raise ValueError("also on purpose")

    connection.loop.set_exception_handler(handler)
    connection.theirs.send(b"x")
    connection.until_lost()
    assert "Unhandled error in exception handler" in caplog.text
