"""A program: connects that are cancelled at random moments. Nothing may leak, be closed twice or be answered wrongly.

    python cancel_stress.py --connects 100000 [--loop asyncio|boucle] [--seed 1] [--double-close]

Some connects run at once, each is cancelled after a random number of turns. What would go wrong shows itself so:

* a leak: /proc/self/fd before and after differ, or a finalizer finds something unclosed;
* a double close: after each cancellation a canary takes the number that became free, and is missing later if a second
  close hits it; or another connection fails with EBADF;
* an answer on the wrong connection: the server, a process of its own, tells each connection its port.

At least 5 % must be cancelled when the kernel has connected and the protocol does not know: those are the connections
that the server has accepted and no protocol was told of. With --double-close some of the sockets that are
closed are closed once more a turn later, as the mistake would be: the program must fail then.
"""

import argparse
import asyncio
import contextlib
import gc
import os
import random
import select
import socket
import subprocess
import sys
from collections import Counter, deque

import boucle

LOOPS = {"asyncio": asyncio.SelectorEventLoop, "boucle": boucle.new_event_loop}
AT_ONCE = 8
LATEST = 6  # turns after its start that a connect is cancelled
LISTENING = 10  # sockets, so that 100,000 closed connections leave ports to connect from
CANARIES = 32
ENOUGH = 0.05
MISTAKEN = 0.05  # of the closes are twofold with --double-close
PATIENCE = 5  # seconds for an answer; one wrong connection in so many would do, so no more are waited for


def serve():
    """The server: tells each connection its port, and at its end how many there were."""
    listening = [socket.create_server(("127.0.0.1", 0), backlog=1000) for _ in range(LISTENING)]
    print(*(sock.getsockname()[1] for sock in listening), flush=True)
    accepted, told_to_end = 0, False
    while True:
        ready, _, _ = select.select([*listening, *([] if told_to_end else [0])], [], [], 0 if told_to_end else None)
        if not ready:
            break
        for sock in ready:
            if sock == 0:
                told_to_end = True
                continue
            connection, (_, port) = sock.accept()
            accepted += 1
            with contextlib.suppress(OSError):
                connection.sendall(b"%d" % port)
            connection.close()
    print(accepted, flush=True)


class Client(asyncio.Protocol):
    """Compares what it is told with its port."""

    def __init__(self, stress):
        self._stress = stress
        self._answer = b""
        self.lost = stress.loop.create_future()

    def connection_made(self, transport):
        self._stress.made += 1
        self._port = transport.get_extra_info("sockname")[1]

    def data_received(self, data):
        self._answer += data
        if not (b"%d" % self._port).startswith(self._answer):
            self._stress.wrong["answer on the wrong connection"] += 1

    def connection_lost(self, exc):
        if exc is not None and not isinstance(exc, ConnectionError):
            self._stress.wrong[f"lost connection: {exc!r}"] += 1
        self.lost.set_result(self._answer)


