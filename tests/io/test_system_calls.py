"""What a server asks of the kernel, counted by strace: three calls for each message, one registration a connection."""

import contextlib
import re
import socket
import subprocess
import sys
from collections import Counter
from pathlib import Path

import pytest

from connected import PATIENCE, streams_are_native
from system_calls import need_strace, traced

PROGRAM = Path(__file__).with_name("echo_server.py")
MESSAGES = 1000
RECEIVE = {"recv", "recvfrom", "read", "readv", "recvmsg"}
SEND = {"send", "sendto", "write", "sendmsg"}
WAIT = {"epoll_wait", "epoll_pwait", "epoll_pwait2"}


@pytest.fixture(autouse=True)
def strace(own_loop):
    """strace, which may be missing or not allowed here."""
    if not streams_are_native(own_loop):
        pytest.skip("boucle's transports of sockets are asyncio's own")
    need_strace()


class Traced:
    """The server under strace, and a connection to it whose messages mark places in the trace."""

    def __init__(self, style, log):
        self._log = log
        command = ["strace", "-f", "-s", "16", "-o", log, sys.executable, PROGRAM, style]
        self._server = subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE)
        self._address = ("127.0.0.1", int(self._server.stdout.readline()))
        self.client = self.connect()

    def connect(self):
        client = socket.create_connection(self._address, timeout=PATIENCE)
        client.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        return client

    def echo(self, word, client=None):
        """Send 1 KiB that begins with a word, and wait for the answer."""
        client = client or self.client
        message = word.encode().ljust(1024, b".")
        client.sendall(message)
        answer = b""
        while len(answer) < 1024:
            answer += client.recv(1024 - len(answer))
        assert answer == message

    def end(self):
        """The calls between the receipts of "first" and of "last": (name, line)."""
        self.client.close()
        self._server.stdin.close()
        assert self._server.wait(PATIENCE) == 0
        self._server.stdout.close()
        lines = self._log.read_text(errors="replace").splitlines()
        received = [number for number, line in enumerate(lines) if re.search(r'"(first|last)', line)]
        # Each marker is in the line of its receipt and, later, in that of its answer.
        first, last = received[0], received[2]
        assert "first" in lines[first]
        assert "last" in lines[last]
        calls = [re.search(r"^\d+\s+(\w+)\(", line) for line in lines[first:last]]
        return [(call.group(1), line) for call, line in zip(calls, lines[first:last], strict=True) if call]

    def kill(self):
        self._server.kill()
        self._server.wait()


@pytest.fixture
def start(tmp_path):
    with contextlib.ExitStack() as stack:

        def start(style):
            traced = Traced(style, tmp_path / "trace")
            stack.callback(traced.kill)
            return traced

        yield start


def ping_pong(traced):
    for _ in range(50):
        traced.echo("warm-up")
    traced.echo("first")
    for _ in range(MESSAGES - 1):
        traced.echo("message")
    traced.echo("last")
    return traced.end()


@pytest.mark.parametrize(
    ("style", "turns"),
    [
        ("protocol", 1),
        ("buffered", 1),
        # What comes wakes a task, which runs in the next turn; each turn looks what the kernel has, as on asyncio.
        ("streams", 2),
    ],
)
def test_a_message_takes_a_receive_a_send_and_a_wait_each_turn(start, style, turns):
    calls = ping_pong(start(style))
    kinds = Counter(
        "wait" if name in WAIT else "receive" if name in RECEIVE else "send" if name in SEND else name
        for name, _ in calls
    )
    assert kinds == {"wait": turns * MESSAGES, "receive": MESSAGES, "send": MESSAGES}


def test_a_connection_is_registered_once_and_removed_once(start):
    traced = start("protocol")
    connections = 20
    traced.echo("first")
    for _ in range(connections):
        client = traced.connect()
        traced.echo("message", client)
        traced.echo("message", client)
        client.shutdown(socket.SHUT_WR)
        assert client.recv(1) == b"", "the server has closed"
        client.close()
    traced.echo("last")
    calls = traced.end()
    operations = Counter(
        match.group() for name, line in calls if name == "epoll_ctl" and (match := re.search(r"EPOLL_CTL_\w+", line))
    )
    assert operations == {"EPOLL_CTL_ADD": connections, "EPOLL_CTL_DEL": connections}


def test_a_big_message_takes_no_memory_from_the_kernel_for_each_read(start):
    traced = start("protocol")
    message = bytes(200_000)

    def exchange():
        traced.client.sendall(message)
        left = len(message)
        while left:
            left -= len(traced.client.recv(left))

    for _ in range(20):
        exchange()
    traced.echo("first")
    for _ in range(100):
        exchange()
    traced.echo("last")
    calls = traced.end()
    reads = sum(name in RECEIVE for name, _ in calls)
    mapped = sum(name in {"mmap", "munmap", "mremap"} for name, _ in calls)
    assert reads >= 100
    assert mapped <= reads // 20, Counter(name for name, _ in calls)


CONNECTIONS = """
import asyncio, os
import boucle

class Closing(asyncio.Protocol):
    def connection_made(self, transport):
        transport.close()

async def main():
    loop = asyncio.get_running_loop()
    server = await loop.create_server(Closing, "127.0.0.1", 0)
    address = server.sockets[0].getsockname()
    for _ in range(20):
        os.getppid()
        transport, _ = await loop.create_connection(asyncio.Protocol, *address)
        while not transport.is_closing():
            await asyncio.sleep(0)
        await asyncio.sleep(0)
        os.getppid()
    server.close()

boucle.run(main())
"""


def test_a_connection_within_a_process_takes_these_calls(tmp_path):
    _, lines = traced(tmp_path, "getppid,epoll_ctl,accept4,ppoll,ioctl,getpeername", CONNECTIONS)
    calls = [re.search(r"EPOLL_CTL_\w+|getppid|accept4|ppoll|ioctl|getpeername", line).group() for line in lines]
    marks = [index for index, call in enumerate(calls) if call == "getppid"]
    # The last connection.
    operations = Counter(calls[marks[-2] + 1 : marks[-1]])
    # Where asyncio's create_connection runs, the socket is registered twice, and made not to block twice.
    once = {"EPOLL_CTL_MOD": 1} if sys.version_info >= (3, 12) else {"EPOLL_CTL_ADD": 1, "EPOLL_CTL_DEL": 1, "ioctl": 1}
    expected = {"accept4": 1, "ppoll": 1, "ioctl": 1, "getpeername": 1, "EPOLL_CTL_ADD": 1, "EPOLL_CTL_DEL": 1}
    assert operations == Counter(expected) + Counter(once)
