"""A program: many rounds of each kind of I/O on one loop. Everything must be back where it was when they are over.

    python rounds.py --rounds 10000 [--kinds tcp,tls,udp,unix,pipe,subprocess] [--loop asyncio|boucle]

A round makes a connection (a child, a pipe), exchanges something and closes it. After some rounds that warm up, and
again after all rounds, it is counted: descriptors, objects of the garbage collector, tasks, callbacks and timers that
the loop holds, descriptors that it watches, and resident memory. Only memory may have grown, by little: an allocator
keeps some. With --leak something is left behind in each round on purpose: the program must fail then.
"""

import argparse
import asyncio
import gc
import os
import shutil
import socket
import ssl
import subprocess
import sys
import tempfile
from dataclasses import dataclass

# The recorder's ring fills with what ran, which is no leak. The name of its switch is read when boucle is imported.
os.environ["BOUCLE_RECORD"] = "0"

import boucle

LOOPS = {"asyncio": asyncio.SelectorEventLoop, "boucle": boucle.new_event_loop}
MESSAGE = b"x" * 1000
WARMING_UP = 100
SPARE_OBJECTS = 100  # that caches of the interpreter may have gained
SPARE_MEMORY = 3 << 20  # bytes, for the allocator
SPARE_PER_ROUND = 50  # bytes; what a round leaves behind is larger


@dataclass
class Counts:
    """What there is at a moment."""

    descriptors: int
    objects: int
    tasks: int
    queued: int
    timers: int
    watched: int
    memory: int

    @classmethod
    def of(cls, loop):
        for _ in range(3):
            gc.collect()
        with open("/proc/self/statm") as file:
            memory = int(file.read().split()[1]) * os.sysconf("SC_PAGE_SIZE")
        return cls(
            descriptors=len(os.listdir("/proc/self/fd")),
            objects=len(gc.get_objects()),
            tasks=len(asyncio.all_tasks(loop)),
            queued=len(loop._ready),
            timers=len(loop._scheduled),
            watched=len(loop._selector.get_map()),
            memory=memory,
        )

    def grown(self, before, rounds):
        """What is more than it was: sentences."""
        for name, spare in (
            ("descriptors", 0),
            ("objects", SPARE_OBJECTS),
            ("tasks", 0),
            ("queued", 0),
            ("timers", 0),
            ("watched", 0),
            ("memory", SPARE_MEMORY + SPARE_PER_ROUND * rounds),
        ):
            more = getattr(self, name) - getattr(before, name)
            if more > spare:
                yield f"{more} more {name} than before ({getattr(before, name)})"


class Echo(asyncio.Protocol):
    def connection_made(self, transport):
        self.transport = transport

    def data_received(self, data):
        self.transport.write(data)


class EchoDatagrams(asyncio.DatagramProtocol):
    def connection_made(self, transport):
        self.transport = transport

    def datagram_received(self, data, address):
        self.transport.sendto(data, address)


class OneDatagram(asyncio.DatagramProtocol):
    def __init__(self, loop):
        self.received = loop.create_future()
        self.lost = loop.create_future()

    def connection_made(self, transport):
        transport.sendto(MESSAGE)

    def datagram_received(self, data, address):
        self.received.set_result(data)

    def connection_lost(self, exc):
        self.lost.set_result(exc)


async def exchange(reader, writer):
    writer.write(MESSAGE)
    await writer.drain()
    assert await reader.readexactly(len(MESSAGE)) == MESSAGE
    writer.close()
    await writer.wait_closed()


async def tcp(loop, folder):
    server = await loop.create_server(Echo, "127.0.0.1", 0)
    address = server.sockets[0].getsockname()

    async def once():
        await exchange(*await asyncio.open_connection(*address))

    return once, server


async def tls(loop, folder):
    certificate, key = f"{folder}/certificate.pem", f"{folder}/key.pem"
    command = ["openssl", "req", "-x509", "-newkey", "rsa:2048", "-nodes", "-keyout", key, "-out", certificate]
    subprocess.run([*command, "-days", "2", "-subj", "/CN=localhost"], check=True, capture_output=True)
    serving = ssl.create_default_context(ssl.Purpose.CLIENT_AUTH)
    serving.load_cert_chain(certificate, key)
    asking = ssl.create_default_context(cafile=certificate)
    asking.check_hostname = False
    server = await loop.create_server(Echo, "127.0.0.1", 0, ssl=serving)
    address = server.sockets[0].getsockname()

    async def once():
        await exchange(*await asyncio.open_connection(*address, ssl=asking))

    return once, server


