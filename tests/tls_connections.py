"""TLS connections to ourselves, for tests. certificates/openssl.cnf says how the certificate was made."""

import asyncio
import ssl
import sys

from conftest import ROOT

CERTIFICATES = ROOT / "tests" / "certificates"
BIG = 3_000_000
# asyncio knows ssl_shutdown_timeout from 3.11 on.
SHUTDOWN_KEYWORD = sys.version_info >= (3, 11)


def server_context():
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(CERTIFICATES / "certificate.pem", CERTIFICATES / "key.pem")
    return context


def client_context():
    return ssl.create_default_context(cafile=CERTIFICATES / "certificate.pem")


class Recorder(asyncio.Protocol):
    """Notes what it is called with. `lost` is done when the connection is."""

    def __init__(self, loop):
        self.loop = loop
        self.events = []
        self.data = bytearray()
        self.transport = None
        self.made = loop.create_future()
        self.lost = loop.create_future()
        self.changed = asyncio.Event() if sys.version_info >= (3, 10) else None

    def connection_made(self, transport):
        self.events.append("made")
        self.transport = transport
        if not self.made.done():
            self.made.set_result(None)

    def data_received(self, data):
        assert type(data) is bytes
        assert data
        if self.events[-1] != "data":
            self.events.append("data")
        self.data += data
        self.changed.set()

    def eof_received(self):
        self.events.append("eof")
        self.changed.set()

    def pause_writing(self):
        self.events.append("pause")
        self.changed.set()

    def resume_writing(self):
        self.events.append("resume")
        self.changed.set()

    def connection_lost(self, exc):
        self.events.append("lost")
        assert not self.lost.done(), "connection_lost was called twice"
        self.lost.set_result(exc)
        self.changed.set()

    async def until(self, condition):
        while not condition():
            self.changed.clear()
            await self.changed.wait()


class BufferedRecorder(Recorder, asyncio.BufferedProtocol):
    """The same with a buffer of its own, which is smaller than a record."""

    def __init__(self, loop):
        super().__init__(loop)
        self.buffer = bytearray(1000)

    def get_buffer(self, size_hint):
        return memoryview(self.buffer)

    def buffer_updated(self, count):
        assert 0 < count <= len(self.buffer)
        self.data_received(bytes(self.buffer[:count]))


class BytearrayRecorder(BufferedRecorder):
    """The same with a buffer that is no view, of which asyncio fills a copy."""

    def get_buffer(self, size_hint):
        return self.buffer


class Echo(Recorder):
    def data_received(self, data):
        super().data_received(data)
        self.transport.write(data)


def run(loop, main):
    """Run a coroutine, but not for ever."""
    return loop.run_until_complete(asyncio.wait_for(main, 30))


async def connect(loop, server_protocol=Recorder, client_protocol=Recorder, *, server=None, client=None, **options):
    """A connection to ourselves. Returns the protocols of its server and of its client; both are connected."""
    accepted = []

    def accept():
        accepted.append(server_protocol(loop))
        return accepted[-1]

    listener = await loop.create_server(accept, "127.0.0.1", 0, ssl=server or server_context())
    port = listener.sockets[0].getsockname()[1]
    options = {"server_hostname": "localhost", **options}
    _, connected = await loop.create_connection(
        lambda: client_protocol(loop), "127.0.0.1", port, ssl=client or client_context(), **options
    )
    await accepted[0].made
    listener.close()
    return accepted[0], connected


async def close(*protocols):
    """Close connections, and wait until they are lost."""
    for protocol in protocols:
        protocol.transport.close()
    return [await protocol.lost for protocol in protocols]
