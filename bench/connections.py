"""Connections with both ends in one process."""

import asyncio
import contextlib
import socket
import ssl
import tempfile
import threading
import time
from pathlib import Path

import certificate
import memory
from servers import Echo
from workloads import workload

MESSAGE = b"x" * 1024
MEGABYTE = 1_000_000
CONNECTIONS = 10


class Asker(asyncio.Protocol):
    """Sends a message, waits for the whole of the answer, and sends the next one, until it is told to stop."""

    def __init__(self, answered):
        self._answered = answered
        self._missing = 0

    def connection_made(self, transport):
        self._transport = transport

    def ask(self):
        self._missing = len(MESSAGE)
        self._transport.write(MESSAGE)

    def data_received(self, data):
        self._missing -= len(data)
        if not self._missing and self._answered():
            self.ask()


@contextlib.contextmanager
def _contexts():
    """No TLS as two contexts would be: one of a server, and one of a client that trusts it."""
    with tempfile.TemporaryDirectory() as folder:
        path = certificate.make(Path(folder) / "certificate.pem")
        server = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
        server.load_cert_chain(path)
        client = ssl.create_default_context(cafile=path)
        yield server, client


async def _pairs(count, answered=None, contexts=(None, None)):
    """A server that echoes, and so many connections to it, as Askers."""
    loop = asyncio.get_running_loop()
    server = await loop.create_server(Echo, "127.0.0.1", 0, backlog=count, ssl=contexts[0])
    address = server.sockets[0].getsockname()
    options = {"ssl": contexts[1], "server_hostname": "localhost"} if contexts[1] else {}
    askers = []
    for _ in range(count):
        _, asker = await loop.create_connection(lambda: Asker(answered), *address, **options)
        askers.append(asker)
    return server, askers


@workload("connect, accept, close", 500, section="process", unit="µs", needs=frozenset({"closing"}))
def connect_accept(loop, operations, stopwatch):
    """A connection to a server on the same loop; both ends are closed before the next one."""

    class Closing(asyncio.Protocol):
        def __init__(self):
            self.closed = loop.create_future()

        def connection_made(self, transport):
            self._transport = transport

        def eof_received(self):
            self._transport.close()

        def connection_lost(self, error):
            self.closed.set_result(None)

    async def main():
        served = []

        def serve():
            served.append(Closing())
            return served[-1]

        server = await loop.create_server(serve, "127.0.0.1", 0)
        address = server.sockets[0].getsockname()
        with stopwatch:
            for _ in range(operations):
                transport, client = await loop.create_connection(Closing, *address)
                transport.close()
                await client.closed
                while not served:
                    await asyncio.sleep(0)
                await served.pop().closed
        server.close()

    loop.run_until_complete(main())


@workload('getaddrinfo("localhost")', 300, clock=time.perf_counter_ns, section="process", unit="µs")
def name_lookup(loop, operations, stopwatch):
    """Looked up by a thread, one after the other."""

    async def main():
        for _ in range(operations):
            await loop.getaddrinfo("localhost", 80)

    with stopwatch:
        loop.run_until_complete(main())


@workload("1 MB of 100 by sendfile", 100, section="process", unit="µs", needs=frozenset({"sendfile"}))
def sendfile(loop, operations, stopwatch):
    """From a file to a TCP connection, whose other end a thread reads: its CPU is in the figure.

    The file is written before: whoever sends a hole makes the kernel find a page for each piece of it, which costs
    several times as much as to send it.
    """
    size = operations * MEGABYTE

    def read():
        with listener.accept()[0] as connection:
            buffer = bytearray(1 << 20)
            while connection.recv_into(buffer):
                pass

    async def main():
        transport, _ = await loop.create_connection(asyncio.Protocol, *listener.getsockname())
        with stopwatch:
            sent = await loop.sendfile(transport, file)
        assert sent == size
        transport.close()

    reader = threading.Thread(target=read)
    with tempfile.TemporaryFile() as file, socket.create_server(("127.0.0.1", 0)) as listener:
        for _ in range(operations):
            file.write(bytes(MEGABYTE))
        file.seek(0)
        reader.start()
        loop.run_until_complete(main())
        reader.join()


@workload(
    "20 echoes beside a busy thread, slower", 1, section="process", unit="times", is_warmed=False, is_checked=False
)
def beside_a_thread(loop, operations, stopwatch):
    """20 connections with both ends on the loop: how many times fewer messages while a thread computes in Python."""
    answers = 0
    is_over = False

    def answered():
        nonlocal answers
        answers += 1
        return not is_over

    def compute():
        while not is_over:
            pass

    async def rate(askers):
        nonlocal answers, is_over
        for asker in askers:
            asker.ask()
        answers, began = 0, time.perf_counter()
        await asyncio.sleep(0.3)
        rate = answers / (time.perf_counter() - began)
        is_over = True
        await asyncio.sleep(0.1)
        is_over = False
        return rate

    async def main():
        _server, askers = await _pairs(20, answered)
        await rate(askers)
        alone = await rate(askers)
        thread = threading.Thread(target=compute)
        thread.start()
        beside = await rate(askers)
        thread.join()
        return alone / beside

    return loop.run_until_complete(main())


TLS = {"section": "process", "unit": "µs", "needs": frozenset({"tls"}), "is_warmed": False}


@workload("TLS echo, 1 KiB, both ends", 5_000, **TLS)
def tls_both_ends(loop, operations, stopwatch):
    """10 connections ask as soon as they have their answer. The handshake of a client frees a large block on uvloop, so
    that there is no fresh process in this row."""
    left = 0
    done = None

    def answered():
        nonlocal left
        left -= 1
        if not left:
            done.set_result(None)
        return left >= CONNECTIONS

    async def ask(askers, times):
        nonlocal left, done
        left, done = times, loop.create_future()
        for asker in askers:
            asker.ask()
        await done

    async def main():
        _server, askers = await _pairs(CONNECTIONS, answered, contexts)
        await ask(askers, 200)
        with stopwatch:
            await ask(askers, operations)

    with _contexts() as contexts:
        loop.run_until_complete(main())


@workload("TLS, an idle pair", 500, **TLS | {"unit": "KiB", "is_checked": False, "is_quick": False})
def tls_idle_pair(loop, operations, stopwatch):
    """Resident memory for each of 500 connections, both ends, that have said something and then nothing."""

    async def main():
        before = memory.resident()
        _server, askers = await _pairs(operations, lambda: False, contexts)
        for asker in askers:
            asker.ask()
        await asyncio.sleep(0.5)
        return (memory.resident() - before) / operations / 1024

    with _contexts() as contexts:
        return loop.run_until_complete(main())
