"""A program: a server that runs out of descriptors while connections wait, and has them again later.

    python out_of_descriptors.py asyncio|boucle

It prints its port and, when no descriptor is left, "full". It frees them when the loop has reported that it cannot
accept, says "free", greets every client and ends with its standard input.
"""

import asyncio
import contextlib
import os
import resource
import sys

import boucle

LIMIT = 64


class Greeter(asyncio.Protocol):
    def connection_made(self, transport):
        transport.write(b"hello")
        transport.close()


async def main():
    loop = asyncio.get_running_loop()
    resource.setrlimit(resource.RLIMIT_NOFILE, (LIMIT, LIMIT))
    server = await loop.create_server(Greeter, "127.0.0.1", 0)
    spare = []
    reported = asyncio.Event()
    loop.set_exception_handler(lambda loop, context: reported.set() if "resource" in context["message"] else None)
    # What the loop needs at its first use is open before.
    await asyncio.sleep(0.001)
    with contextlib.suppress(OSError):
        while True:
            spare.append(os.dup(0))
    print(server.sockets[0].getsockname()[1], "full", flush=True)
    await reported.wait()
    for descriptor in spare:
        os.close(descriptor)
    print("free", flush=True)
    ended = loop.create_future()
    loop.add_reader(0, ended.set_result, None)
    await ended
    loop.remove_reader(0)


if __name__ == "__main__":
    loop = {"asyncio": asyncio.SelectorEventLoop, "boucle": boucle.new_event_loop}[sys.argv[1]]()
    loop.run_until_complete(main())
    loop.close()
