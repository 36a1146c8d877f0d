"""Transports of pipes: what can be read and written, how each side ends, and who closes the descriptor."""

import asyncio
import contextlib
import os
import socket
import sys

import pytest

from connected import Recorder, collect, reports_of, settle, until


class Writing(asyncio.BaseProtocol):
    """Notes what a write pipe calls."""

    def __init__(self):
        self.events = []

    def connection_made(self, transport):
        self.events.append("made")

    def pause_writing(self):
        self.events.append("pause")

    def resume_writing(self):
        self.events.append("resume")

    def connection_lost(self, exc):
        self.events.append(("lost", exc))

    @property
    def lost(self):
        return [event[1] for event in self.events if isinstance(event, tuple)]


class Pipe:
    """A pipe whose one end is a transport, and whose other end, `theirs`, is a descriptor."""

    def __init__(self, loop, side):
        self.loop = loop
        reading, writing = os.pipe()
        self.descriptor, self.theirs = (reading, writing) if side == "read" else (writing, reading)
        os.set_blocking(self.theirs, False)
        self.file = open(self.descriptor, "rb" if side == "read" else "wb", 0)  # noqa: SIM115, the transport's
        connect, factory = (loop.connect_read_pipe, Recorder) if side == "read" else (loop.connect_write_pipe, Writing)
        self.transport, self.protocol = loop.run_until_complete(connect(factory, self.file))

    def close_theirs(self):
        if self.theirs >= 0:
            os.close(self.theirs)
        self.theirs = -1

    def fill(self):
        """Write more than the kernel takes."""
        data = bytes(range(256)) * 4096
        self.transport.write(data)
        settle(self.loop)
        assert self.transport.get_write_buffer_size()
        return data

    def read_all(self):
        data = bytearray()

        def ended():
            with contextlib.suppress(BlockingIOError):
                piece = os.read(self.theirs, 1 << 16)
                data.extend(piece)
                return not piece
            return False

        until(self.loop, ended)
        return bytes(data)

    def end(self):
        self.transport.close() if hasattr(self.transport, "pause_reading") else self.transport.abort()
        self.close_theirs()
        settle(self.loop)


@pytest.fixture
def read_pipe(loop):
    pipe = Pipe(loop, "read")
    yield pipe
    if not pipe.protocol.lost:
        pipe.end()
    pipe.close_theirs()


@pytest.fixture
def write_pipe(loop):
    pipe = Pipe(loop, "write")
    yield pipe
    if not pipe.protocol.lost:
        pipe.end()
    pipe.close_theirs()


class TestReading:
    def test_data_and_the_end(self, loop, read_pipe):
        os.write(read_pipe.theirs, b"hello")
        until(loop, lambda: read_pipe.protocol.received)
        read_pipe.close_theirs()
        until(loop, lambda: read_pipe.protocol.lost)
        assert read_pipe.protocol.events == ["made", b"hello", "eof", ("lost", None)]
        assert read_pipe.file.closed

    def test_pausing(self, loop, read_pipe):
        # Pipes cannot be asked before 3.11.
        assert sys.version_info < (3, 11) or read_pipe.transport.is_reading()
        read_pipe.transport.pause_reading()
        assert sys.version_info < (3, 11) or not read_pipe.transport.is_reading()
        os.write(read_pipe.theirs, b"x")
        settle(loop)
        assert read_pipe.protocol.events == ["made"]
        read_pipe.transport.resume_reading()
        until(loop, lambda: read_pipe.protocol.received == b"x")

    def test_closing(self, loop, read_pipe):
        read_pipe.transport.close()
        read_pipe.transport.close()
        assert read_pipe.transport.is_closing()
        assert read_pipe.protocol.events == ["made"]
        until(loop, lambda: read_pipe.protocol.lost)
        assert read_pipe.protocol.events == ["made", ("lost", None)]
        assert read_pipe.file.closed
        with pytest.raises(BrokenPipeError):
            os.write(read_pipe.theirs, b"x")

    def test_its_kind_and_extra_info(self, read_pipe):
        assert isinstance(read_pipe.transport, asyncio.ReadTransport)
        assert read_pipe.transport.get_extra_info("pipe") is read_pipe.file
        assert read_pipe.transport.get_protocol() is read_pipe.protocol

    def test_the_repr(self, loop, read_pipe):
        settle(loop)
        assert f"fd={read_pipe.descriptor}" in repr(read_pipe.transport)
        assert "polling" in repr(read_pipe.transport)

    def test_a_new_protocol(self, loop, read_pipe):
        after = Recorder()
        read_pipe.transport.set_protocol(after)
        os.write(read_pipe.theirs, b"x")
        until(loop, lambda: after.received == b"x")
        read_pipe.close_theirs()
        until(loop, lambda: after.lost)
        read_pipe.protocol = after

    def test_a_mistake_of_the_protocol(self, loop, read_pipe):
        reports = reports_of(loop)
        mistake = ZeroDivisionError("on purpose")

        def fail(data):
            raise mistake

        read_pipe.protocol.data_received = fail
        os.write(read_pipe.theirs, b"x")
        until(loop, lambda: reports)
        assert reports[0]["exception"] is mistake
        settle(loop)


