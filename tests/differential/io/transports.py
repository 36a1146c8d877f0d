"""Programs of one transport: a protocol that records its callbacks and does things inside of them, and a peer.

The setup says which callbacks react, at which of their calls, and how. A step is what runs between two returns to the
loop: a statement, or a callback with all that it does.
"""

import asyncio
import socket
import sys

from .differences import CARRIED_BY_TCP
from .link import Peer, pair, pattern, wait_until
from .world import World

HOLDS_AT_ONCE = sys.version_info >= (3, 11)
TYPES = {"bytes": bytes, "bytearray": bytearray, "memoryview": memoryview, "str": lambda data: "x" * len(data)}


class Recording:
    """A protocol that writes down its callbacks and reacts as the program says."""

    def __init__(self, world, name):
        self._world = world
        self._name = name

    def connection_made(self, transport):
        self._world.transport = transport
        self._world.called(self._name, "connection_made")

    def connection_lost(self, exc):
        self._world.called(self._name, "connection_lost", exc)

    def pause_writing(self):
        self._world.called(self._name, "pause_writing")

    def resume_writing(self):
        self._world.called(self._name, "resume_writing")

    def eof_received(self):
        return self._world.called(self._name, "eof_received")


class Plain(Recording, asyncio.Protocol):
    """One that is given its data."""

    def data_received(self, data):
        self._world.received(data)
        self._world.called(self._name, "data_received", type(data).__name__, len(data), self._world.right)


class Buffered(Recording, asyncio.BufferedProtocol):
    """One that lends its buffer."""

    def __init__(self, world, name, size):
        super().__init__(world, name)
        self._buffer = bytearray(size)

    def get_buffer(self, sizehint):
        self._world.called(self._name, "get_buffer", sizehint)
        return self._buffer

    def buffer_updated(self, nbytes):
        self._world.received(self._buffer[:nbytes])
        self._world.called(self._name, "buffer_updated", nbytes, self._world.right)


