"""A connection of the loop that is tried, whose other end is a plain socket that the test works by hand."""

import asyncio
import contextlib
import gc
import socket
import time

PATIENCE = 20  # seconds that something may take before the test fails; nothing is measured by it


class Noting:
    """What a protocol of any kind notes of the calls, in `events`."""

    keep_open = None  # what eof_received answers

    def __init__(self):
        self.events = []
        self.transport = None

    def connection_made(self, transport):
        self.transport = transport
        self.events.append("made")

    def eof_received(self):
        self.events.append("eof")
        return self.keep_open

    def pause_writing(self):
        self.events.append("pause")

    def resume_writing(self):
        self.events.append("resume")

    def connection_lost(self, exc):
        self.events.append(("lost", exc))

    @property
    def received(self):
        """All bytes so far."""
        return b"".join(event for event in self.events if isinstance(event, bytes))

    @property
    def lost(self):
        """The times that the connection was lost, with what."""
        return [event[1] for event in self.events if isinstance(event, tuple)]


class Recorder(Noting, asyncio.Protocol):
    """Notes what the transport calls."""

    def data_received(self, data):
        self.events.append(data)


class BufferedRecorder(Noting, asyncio.BufferedProtocol):
    """The same with a buffer of its own, of so many bytes."""

    def __init__(self, size=1000):
        super().__init__()
        self.buffer = bytearray(size)

    def get_buffer(self, sizehint):
        assert sizehint == -1 or sizehint > 0
        return self.buffer

    def buffer_updated(self, nbytes):
        self.events.append(bytes(self.buffer[:nbytes]))


KERNEL_BUFFER = 1 << 20
"""Bytes that a TCP socket of a pair may hold until the other end has them."""


def socket_pair(kind):
    """Two connected sockets: kind is "tcp" or "unix"."""
    if kind == "unix":
        return socket.socketpair()
    with socket.create_server(("127.0.0.1", 0)) as listening:
        client = socket.create_connection(listening.getsockname())
        server, _ = listening.accept()
    for end in (client, server):
        # Else the kernel takes as much as it has learnt to: several MiB on a machine that has measured its loopback.
        end.setsockopt(socket.SOL_SOCKET, socket.SO_SNDBUF, KERNEL_BUFFER)
    return client, server


def nonblocking_pair(kind):
    """The same, both non-blocking."""
    pair = socket_pair(kind)
    for end in pair:
        end.setblocking(False)
    return pair


class Connection:
    """A transport with its protocol, and the other end, `theirs`."""

    def __init__(self, loop, kind="unix", protocol=None):
        self.loop = loop
        self.ours, self.theirs = socket_pair(kind)
        self.theirs.setblocking(False)
        self.protocol = Recorder() if protocol is None else protocol
        self.descriptor = self.ours.fileno()
        self.transport, _ = loop.run_until_complete(loop.create_connection(lambda: self.protocol, sock=self.ours))

    def until(self, condition):
        until(self.loop, condition)

    def until_lost(self):
        until(self.loop, lambda: self.protocol.lost)

    def receive(self, count):
        """So many bytes at the other end."""
        data = bytearray()

        def complete():
            with contextlib.suppress(BlockingIOError):
                data.extend(self.theirs.recv(count - len(data)))
            return len(data) == count

        until(self.loop, complete)
        return bytes(data)

    def receive_all(self):
        """Everything until the connection's end."""
        data = bytearray()

        def ended():
            with contextlib.suppress(BlockingIOError):
                piece = self.theirs.recv(1 << 20)
                data.extend(piece)
                return not piece
            return False

        until(self.loop, ended)
        return bytes(data)

    def fill(self, size=4 << 20):
        """Write more than the kernel takes. Returns what was written."""
        data = bytes(range(256)) * (size // 256)
        self.transport.write(data)
        settle(self.loop)
        assert self.transport.get_write_buffer_size() > 0
        return data

    def reset(self):
        """Let the other end go with a reset: it closes with data unread, or lingers for no time."""
        self.theirs.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, b"\1\0\0\0\0\0\0\0")
        self.theirs.close()

    def close(self):
        self.theirs.close()
        if not self.loop.is_closed():
            # asyncio's abort() trips over itself after a close() that had to wait for buffered data.
            with contextlib.suppress(AttributeError):
                self.transport.abort()
            settle(self.loop)


def until(loop, condition):
    """Run the loop until the condition holds."""

    async def watch():
        deadline = time.monotonic() + PATIENCE
        while not condition():
            assert time.monotonic() < deadline, "it did not happen"
            await asyncio.sleep(0)

    loop.run_until_complete(watch())


def settle(loop, turns=6):
    """Run some turns: everything that is ready comes to its end."""
    for _ in range(turns):
        loop.call_soon(loop.stop)
        loop.run_forever()


def reports_of(loop):
    """From here on the reports to the loop's exception handler, in this list."""
    reports = []
    loop.set_exception_handler(lambda loop, context: reports.append(context))
    return reports


def streams_are_native(loop):
    """Whether this loop makes other transports than asyncio's own for sockets."""
    connection = Connection(loop)
    native = type(connection.transport).__module__ != "asyncio.selector_events"
    connection.close()
    return native


def collect():
    """Collect all garbage, also what finalizers leave."""
    for _ in range(3):
        gc.collect()
