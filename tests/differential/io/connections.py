"""Programs of a server, and of clients that connect: who serves when, what closes first, who is cancelled where.

Clients of the server are plain sockets. Connections that the loop makes go to a plain listener, which answers when it
is told to, to the server itself, or to nobody.
"""

import asyncio
import shutil
import socket
import tempfile
from pathlib import Path

from .differences import ABANDONED
from .link import Peer
from .world import World


class Serving(asyncio.Protocol):
    """What the server makes for each client, and connections of the loop for themselves."""

    def __init__(self, world, name):
        self._world = world
        self._name = name
        self.transport = None

    def connection_made(self, transport):
        self.transport = transport
        self._world.made(transport)
        self._world.called(self, self._name, "connection_made", transport.is_closing())

    def connection_lost(self, exc):
        self._world.called(self, self._name, "connection_lost", exc)

    def data_received(self, data):
        self._world.called(self, self._name, "data_received", data)

    def eof_received(self):
        return self._world.called(self, self._name, "eof_received")


class Connections(World):
    """A server, a plain listener, and all their connections."""

    _server = None
    _unordered_from = None

    def set_up(self, tcp, debug, start, reactions):
        self._loop.set_debug(bool(debug))
        self._tcp = tcp
        self._reactions = reactions
        self._folder = None if tcp else tempfile.mkdtemp()
        self._protocols = 0
        self._transports = []
        self._clients = []
        self._plain = []
        self._listener = self._listening("listener")
        self._listener.setblocking(False)
        # It does not listen, so nobody else can either.
        self._nobody = socket.socket(self._listener.family)
        self._nobody.bind(self._address("nobody"))
        self._loop.create_task(self._serve(start), name="serve")

    def _address(self, name):
        return ("127.0.0.1", 0) if self._tcp else str(Path(self._folder) / name)

    def _listening(self, name):
        sock = socket.socket(socket.AF_INET if self._tcp else socket.AF_UNIX)
        sock.bind(self._address(name))
        sock.listen()
        return sock

    async def _serve(self, start):
        create, where = self._loop.create_unix_server, {"path": self._address("server")}
        if self._tcp:
            create, where = self._loop.create_server, {"host": "127.0.0.1", "port": 0}
        self._server = await create(lambda: self._protocol("server"), start_serving=bool(start), **where)
        self._where = self._server.sockets[0].getsockname()

    def _protocol(self, side):
        self._protocols += 1
        name = f"{side} {self._protocols}"
        protocol = Serving(self, name)
        self.called(protocol, name, "factory")
        if side == "server" and not self._server.is_serving():
            self._see(name, ABANDONED)
        return protocol

    def made(self, transport):
        """A connection is there."""
        self._transports.append(transport)

    def called(self, protocol, name, event, *arguments):
        """A callback of a protocol: write it down, and react."""
        self._see(name, event, *arguments)
        for at, what in self._reactions:
            if at == event:
                if what == "raise":
                    self.raising("boom")
                if what == "keep":
                    return True
                if what == "close_server":
                    self._close_server()
                elif protocol.transport is not None:
                    self._call(protocol.transport, what)
        return None

    def _close_server(self):
        if self._server is not None:
            self._server.close()

    def _call(self, transport, what):
        try:
            result = getattr(transport, what)(*([b"hello"] if what == "write" else []))
            if what == "write":
                # It is sent by now: WRITES_LEAVE_TOGETHER.
                transport.get_write_buffer_size()
        except Exception as error:
            result = error
        self._see("transport", what, result)

    # Statements.

    def on_knock(self):
        """Somebody connects to the server."""
        sock = socket.socket(self._listener.family)
        sock.setblocking(False)
        try:
            sock.connect(self._where)
        except BlockingIOError:
            pass
        except OSError as error:
            sock.close()
            self._see("somebody", "is refused", type(error).__name__)
            return
        self._clients.append(Peer(sock, False, lambda: -1))

    def on_client(self, number, operation):
        """One of those does something."""
        if self._clients:
            arguments = {"send": [100], "read": [100]}.get(operation, [])
            self._see("client", operation, self._clients[number % len(self._clients)].do(operation, *arguments))

    def on_answer(self):
        """The plain listener accepts who waits, and says something."""
        try:
            sock = self._listener.accept()[0]
        except BlockingIOError:
            self._see("listener", "nobody came")
            return
        self._plain.append(sock)
        sock.setblocking(False)
        try:
            self._see("listener", "got", sock.recv(100))
        except OSError as error:
            self._see("listener", "got", type(error).__name__)
        try:
            sock.send(b"welcome")
        except OSError as error:
            self._see("listener", "sends", type(error).__name__)

    # Actions of jobs.

    async def do_close_server(self):
        return self._server.close()

    async def do_wait_closed(self):
        return await self._server.wait_closed()

    async def do_start_serving(self):
        return await self._server.start_serving() if self._server.sockets else "not done: BROKEN"

    async def do_serve_forever(self):
        return await self._server.serve_forever()

    async def do_enter(self):
        async with self._server:
            self._see("job", "entered", self._server.is_serving())

    async def do_close_clients(self):
        return self._to_all("close_clients")

    async def do_abort_clients(self):
        return self._to_all("abort_clients")

    def _to_all(self, what):
        """A method that goes through asyncio's set of clients, whose order depends on addresses."""
        if ("connection_lost", "raise") in self._reactions:
            return "not done: ORDER_OF_CLIENTS"
        self._unordered_from = len(self._observer.trace)
        return getattr(self._server, what, bool)()

    async def do_server_state(self):
        return self._server_state()

    async def do_create_connection(self, whom):
        if whom == "sock":
            sock = socket.socket(self._listener.family)
            sock.connect(self._listener.getsockname())
            sock.setblocking(False)
            where = {"sock": sock}
        else:
            where = self._way_to(whom)
        create = self._loop.create_connection if self._tcp or whom == "sock" else self._loop.create_unix_connection
        transport, _ = await create(lambda: self._protocol("client"), **where)
        return transport.is_closing()

    async def do_open_connection(self, whom):
        open_connection = asyncio.open_connection if self._tcp else asyncio.open_unix_connection
        _, writer = await open_connection(**self._way_to(whom))
        self.made(writer.transport)
        return writer.is_closing()

    def _way_to(self, whom):
        address = {"listener": self._listener.getsockname(), "server": self._where}.get(
            whom, self._nobody.getsockname()
        )
        return {"host": address[0], "port": address[1]} if self._tcp else {"path": address}

    async def do_call(self, number, what):
        if not self._transports:
            return "nothing"
        return self._call(self._transports[number % len(self._transports)], what)

    # Observing.

    def _server_state(self):
        return self._server.is_serving(), len(self._server.sockets), self._server.get_loop() is self._loop

    def carry(self):
        """Who is closed by the loop sees it."""

    def look(self):
        if self._server is None:
            return
        if self._unordered_from is not None:
            trace = self._observer.trace
            trace[self._unordered_from :] = sorted(trace[self._unordered_from :], key=repr)
            self._unordered_from = None
        self._see("look", *self._server_state())
        self._see("look", [(transport.is_closing(), transport.is_reading()) for transport in self._transports])

    def tear_down(self):
        for client in self._clients:
            self._see("end", "client", client.do("read", 1000))
            client.close()
        self.calm_down()
        if self._server is not None:
            self.in_callback(self._server.close)
        for transport in self._transports:
            self.in_callback(transport.abort)

    def bury(self):
        for sock in self._listener, self._nobody, *self._plain:
            sock.close()
        for client in self._clients:
            client.close()
        if self._folder:
            shutil.rmtree(self._folder)
        self._transports = []
        self._server = None