class Transports(World):
    """A transport, its protocols and its peer."""

    transport = None
    peer = None

    def set_up(self, tcp, way, debug, kind, capacity, reactions):
        self._loop.set_debug(bool(debug))
        self._reactions = reactions
        self._calls = {}
        self._protocols = 0
        self._depth = self._writes = 0
        self._taken = self._arrived = 0
        self.right = True
        # Whether the transport was seen to close with something still to write, and what callback reacts.
        self._late = False
        self._event = None
        # See differences.py: the kernel may divide what is on the way as it likes.
        self._mixed = False
        self._paused = False
        ours, theirs = pair(tcp)
        if not tcp:
            for sock in ours, theirs:
                sock.setsockopt(socket.SOL_SOCKET, socket.SO_SNDBUF, capacity)
        self.peer = Peer(theirs, tcp, lambda: self.transport.get_extra_info("socket").fileno())
        ours.setblocking(False)
        connect = [self._loop.create_connection, self._loop.connect_accepted_socket][way]
        options = {"sock": ours}
        coroutine = connect(lambda: self._protocol(kind), **options)
        self._making = self._loop.create_task(coroutine, name="making")
        self.calm_down()
        self._see("making", self._making.done())

    def _protocol(self, kind):
        self._protocols += 1
        name = f"protocol {self._protocols}"
        return Buffered(self, name, kind) if kind is not None else Plain(self, name)

    def received(self, data):
        """The protocol got data."""
        self.right = self.right and data == pattern(self._arrived, len(data))
        self._arrived += len(data)

    def called(self, who, event, *arguments):
        """A callback of a protocol: write it down, and react."""
        flow = event in ("pause_writing", "resume_writing")
        if flow:
            self._see_pause(who, event)
        if flow and self._mixed:
            return None
        self._see(who, event, *arguments)
        event = "data" if event in ("data_received", "buffer_updated") else event
        number = self._calls[event] = self._calls.get(event, -1) + 1
        for at, nth, actions, end in self._reactions:
            if (at, nth) == (event, number):
                outer, self._event = self._event, event
                self._act(who, actions)
                self._event = outer
                if end is not None:
                    self._see(who, event, "ends with", end)
                    return end if isinstance(end, bool) else self.raising(end)
        return None

    def _see_pause(self, who, event):
        if self._paused is (event == "pause_writing"):
            self._see(who, event, "twice in a row")
        self._paused = event == "pause_writing"

    # Statements.

    def on_step(self, actions):
        self.in_callback(self._act, "program", actions)

    def on_peer(self, operation, *arguments):
        self._see("peer", operation, self._peer(operation, *arguments))

    def _peer(self, operation, *arguments):
        if operation == "drain":
            return self._drain()
        if self._mixed and operation == "read":
            # How much is there is the kernel's business; so is what an aborted connection still brings.
            self.peer.do("read", *arguments)
            return self.peer.right
        if operation in ("shutdown", "close", "reset"):
            return self._unless_mixed(self.peer.do, operation)
        return self.peer.do(operation, *arguments)

    def _drain(self):
        """Read until nothing comes any more."""
        while True:
            got = self.peer.do("read", 1 << 20)
            self.turn()
            self.carry()
            if isinstance(got, tuple) and got[0]:
                continue
            # More comes for sure if it is on the way, or the end does.
            if (
                got != "BlockingIOError"
                or not self._mixed
                or self._all_came()
                or not self.peer.wait_for_more(self.turn)
            ):
                break
        if self._mixed and not self._healthy():
            return "what came", self.peer.right
        return got, self.peer.received, self.peer.right

    # Actions.

    def _act(self, who, actions):
        self._depth += 1
        if self._depth == 1:
            self._writes = 0
        try:
            for operation, *arguments in actions:
                if self._observer.sealed:
                    return
                try:
                    result = getattr(self, f"do_{operation}")(*arguments)
                except Exception as error:
                    result = error
                self._see(who, operation, result)
                self._note_late()
        finally:
            self._depth -= 1

    def do_write(self, size, kind):
        return self._write(size, lambda data: self.transport.write(TYPES[kind](data)), kind != "str")

    def do_writelines(self, sizes):
        if self.transport.is_closing():
            return "not done: WRITELINES_LATE"

        def write(data):
            parts = []
            for size in sizes:
                parts.append(data[:size])
                data = data[size:]
            self.transport.writelines(parts)

        return self._write(sum(sizes), write, True)

    def _write(self, size, write, right):
        if self._late and self._closed():
            return "not done: BROKEN"
        data = pattern(self._taken, size)
        accepted = right and (not self.transport.is_closing() or self.transport.get_write_buffer_size())
        mixes = False
        if size and accepted:
            on_the_way = self._taken + size - self.peer.received
            mixes = self._writes > 0 or (self.peer.tcp and on_the_way > CARRIED_BY_TCP)
            if mixes and (self.peer.finished or self.transport.is_closing()):
                # When the rest is out, and connection_lost comes, would be the kernel's business.
                return "not done: WRITES_LEAVE_TOGETHER"
            self._writes += 1
            self._taken += size
        before, self._mixed = self._mixed, self._mixed or mixes
        try:
            write(data)
        except BaseException:
            if size and accepted:
                self._taken -= size
            self._mixed = before
            raise
        return None

    def do_write_eof(self):
        return self._unless_mixed(self.transport.write_eof)

    def do_close(self):
        return "not done: BROKEN" if self._broken() else self._unless_mixed(self.transport.close)

    def do_abort(self):
        return "not done: BROKEN" if self._broken() else self._unless_mixed(self.transport.abort)

    def _unless_mixed(self, end, *arguments):
        """End something, unless when that happens would be the kernel's business."""
        return "not done: WRITES_LEAVE_TOGETHER" if self._mixed else end(*arguments)

    def do_pause(self):
        if self._event == "connection_made" and not HOLDS_AT_ONCE:
            return "not done: PAUSED_AT_ONCE"
        return self.transport.pause_reading()

    def do_resume(self):
        return self.transport.resume_reading()

    def do_switch(self, kind):
        protocol = self._protocol(kind)
        self.transport.set_protocol(protocol)
        return self.transport.get_protocol() is protocol

    def do_limits(self, marks):
        self.transport.set_write_buffer_limits(*marks)
        return self.transport.get_write_buffer_limits()

    def do_outside(self, operation, *arguments):
        # The peer acts in the middle of a step.
        return self._peer(operation, *arguments)

    def do_look(self):
        return self._state()

    def _broken(self):
        """Whether asyncio would fail internally."""
        if self._event == "resume_writing" and not self.transport.get_write_buffer_size():
            return not self.transport.is_closing()
        return self._late and self._closed()

    def _note_late(self):
        if self.transport.is_closing() and self.transport.get_write_buffer_size():
            self._late = True

    def _closed(self):
        """Whether the transport has closed its socket."""
        return self.transport.get_extra_info("socket").fileno() == -1

    # Observing.

    def _state(self):
        transport = self.transport
        state = [transport.is_closing(), transport.is_reading(), transport.can_write_eof()]
        if not self._mixed:
            # AFTER_THE_LOSS
            state.append("gone" if self._closed() else transport.get_write_buffer_size())
        return state

    def _healthy(self):
        return self.peer.open and not self.peer.finished and not self.transport.is_closing()

    def _on_the_way(self):
        """How many bytes were written that neither wait here nor are there."""
        waits = self.transport.get_write_buffer_size()
        return self._taken - waits - self.peer.received - self.peer.available()

    def _all_came(self):
        return self._taken == self.peer.received

    def carry(self):
        if self.transport is None:
            return
        if self._mixed:
            return
        if self._closed():
            self.peer.wait_for_end()
        elif self.peer.tcp and self._healthy():
            wait_until(lambda: not self._on_the_way())

    def look(self):
        if self.transport is None:
            return
        if self._mixed and self._all_came() and not self.transport.get_write_buffer_size():
            self._mixed = False
            self._see("look", "paused", self._paused)
        self._see("look", *self._state(), self._closed())
        self._note_late()
        if self._healthy() and not self._mixed:
            self._see("look", "on the way", self._on_the_way(), "there", self.peer.available())

    def tear_down(self):
        if self.transport is not None:
            self._see("end", "drain", self._drain())
            if not self._closed():
                self.in_callback(self.transport.abort)
            self._see("end", "drain", self._drain())
        self.peer.close()

    def bury(self):
        if self.peer is not None:
            self.peer.close()
        self.transport = self._making = None
        self._reactions = ()
