"""Programs of a reader and a writer, as asyncio.open_connection returns them, whose tasks are cancelled at any turn.

What the kernel takes at once must not depend on how the bytes of one step were divided among the calls, see
WRITES_LEAVE_TOGETHER. So a second write of a job is done only where all of it fits, and nothing waits.
"""

import asyncio
import socket

import boucle

from .differences import CARRIED_BY_TCP
from .link import Peer, pair, pattern, wait_until
from .world import World

CAPACITY = 32_768
FITS_IN_ANY_WAY = 4000


class Streams(World):
    """A reader, a writer and their peer."""

    _open_connection = staticmethod(asyncio.open_connection)

    peer = None
    reader = writer = None

    def set_up(self, tcp, debug, limit):
        self._loop.set_debug(bool(debug))
        self._taken = 0
        self._statement = self._wrote_in = 0
        self._ended_with_more = False
        ours, theirs = pair(tcp)
        if not tcp:
            for sock in ours, theirs:
                sock.setsockopt(socket.SOL_SOCKET, socket.SO_SNDBUF, CAPACITY)
        self.peer = Peer(theirs, tcp, self._fileno)
        ours.setblocking(False)
        self._loop.create_task(self._open(ours, limit), name="open")

    async def _open(self, sock, limit):
        self.reader, self.writer = await self._open_connection(sock=sock, limit=limit)

    def _fileno(self):
        return self.writer.get_extra_info("socket").fileno() if self.writer is not None else -1

    # Statements.

    def on_job(self, turns, actions):
        self._statement += 1
        super().on_job(turns, actions)

    def on_peer(self, operation, *arguments):
        self._statement += 1
        self._see("peer", operation, self._drain() if operation == "drain" else self.peer.do(operation, *arguments))

    def _drain(self):
        while True:
            got = self.peer.do("read", 1 << 20)
            self.turn()
            self.carry()
            if not isinstance(got, tuple) or not got[0]:
                return got, self.peer.received, self.peer.right

    # Actions of jobs.

    async def do_read(self, size):
        return await self.reader.read(size)

    async def do_readexactly(self, size):
        return await self.reader.readexactly(size)

    async def do_readline(self):
        return await self.reader.readline()

    async def do_readuntil(self, separator):
        return await self.reader.readuntil(separator)

    async def do_iterate(self):
        async for line in self.reader:
            return line
        return "the end"

    async def do_write(self, size):
        return self._write(size, self.writer.write)

    async def do_writelines(self, sizes):
        if self.writer.is_closing():
            return "not done: WRITELINES_LATE"

        def write(data):
            begins = [sum(sizes[:number]) for number in range(len(sizes))]
            self.writer.writelines([data[begin : begin + size] for begin, size in zip(begins, sizes, strict=True)])

        return self._write(sum(sizes), write)

    def _write(self, size, write):
        """Write, if how the kernel takes it depends on nothing."""
        waits = self.writer.transport.get_write_buffer_size()
        if self._ended_with_more and self._fileno() == -1:
            return "not done: BROKEN"
        on_the_way = self._taken - self.peer.received + size
        if size and self._wrote_in == self._statement and (waits or on_the_way > FITS_IN_ANY_WAY):
            return "not done: WRITES_LEAVE_TOGETHER"
        if self.peer.tcp and on_the_way > CARRIED_BY_TCP:
            return "not done: KERNEL"
        write(pattern(self._taken, size))
        if size:
            self._wrote_in = self._statement
            if not self.writer.is_closing() or waits:
                self._taken += size
        return None

    async def do_drain(self):
        return await self.writer.drain()

    async def do_write_eof(self):
        return self.writer.write_eof()

    async def do_close(self):
        self.writer.close()
        self._note_end()

    async def do_abort(self):
        if self._ended_with_more and self._fileno() == -1:
            return "not done: BROKEN"
        return self.writer.transport.abort()

    async def do_wait_closed(self):
        return await self.writer.wait_closed()

    async def do_state(self):
        return self._state()

    # Observing.

    def _state(self):
        transport = self.writer.transport
        reader = self.reader
        return [
            self.writer.is_closing(),
            self.writer.can_write_eof(),
            transport.is_reading(),
            transport.get_write_buffer_size(),
            reader.at_eof(),
            len(reader._buffer),
            reader.exception(),
        ]

    def _healthy(self):
        return self.peer.open and not self.peer.finished and not self.writer.is_closing()

    def _note_end(self):
        if self.writer.is_closing() and self.writer.transport.get_write_buffer_size():
            self._ended_with_more = True

    def carry(self):
        if self.writer is None:
            return
        if self._fileno() == -1:
            self.peer.wait_for_end()
        elif self.peer.tcp and self._healthy():
            waits = self.writer.transport.get_write_buffer_size()
            wait_until(lambda: self.peer.received + self.peer.available() >= self._taken - waits)

    def look(self):
        if self.writer is None:
            return
        self._note_end()
        self._see("look", *self._state(), self._fileno() == -1, self.peer.available())

    def tear_down(self):
        if self.writer is None:
            return
        self._see("end", "drain", self._drain())
        if not self._ended_with_more or self._fileno() != -1:
            self.in_callback(self.writer.transport.abort)
        self.peer.close()

    def bury(self):
        if self.peer is not None:
            self.peer.close()
        self.reader = self.writer = None


class OwnStreams(Streams):
    """The same of boucle's own, which on asyncio's loop are asyncio's."""

    @staticmethod
    def _open_connection(**options):
        ours = isinstance(asyncio.get_running_loop(), boucle.Loop)
        return (boucle if ours else asyncio).open_connection(**options)
