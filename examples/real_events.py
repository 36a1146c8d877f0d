"""Coroutines that wait for data, not for time: on a socket, and on a pipe."""

import asyncio
import os
import socket


async def read_socket(theirs):
    loop = asyncio.get_running_loop()
    data = await loop.sock_recv(theirs, 100)
    print("socket:", data.decode())


async def read_pipe(descriptor):
    reader = asyncio.StreamReader()
    loop = asyncio.get_running_loop()
    transport, _ = await loop.connect_read_pipe(
        lambda: asyncio.StreamReaderProtocol(reader), os.fdopen(descriptor, "rb")
    )
    print("pipe:", (await reader.read()).decode())
    transport.close()


async def main():
    ours, theirs = socket.socketpair()
    ours.setblocking(False)
    theirs.setblocking(False)
    receiving, sending = os.pipe()

    waiting = [
        asyncio.create_task(read_socket(theirs), name="socket"),
        asyncio.create_task(read_pipe(receiving), name="pipe"),
    ]
    await asyncio.sleep(0.01)
    print("nothing yet:", not any(task.done() for task in waiting))

    await asyncio.get_running_loop().sock_sendall(ours, b"hello")
    await waiting[0]
    os.write(sending, b"world")
    os.close(sending)
    await waiting[1]
    ours.close()
    theirs.close()


if __name__ == "__main__":
    asyncio.run(main())
