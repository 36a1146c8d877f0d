"""Pipes: order, the end of the other side, flow control, and how long things live."""

import asyncio
import contextvars
import errno
import fcntl
import gc
import io
import os
import pty
import socket
import tempfile
import weakref

import pytest

from conftest import FailureError, run_turns

PLACE = contextvars.ContextVar("place", default="outside")


class Recorder(asyncio.Protocol):
    """Writes down what it is told, and does what a test wants on top."""

    def __init__(self, **reactions):
        self.events = []
        self.reactions = reactions

    def tell(self, name, *args):
        self.events.append((name, *args) if args else name)
        if name in self.reactions:
            self.reactions[name](self.transport)

    def connection_made(self, transport):
        self.transport = transport
        self.tell("made")

    def data_received(self, data):
        self.tell("data", data)

    def eof_received(self):
        self.tell("eof")

    def connection_lost(self, exc):
        self.tell("lost", exc)

    def pause_writing(self):
        self.tell("pause")

    def resume_writing(self):
        self.tell("resume")

    @property
    def data(self):
        return b"".join(event[1] for event in self.events if event[0] == "data")


def until(loop, condition):
    """Run turns until the condition holds."""

    async def wait():
        while not condition():
            await asyncio.sleep(0)

    loop.run_until_complete(asyncio.wait_for(wait(), 10))


def reader(loop, protocol=None):
    """A transport that reads, its protocol, and the other end."""
    ours, theirs = os.pipe()
    transport, protocol = loop.run_until_complete(
        loop.connect_read_pipe(lambda: protocol or Recorder(), io.FileIO(ours))
    )
    return transport, protocol, theirs


def writer(loop, protocol=None):
    """A transport that writes, its protocol, and the other end, which does not block."""
    theirs, ours = os.pipe()
    os.set_blocking(theirs, False)
    fcntl.fcntl(ours, fcntl.F_SETPIPE_SZ, 4096)
    transport, protocol = loop.run_until_complete(
        loop.connect_write_pipe(lambda: protocol or Recorder(), io.FileIO(ours, "w"))
    )
    return transport, protocol, theirs


def paused_reader(loop):
    """A transport that waits for nothing: the loop does not hold it."""
    transport, protocol, theirs = reader(loop)
    transport.pause_reading()
    return transport, protocol, theirs


def device(loop):
    """A transport that writes to a terminal, its protocol, and the other end."""
    theirs, ours = pty.openpty()
    transport, protocol = loop.run_until_complete(loop.connect_write_pipe(Recorder, io.FileIO(ours, "w")))
    return transport, protocol, theirs


def drain(fd):
    try:
        return os.read(fd, 1 << 20)
    except BlockingIOError:
        return b""


@pytest.fixture
def reports(factory):
    """A loop, and what its exception handler is told."""
    loop = factory()
    reports = []
    loop.set_exception_handler(lambda loop, context: reports.append(context))
    yield loop, reports
    loop.close()


# Both.


@pytest.mark.parametrize(("make", "kind"), [(reader, asyncio.ReadTransport), (writer, asyncio.WriteTransport)])
def test_pipe_transports_are_asyncios(loop, make, kind):
    transport, protocol, theirs = make(loop)
    assert isinstance(transport, kind)
    pipe = transport.get_extra_info("pipe")
    assert transport._pipe is pipe
    assert transport._fileno == pipe.fileno()
    assert transport.get_extra_info("nothing", "default") == "default"
    assert not os.get_blocking(pipe.fileno())
    assert transport.get_protocol() is protocol
    assert transport._loop is loop
    transport.note = "of our own"
    assert weakref.ref(transport)() is transport
    transport.close()
    run_turns(loop)
    os.close(theirs)


@pytest.mark.parametrize(
    ("connect", "text"),
    [
        ("connect_read_pipe", "Pipe transport is for pipes/sockets only."),
        ("connect_write_pipe", "Pipe transport is only for pipes, sockets and character devices"),
    ],
)
def test_a_regular_file_is_refused_and_stays_open(loop, connect, text):
    protocol = Recorder()
    with tempfile.TemporaryFile() as file:
        with pytest.raises(ValueError, match=f"^{text}$"):
            loop.run_until_complete(getattr(loop, connect)(lambda: protocol, file))
        assert not file.closed
        assert os.get_blocking(file.fileno())
    run_turns(loop)
    assert protocol.events == []


