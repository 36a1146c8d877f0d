"""A connection: one end for the loop, and a plain socket that the interpreter works.

Everything here waits, for a bounded time, until the kernel has carried over what was sent. On a Unix socket it is there
at once; TCP over the loopback may leave it to another moment.
"""

import array
import fcntl
import random
import select
import socket
import struct
import termios
import time

from .differences import CARRIED_BY_TCP

# Seconds. TCP may take a good part of one to notice that there is room again.
PATIENCE = 2.0
# Different bytes at different places, so that lost, doubled and exchanged ones show. A newline comes now and then.
PATTERN = random.Random(7).randbytes(1 << 21)
LINGER_NOT = struct.pack("ii", 1, 0)


def pattern(begin, size):
    """What stands at these places of a stream."""
    begin %= len(PATTERN) // 2
    return PATTERN[begin : begin + size]


def pair(tcp):
    """Two connected sockets."""
    if not tcp:
        return socket.socketpair()
    with socket.create_server(("127.0.0.1", 0)) as listener:
        ours = socket.create_connection(listener.getsockname())
        return ours, listener.accept()[0]


def in_queue(fd):
    """How many bytes can be received."""
    count = array.array("i", [0])
    fcntl.ioctl(fd, termios.FIONREAD, count)
    return count[0]


def ended(fd, timeout=0.0):
    """Whether the other side has ended the connection, at least in one direction."""
    poll = select.poll()
    poll.register(fd, select.POLLRDHUP)
    return bool(poll.poll(timeout * 1000))


def wait_until(condition):
    """Wait until the condition holds, or patience is over. Whether it does."""
    if condition():
        return True
    deadline = time.monotonic() + PATIENCE
    while time.monotonic() < deadline:
        time.sleep(0.0002)
        if condition():
            return True
    return False


class Peer:
    """The plain end of a connection, and what both ends have written."""

    def __init__(self, sock, tcp, fileno):
        """``fileno`` returns the descriptor of the loop's end, -1 once it is closed."""
        self._sock = sock
        self._sock.setblocking(False)
        self.tcp = tcp
        self._fileno = fileno
        self.sent = 0
        self.received = 0
        self.right = True
        self.finished = False
        """Whether this end has ended its own direction, or everything."""

    @property
    def open(self):
        return self._sock.fileno() != -1

    def do(self, operation, *arguments):
        """What an operation returns, or the name of its error."""
        if not self.open:
            return "closed"
        try:
            return getattr(self, operation)(*arguments)
        except OSError as error:
            return type(error).__name__

    def send(self, size):
        """Send so many bytes, or as many as are taken. How many."""
        fd = self._fileno()
        waiting = in_queue(fd) if fd != -1 else 0
        if self.tcp:
            size = min(size, max(0, CARRIED_BY_TCP - waiting))
        sent = self._sock.send(pattern(self.sent, size)) if size else 0
        self.sent += sent
        if fd != -1:
            wait_until(lambda: in_queue(fd) >= waiting + sent or ended(fd))
        return sent

    def read(self, size):
        """Receive up to so many bytes: how many, and whether they are the right ones."""
        data = self._sock.recv(size)
        self.right = self.right and data == pattern(self.received, len(data))
        self.received += len(data)
        return len(data), self.right

    def available(self):
        """How many bytes can be received."""
        return in_queue(self._sock.fileno()) if self.open else 0

    def shutdown(self):
        """End this direction."""
        self._sock.shutdown(socket.SHUT_WR)
        self._finish()

    def reset(self):
        """End the connection so that the other side gets an error."""
        if self.tcp:
            self._sock.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, LINGER_NOT)
        self.close()

    def close(self):
        """End the connection."""
        if self.open:
            self._sock.close()
            self._finish()

    def _finish(self):
        self.finished = True
        fd = self._fileno()
        if fd != -1:
            ended(fd, PATIENCE)

    def wait_for_end(self):
        """The loop's end has ended: wait until that is here."""
        if self.open:
            ended(self._sock.fileno(), PATIENCE)

    def wait_for_more(self, turn):
        """Let the loop run until something can be received, or its end has ended. Whether it is so."""

        def arrived():
            turn()
            return self.available() or ended(self._sock.fileno())

        return wait_until(arrived)
