"""Programs of sock_recv, sock_recv_into, sock_sendall, sock_accept and sock_connect, cancelled at any turn.

Two operations that wait for the same on one socket get into each other's way, each loop in its own manner: a job leaves
out what another one waits for.
"""

import socket

from .link import Peer, pair, pattern, wait_until
from .transports import TYPES
from .world import World

CAPACITY = 32_768


class Sockets(World):
    """A connected socket and its peer, a listener, and what was accepted and connected."""

    peer = None

    def set_up(self, tcp, debug):
        self._loop.set_debug(bool(debug))
        self._family = socket.AF_INET if tcp else socket.AF_UNIX
        self._sock, theirs = pair(tcp)
        self._sock.setblocking(False)
        if not tcp:
            for sock in self._sock, theirs:
                sock.setsockopt(socket.SOL_SOCKET, socket.SO_SNDBUF, CAPACITY)
        self.peer = Peer(theirs, tcp, self._sock.fileno)
        self._taken = 0
        self._uncertain = False
        self._busy = set()
        self._listener = socket.socket(self._family)
        self._listener.bind(("127.0.0.1", 0) if tcp else "")
        self._listener.listen()
        self._listener.setblocking(False)
        self._met = []

    # Statements.

    def on_peer(self, operation, *arguments):
        self._see("peer", operation, self._drain() if operation == "drain" else self.peer.do(operation, *arguments))

    def _drain(self):
        while True:
            got = self.peer.do("read", 1 << 20)
            self.turn()
            if not isinstance(got, tuple) or not got[0]:
                return got, self.peer.received, self.peer.right

    def on_meet(self):
        """Somebody connects to the listener."""
        sock = socket.socket(self._family)
        self._met.append(sock)
        sock.setblocking(False)
        try:
            sock.connect(self._listener.getsockname())
        except OSError as error:
            self._see("somebody", "connects", type(error).__name__)

    # Actions of jobs.

    async def do_recv(self, size):
        return await self._once("read", self._loop.sock_recv, self._sock, size)

    async def do_recv_into(self, size):
        buffer = bytearray(size)
        count = await self._once("read", self._loop.sock_recv_into, self._sock, buffer)
        return count if isinstance(count, str) else (count, buffer[:count])

    async def do_sendall(self, size, kind):
        if self.peer.tcp and self._taken + size - self.peer.received > 30_000:
            return "not done: KERNEL"
        data = TYPES[kind](pattern(self._taken, size))
        if "write" in self._busy:
            return "busy"
        self._taken += size
        try:
            return await self._once("write", self._loop.sock_sendall, self._sock, data)
        except BaseException:
            # How much was sent is not known, so nothing waits for it; what follows need not be the pattern.
            self._uncertain = True
            raise

    async def do_accept(self):
        answer = await self._once("accept", self._loop.sock_accept, self._listener)
        if isinstance(answer, str):
            return answer
        sock, address = answer
        self._met.append(sock)
        return sock.gettimeout(), bool(address)

    async def do_connect(self, whom):
        sock = socket.socket(self._family)
        self._met.append(sock)
        sock.setblocking(False)
        # A listener that never listened.
        nobody = ("127.0.0.1", 1) if self._family == socket.AF_INET else "\0boucle nobody"
        address = self._listener.getsockname() if whom == "listener" else nobody
        try:
            await self._loop.sock_connect(sock, address)
            return bool(sock.getpeername())
        finally:
            self._see("job", "left", self._left(sock))

    async def _once(self, what, operation, sock, *arguments):
        if what in self._busy:
            return "busy"
        self._busy.add(what)
        try:
            return await operation(sock, *arguments)
        finally:
            self._busy.discard(what)

    async def do_shutdown(self):
        self._sock.shutdown(socket.SHUT_WR)

    async def do_close(self):
        if self._busy & {"read", "write"}:
            return "busy"
        return self._sock.close()

    # Observing.

    def carry(self):
        if self.peer is None or not self.peer.tcp:
            return
        if self._sock.fileno() == -1:
            self.peer.wait_for_end()
        elif self.peer.open and not self.peer.finished and not self._uncertain and "write" not in self._busy:
            wait_until(lambda: self.peer.received + self.peer.available() >= self._taken)

    def look(self):
        self._see("look", sorted(self._busy), self.peer.available())

    def tear_down(self):
        self._see("end", "drain", self._drain())
        self.end_jobs()
        for sock in self._sock, self._listener, *self._met:
            self._see("end", "left", self._left(sock))

    def _left(self, sock):
        """Whether the loop still watches a socket, which it is told not to."""
        fd = sock.fileno()
        return fd != -1 and (self._loop.remove_reader(fd), self._loop.remove_writer(fd))

    def bury(self):
        for sock in self._sock, self._listener, *self._met:
            sock.close()
        self.peer.close()
