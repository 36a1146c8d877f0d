"""What the servers of the network rows do: each kind as an asynchronous generator.

A kind listens, yields what `boucle-load drive` takes as its target, and serves from then on; what it needs for that
lives as long as the generator. Every loop runs the same code. What a kind imports it imports itself, so that a process
holds nothing that it does not serve with.
"""

import asyncio
import contextlib
import dataclasses
import socket
from pathlib import Path

MESSAGE = 64
"""Bytes of each of the small writes."""

BUFFER = 256 * 1024
"""Bytes of the buffer of a BufferedProtocol."""

CHUNK = 64 * 1024
"""Bytes that is asked for where the program says how many."""

BACKLOG = 2048

KINDS = {}


@dataclasses.dataclass(frozen=True)
class Place:
    """Where files of the server are."""

    folder: Path
    """Its own, for the socket."""
    certificate: "Path | None"
    """A PEM file with key and certificate."""


def kind(function):
    """Registers a kind under the name of its function."""
    KINDS[function.__name__] = function
    return function


class Echo(asyncio.Protocol):
    """Sends back what comes."""

    def connection_made(self, transport):
        self.transport = transport

    def data_received(self, data):
        self.transport.write(data)


class EchoInPieces(Echo):
    """Sends back what comes, in many small writes."""

    def data_received(self, data):
        write = self.transport.write
        for start in range(0, len(data), MESSAGE):
            write(data[start : start + MESSAGE])


class BufferedEcho(asyncio.BufferedProtocol):
    """Sends back what comes into its own buffer."""

    def __init__(self):
        self._buffer = memoryview(bytearray(BUFFER))

    def connection_made(self, transport):
        self._transport = transport

    def get_buffer(self, sizehint):
        return self._buffer

    def buffer_updated(self, nbytes):
        # A copy: the transport may keep what it cannot send, and the buffer is filled anew.
        self._transport.write(bytes(self._buffer[:nbytes]))


class DatagramEcho(asyncio.DatagramProtocol):
    """Sends back each datagram."""

    def connection_made(self, transport):
        self._transport = transport

    def datagram_received(self, data, addr):
        self._transport.sendto(data, addr)


async def echo_stream(reader, writer):
    """The handler of a stream."""
    # The client goes in the middle of a message.
    with contextlib.suppress(ConnectionError):
        while data := await reader.read(CHUNK):
            writer.write(data)
            await writer.drain()
    writer.close()


@kind
async def tcp_protocol(place):
    server = await _server(Echo)
    yield _tcp(server)


@kind
async def tcp_pieces(place):
    server = await _server(EchoInPieces)
    yield _tcp(server)


@kind
async def tcp_buffered(place):
    server = await _server(BufferedEcho)
    yield _tcp(server)


@kind
async def tls_protocol(place):
    import ssl

    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(place.certificate)
    server = await _server(Echo, ssl=context)
    yield _tcp(server, "tls")


@kind
async def unix_protocol(place):
    path = str(place.folder / "socket")
    await asyncio.get_running_loop().create_unix_server(Echo, path, backlog=BACKLOG)
    yield f"unix:{path}"


@kind
async def udp_protocol(place):
    loop = asyncio.get_running_loop()
    transport, _ = await loop.create_datagram_endpoint(DatagramEcho, ("127.0.0.1", 0))
    yield f"udp:127.0.0.1:{transport.get_extra_info('sockname')[1]}"


@kind
async def tcp_streams(place):
    server = await asyncio.start_server(echo_stream, "127.0.0.1", 0, backlog=BACKLOG)
    yield _tcp(server)


@kind
async def tcp_own_streams(place):
    """boucle's own streams; on another loop, those of asyncio, which are all it has."""
    loop = asyncio.get_running_loop()
    if type(loop).__module__.split(".")[0] == "boucle":
        from boucle import start_server
    else:
        from asyncio import start_server
    server = await start_server(echo_stream, "127.0.0.1", 0, backlog=BACKLOG)
    yield _tcp(server)


@kind
async def tcp_sock(place):
    loop = asyncio.get_running_loop()
    listener = socket.create_server(("127.0.0.1", 0), backlog=BACKLOG)
    listener.setblocking(False)

    async def serve(connection):
        with connection, contextlib.suppress(ConnectionError):
            connection.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
            while data := await loop.sock_recv(connection, CHUNK):
                await loop.sock_sendall(connection, data)

    async def accept():
        while True:
            connection, _ = await loop.sock_accept(listener)
            serving.add(loop.create_task(serve(connection)))

    serving = set()
    serving.add(loop.create_task(accept()))
    yield f"tcp:127.0.0.1:{listener.getsockname()[1]}"


@kind
async def uvicorn_hello(place):
    import uvicorn

    async def app(scope, receive, send):
        await send({"type": "http.response.start", "status": 200, "headers": HEADERS})
        await send({"type": "http.response.body", "body": b"Hello, world!"})

    # As a program runs it, with an address: a listener that is handed over, made without IPPROTO_TCP, leaves asyncio
    # without TCP_NODELAY, and each answer waits 40 ms for an acknowledgement.
    options = {"http": "httptools", "ws": "none", "lifespan": "off", "access_log": False, "log_config": None}
    server = uvicorn.Server(uvicorn.Config(app, "127.0.0.1", 0, backlog=BACKLOG, **options))
    serving = asyncio.get_running_loop().create_task(server.serve())
    while not server.started and not serving.done():
        await asyncio.sleep(0.01)
    yield _tcp(server.servers[0])


HEADERS = [(b"content-type", b"text/plain"), (b"content-length", b"13")]


@kind
async def aiohttp_hello(place):
    from aiohttp import web

    async def hello(request):
        return web.Response(text="Hello, world!")

    application = web.Application()
    application.router.add_get("/", hello)
    runner = web.AppRunner(application, access_log=None)
    await runner.setup()
    await web.TCPSite(runner, "127.0.0.1", 0, backlog=BACKLOG).start()
    yield f"tcp:127.0.0.1:{runner.addresses[0][1]}"


async def _server(protocol, **options):
    return await asyncio.get_running_loop().create_server(protocol, "127.0.0.1", 0, backlog=BACKLOG, **options)


def _tcp(server, scheme="tcp"):
    return f"{scheme}:127.0.0.1:{server.sockets[0].getsockname()[1]}"