async def udp(loop, folder):
    server, _ = await loop.create_datagram_endpoint(EchoDatagrams, local_addr=("127.0.0.1", 0))
    address = server.get_extra_info("sockname")

    async def once():
        transport, protocol = await loop.create_datagram_endpoint(lambda: OneDatagram(loop), remote_addr=address)
        assert await protocol.received == MESSAGE
        transport.close()
        await protocol.lost

    return once, server


async def unix(loop, folder):
    path = f"{folder}/socket"
    server = await loop.create_unix_server(Echo, path)

    async def once():
        await exchange(*await asyncio.open_unix_connection(path))

    return once, server


async def pipe(loop, folder):
    async def once():
        ours, theirs = os.pipe()
        reader = asyncio.StreamReader()
        ends = os.fdopen(ours, "rb", 0), os.fdopen(theirs, "wb", 0)
        reading, _ = await loop.connect_read_pipe(lambda: asyncio.StreamReaderProtocol(reader), ends[0])
        writing, _ = await loop.connect_write_pipe(asyncio.BaseProtocol, ends[1])
        writing.write(MESSAGE)
        writing.close()
        assert await reader.read() == MESSAGE
        reading.close()

    return once, None


async def child(loop, folder):
    async def once():
        process = await asyncio.create_subprocess_exec("cat", stdin=subprocess.PIPE, stdout=subprocess.PIPE)
        output, _ = await process.communicate(MESSAGE)
        assert output == MESSAGE
        assert process.returncode == 0

    return once, None


KINDS = {"tcp": tcp, "tls": tls, "udp": udp, "unix": unix, "pipe": pipe, "subprocess": child}
KEPT = []
LEAKS = {
    "descriptor": lambda loop: os.open(os.devnull, os.O_RDONLY),
    "object": lambda loop: KEPT.append([]),
    "memory": lambda loop: KEPT.append(bytes(100_000)),
    "task": lambda loop: KEPT.append(loop.create_task(asyncio.sleep(3600))),
    "timer": lambda loop: loop.call_later(3600, print),
    "reader": lambda loop: (KEPT.append(pair := socket.socketpair()), loop.add_reader(pair[0], print)),
}


async def finish(loop):
    """Let everything that is closing come to its end."""
    for _ in range(10):
        await asyncio.sleep(0)
    await asyncio.sleep(0.01)


def run(loop, kind, rounds, leak, folder):
    """The rounds of a kind. Returns what was left behind."""
    once, server = loop.run_until_complete(KINDS[kind](loop, folder))

    async def several(count):
        for _ in range(count):
            await once()

    loop.run_until_complete(several(WARMING_UP))
    loop.run_until_complete(finish(loop))
    before = Counts.of(loop)
    before = Counts.of(loop)  # counting makes objects, too
    for _ in range(10):
        loop.run_until_complete(several(rounds // 10))
        if leak:
            for _ in range(rounds // 10):
                LEAKS[leak](loop)
    loop.run_until_complete(finish(loop))
    after = Counts.of(loop)
    if server is not None:
        server.close()
        loop.run_until_complete(finish(loop))
    print(f"{kind}: {rounds} rounds; before {before}; after {after}")
    return [f"{kind}: {sentence}" for sentence in after.grown(before, rounds)]


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--rounds", type=int, default=10_000)
    parser.add_argument("--kinds", default=",".join(KINDS))
    parser.add_argument("--loop", choices=LOOPS, default="boucle")
    parser.add_argument("--leak", choices=LEAKS, help="leave one of these behind in each round, on purpose")
    options = parser.parse_args()
    wrong = []
    for kind in options.kinds.split(","):
        if kind == "tls" and shutil.which("openssl") is None:
            print("tls: skipped, openssl is missing, which makes the certificate")
            continue
        loop = LOOPS[options.loop]()
        with tempfile.TemporaryDirectory() as folder:
            wrong += run(loop, kind, options.rounds, options.leak, folder)
        if not options.leak:
            loop.close()
    for sentence in wrong:
        print(f"WRONG: {sentence}")
    print("something was left behind" if wrong else "everything is back where it was", flush=True)
    # Without finalizers, which would complain about what was left behind on purpose.
    os._exit(bool(wrong))


if __name__ == "__main__":
    sys.exit(main())