def test_the_repr_says_how_far_it_is(loop):
    def shown(transport):
        return repr(transport).split(" ", 1)[1]

    reading, _, theirs = reader(loop)
    fd = reading._fileno
    assert shown(reading) == f"fd={fd} polling>"
    reading.pause_reading()
    assert shown(reading) == f"fd={fd} idle>"
    reading.close()
    assert shown(reading) == f"closing fd={fd} idle>"
    run_turns(loop)
    assert shown(reading) == f"closed fd={fd} closed>"
    os.close(theirs)
    writing, _, theirs = writer(loop)
    fd = writing._fileno
    assert shown(writing) == f"fd={fd} idle bufsize=0>"
    writing.write(bytes(5000))
    assert shown(writing) == f"fd={fd} polling bufsize=904>"
    writing.abort()
    run_turns(loop)
    assert shown(writing) == f"closed fd={fd} closed>"
    os.close(theirs)


@pytest.mark.parametrize("make", [paused_reader, device])
def test_a_forgotten_transport_warns_and_closes_its_pipe(loop, make):
    transport, protocol, theirs = make(loop)
    text, pipe = repr(transport), transport.get_extra_info("pipe")
    del protocol.transport
    with pytest.warns(ResourceWarning) as warned:
        del transport
    assert [str(warning.message) for warning in warned] == [f"unclosed transport {text}"]
    assert pipe.closed
    os.close(theirs)


@pytest.mark.parametrize("make", [reader, writer])
def test_nothing_is_left_of_a_transport_that_was_closed(loop, make):
    transport, protocol, theirs = make(loop)
    gone = weakref.ref(transport), weakref.ref(protocol), weakref.ref(transport.get_extra_info("pipe"))
    transport.close()
    run_turns(loop)
    assert protocol.events[-1] == ("lost", None)
    del transport, protocol
    gc.collect()
    assert [reference() for reference in gone] == [None] * 3
    os.close(theirs)


# Reading.


def test_what_arrives_is_told_in_order_and_then_the_end(loop):
    transport, protocol, theirs = reader(loop)
    os.write(theirs, b"one")
    until(loop, lambda: protocol.data)
    os.write(theirs, b"two")
    os.close(theirs)
    until(loop, lambda: "lost" in protocol.events[-1])
    assert protocol.events == ["made", ("data", b"one"), ("data", b"two"), "eof", ("lost", None)]
    assert transport.is_closing()
    assert transport._pipe is None
    assert transport._loop is None


def test_a_socket_can_be_read_as_a_pipe(loop):
    ours, theirs = socket.socketpair()
    transport, protocol = loop.run_until_complete(loop.connect_read_pipe(Recorder, ours))
    theirs.send(b"x")
    theirs.close()
    until(loop, lambda: "lost" in protocol.events[-1])
    assert protocol.events == ["made", ("data", b"x"), "eof", ("lost", None)]
    assert ours.fileno() == -1
    assert transport.is_closing()


def test_a_terminal_that_goes_is_no_report(loop):
    theirs, ours = pty.openpty()
    _, protocol = loop.run_until_complete(loop.connect_read_pipe(Recorder, io.FileIO(theirs)))
    os.write(ours, b"x\n")
    until(loop, lambda: protocol.data == b"x\r\n")
    os.close(ours)
    until(loop, lambda: "lost" in protocol.events[-1])
    [error] = protocol.events[-1][1:]
    assert error.errno == errno.EIO


def test_another_error_is_reported_also_of_the_system(reports):
    loop, told = reports
    # Reset: the other side goes with something unread.
    listener = socket.create_server(("127.0.0.1", 0))
    ours = socket.create_connection(listener.getsockname())
    theirs, _ = listener.accept()
    _, protocol = loop.run_until_complete(loop.connect_read_pipe(Recorder, ours))
    ours.send(b"unread")
    until(loop, lambda: theirs.recv(1, socket.MSG_PEEK))
    theirs.close()
    listener.close()
    until(loop, lambda: "lost" in protocol.events[-1])
    [report] = told
    assert type(report["exception"]) is ConnectionResetError
    assert report["message"] == "Fatal read error on pipe transport"
    assert report["protocol"] is protocol
    assert protocol.events[1:] == [("lost", report["exception"])]