class Stress:
    """The clients."""

    def __init__(self, loop, ports, connects, seed):
        self.loop = loop
        self.made = self.cancelled = self.answered = 0
        self.wrong = Counter()
        self._ports = ports
        self._left = connects
        self._random = random.Random(seed)
        self._canaries = deque()
        self._null = os.open(os.devnull, os.O_RDONLY)
        self._known = os.fstat(self._null)

    async def run(self):
        await asyncio.gather(*(self._connect_again_and_again() for _ in range(AT_ONCE)))
        while self._canaries:
            self._look_after_a_canary()
        os.close(self._null)

    async def _connect_again_and_again(self):
        while self._left > 0 and not self.wrong["no answer"]:
            self._left -= 1
            try:
                await asyncio.wait_for(self._connect(), PATIENCE)
            except asyncio.TimeoutError:
                self.wrong["no answer"] += 1
            except Exception as error:
                self.wrong[f"connect: {error!r}"] += 1

    async def _connect(self):
        client = Client(self)
        address = "127.0.0.1", self._random.choice(self._ports)
        connecting = self.loop.create_task(self.loop.create_connection(lambda: client, *address))
        for _ in range(self._random.randrange(LATEST + 1)):
            await asyncio.sleep(0)
        connecting.cancel()
        try:
            transport, _ = await connecting
        except asyncio.CancelledError:
            self.cancelled += 1
            self._put_out_a_canary()
            return
        answer = await client.lost
        self.answered += bool(answer)
        transport.close()

    def _put_out_a_canary(self):
        self._canaries.append(os.dup(self._null))
        if len(self._canaries) > CANARIES:
            self._look_after_a_canary()

    def _look_after_a_canary(self):
        canary = self._canaries.popleft()
        try:
            found = os.fstat(canary)
            if (found.st_rdev, found.st_ino) != (self._known.st_rdev, self._known.st_ino):
                raise OSError("another file has the number")
        except OSError:
            self.wrong["double close: a canary is gone"] += 1
        else:
            os.close(canary)


def close_twice(loop):
    """The mistake, on purpose."""
    close = socket.socket.close
    chance = random.Random(1)

    def again(descriptor):
        with contextlib.suppress(OSError):
            os.close(descriptor)

    def closing(sock):
        descriptor = sock.fileno()
        close(sock)
        if descriptor >= 0 and not loop.is_closed() and chance.random() < MISTAKEN:
            loop.call_soon(lambda: loop.call_soon(again, descriptor))

    socket.socket.close = closing


def stress(options, server):
    loop = LOOPS[options.loop]()
    wrong = Counter()
    # A file that nobody closed; its address differs each time.
    sys.unraisablehook = lambda raised: wrong.update([f"a finalizer: {type(raised.exc_value).__name__}"])
    ports = [int(port) for port in server.stdout.readline().split()]
    tried = Stress(loop, ports, options.connects, options.seed)
    loop.set_exception_handler(lambda loop, context: tried.wrong.update([f"report: {context['message']}"]))
    # What a loop opens at its first run is open before.
    loop.run_until_complete(asyncio.sleep(0.001))
    before = set(os.listdir("/proc/self/fd"))
    if options.double_close:
        close_twice(loop)
    loop.run_until_complete(tried.run())
    loop.run_until_complete(asyncio.sleep(0.01))
    gc.collect()
    after = set(os.listdir("/proc/self/fd"))
    # Not counted: the canaries' own file, which was open before and is closed now.
    leaked = len(after - before)
    if leaked:
        wrong[f"{leaked} leaked descriptors"] += 1
    if tasks := asyncio.all_tasks(loop):
        wrong[f"{len(tasks)} tasks are left"] += 1
    loop.close()
    server.stdin.close()
    accepted = int(server.stdout.readline())
    between = accepted - tried.made
    print(
        f"{options.connects} connects on {options.loop}: {tried.cancelled} cancelled, {between} of them between the "
        f"kernel's connect and connection_made ({between / options.connects:.1%}); {tried.answered} answered"
    )
    if between < ENOUGH * options.connects:
        wrong[f"only {between} were cancelled between"] += 1
    return wrong + tried.wrong


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--connects", type=int, default=100_000)
    parser.add_argument("--loop", choices=LOOPS, default="boucle")
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument("--double-close", action="store_true", help="make the mistake on purpose")
    parser.add_argument("--serve", action="store_true", help=argparse.SUPPRESS)
    options = parser.parse_args()
    if options.serve:
        serve()
        return
    with subprocess.Popen(
        [sys.executable, __file__, "--serve"], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
    ) as server:
        try:
            wrong = stress(options, server)
        finally:
            server.kill()
    for what, count in wrong.most_common():
        print(f"WRONG: {what} ({count} times)")
    if wrong:
        sys.exit(1)
    print("no leak, no double close, no foreign answer")


if __name__ == "__main__":
    main()
