"""A client that asks one thing after the other: it sends a message, waits for the whole answer and until the server
sleeps, and sends the next.

What the server asks of the kernel for a message then depends on nothing but the server: it never finds two messages at
once, never half of one, and none that has come while it was at work. `boucle-load` is the client where speed matters.
"""

import contextlib
import socket
import ssl
import time
from pathlib import Path

PATIENCE = 60
"""Seconds without an answer after which the server has failed."""

LOOK = 0.0001
"""Seconds between two looks whether the server sleeps."""

MESSAGE = b"x" * 1024

REQUEST = b"GET / HTTP/1.1\r\nHost: localhost\r\n\r\n"
END_OF_ANSWER = b"Hello, world!"


def drive(target, process, messages, is_http=False):
    """Exchanges so many messages with a process, which serves at a target such as ``tcp:127.0.0.1:80``."""
    exchange = _request if is_http else _echo
    with contextlib.closing(_connect(target)) as connection:
        for _ in range(messages):
            _wait_for_sleep(process)
            exchange(connection)


def _wait_for_sleep(process):
    """Waits until the first thread of a process sleeps in the kernel, and not because a tracer has stopped it."""
    stat = Path(f"/proc/{process}/stat")
    deadline = time.monotonic() + PATIENCE
    # The name, which stands in parentheses, may hold anything.
    while stat.read_text().rpartition(") ")[2][0] != "S":
        if time.monotonic() > deadline:
            raise TimeoutError("the server never sleeps")
        time.sleep(LOOK)


def _connect(target):
    scheme, _, where = target.partition(":")
    if scheme == "unix":
        connection = socket.socket(socket.AF_UNIX)
        address = where
    else:
        connection = socket.socket(type=socket.SOCK_DGRAM if scheme == "udp" else socket.SOCK_STREAM)
        host, _, port = where.rpartition(":")
        address = host, int(port)
    connection.settimeout(PATIENCE)
    connection.connect(address)
    if scheme in ("tcp", "tls"):
        connection.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
    return _over_tls(connection) if scheme == "tls" else connection


def _over_tls(connection):
    # The certificate is made for the occasion, and signed by nobody.
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
    context.check_hostname = False
    context.verify_mode = ssl.CERT_NONE
    return context.wrap_socket(connection)


def _echo(connection):
    connection.sendall(MESSAGE)
    missing = len(MESSAGE)
    while missing:
        missing -= len(_received(connection))


def _request(connection):
    connection.sendall(REQUEST)
    answer = b""
    while not answer.endswith(END_OF_ANSWER):
        answer += _received(connection)


def _received(connection):
    data = connection.recv(1 << 16)
    if not data:
        raise ConnectionError("the server ended the connection")
    return data
