"""A program: an echo server on boucle, for those that count what it asks of the kernel.

    python echo_server.py protocol|buffered|streams

It prints its port, and ends when its standard input does.
"""

import asyncio
import sys

import boucle


class Echo(asyncio.Protocol):
    def connection_made(self, transport):
        self.transport = transport

    def data_received(self, data):
        self.transport.write(data)


class BufferedEcho(asyncio.BufferedProtocol):
    def __init__(self):
        self.buffer = bytearray(65536)

    def connection_made(self, transport):
        self.transport = transport

    def get_buffer(self, sizehint):
        return self.buffer

    def buffer_updated(self, nbytes):
        self.transport.write(self.buffer[:nbytes])


async def echo(reader, writer):
    while data := await reader.read(65536):
        writer.write(data)
        await writer.drain()
    writer.close()


async def main():
    loop = asyncio.get_running_loop()
    if sys.argv[1] == "streams":
        server = await asyncio.start_server(echo, "127.0.0.1", 0)
    else:
        factory = {"protocol": Echo, "buffered": BufferedEcho}[sys.argv[1]]
        server = await loop.create_server(factory, "127.0.0.1", 0)
    print(server.sockets[0].getsockname()[1], flush=True)
    ended = loop.create_future()
    loop.add_reader(sys.stdin, ended.set_result, None)
    await ended
    loop.remove_reader(sys.stdin)


if __name__ == "__main__":
    boucle.run(main())