def test_nothing_is_told_while_reading_is_paused(loop):
    transport, protocol, theirs = reader(loop)
    transport.pause_reading()
    transport.pause_reading()
    os.write(theirs, b"x")
    run_turns(loop)
    assert protocol.events == ["made"]
    assert transport._paused
    transport.resume_reading()
    until(loop, lambda: protocol.data == b"x")
    os.close(theirs)
    until(loop, lambda: "lost" in protocol.events[-1])
    transport.pause_reading()
    transport.resume_reading()


@pytest.mark.parametrize("end", ["close", "pause_reading"])
def test_a_protocol_that_has_enough_is_told_nothing_more(loop, end):
    protocol = Recorder(data=lambda transport: [os.write(theirs, b"y"), getattr(transport, end)()])
    transport, _, theirs = reader(loop, protocol)
    os.write(theirs, b"x")
    until(loop, lambda: protocol.data)
    run_turns(loop)
    assert protocol.data == b"x"
    os.close(theirs)
    transport.close()
    run_turns(loop)
    assert protocol.events == ["made", ("data", b"x"), ("lost", None)]


def test_what_a_reading_protocol_raises_is_reported_and_ends_nothing(reports):
    loop, told = reports

    def fail(transport):
        if len(protocol.data) == 1:
            raise FailureError

    protocol = Recorder(data=fail)
    transport, _, theirs = reader(loop, protocol)
    os.write(theirs, b"x")
    until(loop, lambda: told)
    assert isinstance(told[0]["exception"], FailureError)
    assert "_read_ready()" in told[0]["message"]
    os.write(theirs, b"y")
    until(loop, lambda: protocol.data == b"xy")
    assert not transport.is_closing()
    assert len(told) == 1
    os.close(theirs)
    until(loop, lambda: "lost" in protocol.events[-1])


def test_callbacks_run_in_the_context_of_the_beginning(loop):
    seen = []
    protocol = Recorder(**dict.fromkeys(["made", "data", "eof", "lost"], lambda _: seen.append(PLACE.get())))
    ours, theirs = os.pipe()

    async def main():
        PLACE.set("inside")
        await loop.connect_read_pipe(lambda: protocol, io.FileIO(ours))

    loop.run_until_complete(main())
    os.write(theirs, b"x")
    os.close(theirs)
    until(loop, lambda: len(seen) == 4)
    assert seen == ["inside"] * 4


# Writing.


def test_what_is_written_leaves_at_once(loop):
    transport, _, theirs = writer(loop)
    transport.write(b"one")
    transport.write(bytearray(b"two"))
    transport.write(memoryview(b"three"))
    transport.write(b"")
    transport.writelines([b"a", b"b"])
    assert drain(theirs) == b"onetwothreeab"
    assert transport.get_write_buffer_size() == 0
    transport.close()
    run_turns(loop)
    assert drain(theirs) == b""
    os.close(theirs)


def test_what_does_not_fit_waits_in_order(loop):
    transport, _, theirs = writer(loop)
    content = bytes(range(256)) * 64
    changing = bytearray(content)
    transport.write(changing)
    changing[:] = bytes(len(changing))
    transport.write(b"after")
    transport.write(content)
    assert transport.get_write_buffer_size() == 2 * len(content) + 5 - 4096
    received = bytearray()
    until(loop, lambda: received.extend(drain(theirs)) or len(received) == 2 * len(content) + 5)
    assert received == content + b"after" + content
    transport.close()
    run_turns(loop)
    os.close(theirs)


def test_the_protocol_pauses_and_resumes_when_everything_is_written(loop):
    transport, protocol, theirs = writer(loop)
    transport.set_write_buffer_limits(high=1000, low=900)
    assert transport.get_write_buffer_limits() == (900, 1000)
    transport.write(bytes(4096 + 1000))
    assert protocol.events == ["made"]
    transport.write(b"x")
    transport.write(b"x")
    assert protocol.events == ["made", "pause"]
    received = bytearray()
    until(loop, lambda: received.extend(drain(theirs)) or "resume" in protocol.events)
    assert protocol.events == ["made", "pause", "resume"]
    assert transport.get_write_buffer_size() == 0
    with pytest.raises(ValueError, match="must be >= low"):
        transport.set_write_buffer_limits(high=1, low=2)
    transport.close()
    run_turns(loop)
    os.close(theirs)