class TestWriting:
    @pytest.mark.parametrize("make", [bytes, bytearray, memoryview], ids=lambda make: make.__name__)
    def test_data(self, loop, write_pipe, make):
        write_pipe.transport.write(make(b"hello"))
        settle(loop)
        assert os.read(write_pipe.theirs, 100) == b"hello"

    def test_changing_a_bytearray_afterwards(self, loop, write_pipe):
        data = bytearray(b"before")
        write_pipe.transport.write(data)
        data[:] = b"after!"
        settle(loop)
        assert os.read(write_pipe.theirs, 100) == b"before"

    def test_much_and_the_end(self, loop, write_pipe):
        data = write_pipe.fill()
        assert "pause" in write_pipe.protocol.events
        write_pipe.transport.write_eof()
        assert write_pipe.read_all() == data
        until(loop, lambda: write_pipe.protocol.lost)
        assert write_pipe.protocol.events == ["made", "pause", "resume", ("lost", None)]
        assert write_pipe.file.closed

    def test_close_sends_the_rest(self, loop, write_pipe):
        data = write_pipe.fill()
        write_pipe.transport.close()
        assert write_pipe.transport.is_closing()
        assert write_pipe.read_all() == data
        until(loop, lambda: write_pipe.protocol.lost)

    def test_abort_throws_it_away(self, loop, write_pipe):
        write_pipe.fill()
        write_pipe.transport.abort()
        until(loop, lambda: write_pipe.protocol.lost)
        assert write_pipe.protocol.lost == [None]

    def test_a_reader_that_goes_is_noticed_without_a_write(self, loop, write_pipe):
        write_pipe.close_theirs()
        until(loop, lambda: write_pipe.protocol.lost)
        assert write_pipe.protocol.lost == [None]
        assert write_pipe.transport.is_closing()

    def test_a_reader_that_goes_with_data_left(self, loop, write_pipe):
        write_pipe.fill()
        write_pipe.close_theirs()
        until(loop, lambda: write_pipe.protocol.lost)
        assert isinstance(write_pipe.protocol.lost[0], BrokenPipeError)

    def test_a_write_afterwards_is_ignored_and_warned_about(self, loop, write_pipe, caplog):
        write_pipe.transport.abort()
        until(loop, lambda: write_pipe.protocol.lost)
        for _ in range(7):
            write_pipe.transport.write(b"x")
        warned = {record.getMessage() for record in caplog.records if record.name == "asyncio"}
        assert warned == {"pipe closed by peer or os.write(pipe, data) raised exception."}

    def test_its_kind_and_extra_info(self, write_pipe):
        assert isinstance(write_pipe.transport, asyncio.WriteTransport)
        assert write_pipe.transport.can_write_eof() is True
        assert write_pipe.transport.get_extra_info("pipe") is write_pipe.file
        assert write_pipe.transport.get_write_buffer_limits() == (16 * 1024, 64 * 1024)


class TestWhatIsAPipe:
    def test_a_regular_file_is_none(self, loop, tmp_path):
        path = tmp_path / "file"
        path.write_text("x")
        with open(path, "rb") as file, pytest.raises(ValueError, match="Pipe transport is for pipes/sockets only"):
            loop.run_until_complete(loop.connect_read_pipe(Recorder, file))
        with open(path, "wb") as file, pytest.raises(ValueError, match="Pipe transport is only for pipes, sockets"):
            loop.run_until_complete(loop.connect_write_pipe(Writing, file))
        collect()

    def test_the_file_stays_open_where_it_is_refused(self, loop, tmp_path):
        with open(tmp_path / "file", "wb") as file:
            with pytest.raises(ValueError, match="Pipe transport"):
                loop.run_until_complete(loop.connect_write_pipe(Writing, file))
            file.write(b"still open")
        collect()

    def test_a_socket_is_one(self, loop):
        ours, theirs = socket.socketpair()
        transport, protocol = loop.run_until_complete(loop.connect_read_pipe(Recorder, ours))
        theirs.send(b"x")
        until(loop, lambda: protocol.received == b"x")
        theirs.close()
        until(loop, lambda: protocol.lost)
        assert ours.fileno() == -1
        assert transport.is_closing()

    def test_a_terminal_is_one(self, loop):
        ours, theirs = os.openpty()
        file = open(ours, "rb", 0)  # noqa: SIM115, the transport's
        transport, protocol = loop.run_until_complete(loop.connect_read_pipe(Recorder, file))
        os.write(theirs, b"line\n")
        until(loop, lambda: protocol.received)
        assert protocol.received.startswith(b"line")
        transport.close()
        until(loop, lambda: protocol.lost)
        os.close(theirs)


@pytest.mark.parametrize("side", ["read", "write"])
def test_the_descriptor_is_closed_once(loop, side):
    pipe = Pipe(loop, side)
    pipe.transport.close()
    until(loop, lambda: pipe.protocol.lost)
    # The number is somebody else's now, whom nobody may close it for.
    os.dup2(pipe.theirs, pipe.descriptor)
    pipe.transport.close()
    settle(loop)
    del pipe.transport, pipe.protocol
    pipe.file = None
    collect()
    os.fstat(pipe.descriptor)
    os.close(pipe.descriptor)
    pipe.close_theirs()