def test_a_protocol_that_resumes_may_write(loop):
    protocol = Recorder(resume=lambda transport: transport.write(b"more"))
    transport, _, theirs = writer(loop, protocol)
    transport.set_write_buffer_limits(high=0)
    transport.write(bytes(5000))
    received = bytearray()
    until(loop, lambda: received.extend(drain(theirs)) or received.endswith(b"more"))
    assert len(received) == 5004
    transport.close()
    run_turns(loop)
    os.close(theirs)


@pytest.mark.parametrize("end", ["close", "write_eof"])
def test_closing_writes_first_what_waits(loop, end):
    transport, protocol, theirs = writer(loop)
    assert transport.can_write_eof()
    transport.write(bytes(10000))
    getattr(transport, end)()
    getattr(transport, end)()
    assert transport.is_closing()
    run_turns(loop)
    assert protocol.events == ["made"]
    received = bytearray()
    until(loop, lambda: received.extend(drain(theirs)) or ("lost", None) in protocol.events)
    received.extend(drain(theirs))
    assert len(received) == 10000
    assert protocol.events == ["made", ("lost", None)]
    os.close(theirs)


def test_aborting_drops_what_waits(loop):
    transport, protocol, theirs = writer(loop)
    transport.write(bytes(10000))
    transport.abort()
    assert protocol.events == ["made"]
    assert transport.get_write_buffer_size() == 0
    run_turns(loop)
    assert protocol.events == ["made", ("lost", None)]
    assert len(drain(theirs)) == 4096
    os.close(theirs)


def test_the_loss_is_told_once(own_loop):
    # asyncio calls connection_lost() of None when abort() follows close().
    protocol = Recorder(lost=lambda transport: transport.abort())
    transport, _, theirs = writer(own_loop, protocol)
    transport.close()
    transport.abort()
    transport.abort()
    run_turns(own_loop)
    assert protocol.events == ["made", ("lost", None)]
    os.close(theirs)


@pytest.mark.parametrize("waits", [False, True])
def test_a_reader_that_goes_is_noticed_without_a_write(loop, waits):
    transport, protocol, theirs = writer(loop)
    if waits:
        transport.write(bytes(10000))
    os.close(theirs)
    until(loop, lambda: "lost" in protocol.events[-1])
    assert type(protocol.events[-1][1]) is (BrokenPipeError if waits else type(None))
    assert len(protocol.events) == 2


@pytest.mark.parametrize("speaks", [False, True])
def test_a_socket_that_is_closed_or_speaks_counts_as_gone(loop, speaks):
    ours, theirs = socket.socketpair()
    _, protocol = loop.run_until_complete(loop.connect_write_pipe(Recorder, ours))
    theirs.send(b"x") if speaks else theirs.close()
    until(loop, lambda: protocol.events[-1] == ("lost", None))
    theirs.close()


def test_a_write_to_a_reader_that_is_gone_closes(loop, caplog):
    transport, protocol, theirs = writer(loop)
    os.close(theirs)
    for _ in range(7):
        transport.write(b"x")
    assert transport.is_closing()
    assert transport._conn_lost == 7
    run_turns(loop)
    assert type(protocol.events[-1][1]) is BrokenPipeError
    assert len(protocol.events) == 2
    text = "pipe closed by peer or os.write(pipe, data) raised exception."
    assert [record.message for record in caplog.records] == [text] * 2


def test_wrong_data_is_refused(loop):
    transport, _, theirs = writer(loop)
    for wrong in ("text", None, 5):
        with pytest.raises(AssertionError) as told:
            transport.write(wrong)
        assert str(told.value) == repr(wrong)
    transport.close()
    run_turns(loop)
    os.close(theirs)


def test_a_device_is_written_to_without_waiting_to_read(loop):
    transport, protocol, theirs = device(loop)
    os.write(theirs, b"typed\n")
    transport.write(b"x")
    run_turns(loop)
    assert protocol.events == ["made"]
    assert not transport.is_closing()
    transport.close()
    run_turns(loop)
    os.close(theirs)
