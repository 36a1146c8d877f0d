"""A real server: uvicorn and FastAPI on boucle, asked by real clients."""

import concurrent.futures
import http.client
import json
import os
import re
import signal
import socket
import subprocess
import sys
import time
import xml.etree.ElementTree

import pytest

from conftest import EXAMPLES

REQUESTS = 10_000
CLIENTS = 8
BOUCLE = ["-c", "import sys; from boucle._cli import main; sys.exit(main())"]


@pytest.fixture
def serve():
    """Starts a server on a free port and waits until it listens. Returns its process and the port."""
    started = []

    def serve(*command):
        process = subprocess.Popen(
            [sys.executable, *command, "--port", "0", "--no-access-log"],
            cwd=EXAMPLES / "server",
            stderr=subprocess.PIPE,
            text=True,
        )
        started.append(process)
        for line in process.stderr:
            listening = re.search(r"running on http://127\.0\.0\.1:(\d+)", line)
            if listening:
                return process, int(listening[1])
        raise AssertionError(f"the server ended with status {process.wait()}")

    yield serve
    for process in started:
        if process.poll() is None:
            process.kill()
        process.communicate()


def ask(port, numbers):
    """Asks for squares over one connection. Returns how many answers were right."""
    connection = http.client.HTTPConnection("127.0.0.1", port, timeout=60)
    right = 0
    for number in numbers:
        connection.request("GET", f"/square/{number}")
        answer = connection.getresponse()
        right += answer.status == 200 and json.load(answer) == {"number": number, "square": number * number}
    connection.close()
    return right


def ask_loop(port):
    connection = http.client.HTTPConnection("127.0.0.1", port, timeout=60)
    connection.request("GET", "/loop")
    answer = json.load(connection.getresponse())
    connection.close()
    return answer["loop"]


def end(process):
    process.send_signal(signal.SIGINT)
    _, stderr = process.communicate(timeout=60)
    return stderr


def test_ten_thousand_requests_are_answered(serve):
    process, port = serve("-m", "uvicorn", "app:app", "--loop", "boucle:new_event_loop")
    assert ask_loop(port) == "boucle._loop.Loop"
    with concurrent.futures.ThreadPoolExecutor(CLIENTS) as pool:
        shares = [range(client, REQUESTS, CLIENTS) for client in range(CLIENTS)]
        assert sum(pool.map(ask, [port] * CLIENTS, shares)) == REQUESTS
    stderr = end(process)
    assert "Application shutdown complete" in stderr
    assert "Error" not in stderr


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_record_draws_a_server(serve, tmp_path, number):
    path = tmp_path / "run.svg"
    uvicorn = ["-m", "uvicorn", "app:app", "--loop", "boucle:new_event_loop"]
    process, port = serve(*BOUCLE, "record", "-o", str(path), *uvicorn)
    assert ask(port, range(200)) == 200
    process.send_signal(number)
    _, stderr = process.communicate(timeout=60)
    assert f"steps: {path}" in stderr
    svg = path.read_text()
    xml.etree.ElementTree.fromstring(svg)
    assert "uvicorn" in svg


def test_a_server_that_prefers_uvloop_is_told(serve):
    pytest.importorskip("uvloop", reason="uvicorn's --loop auto prefers uvloop where it is installed")
    process, port = serve(*BOUCLE, "run", "-m", "uvicorn", "app:app", "--loop", "auto")
    assert ask_loop(port) == "uvloop.Loop"
    stderr = end(process)
    assert "boucle: the program never ran a boucle loop: it ran uvloop.Loop." in stderr
    assert "boucle:new_event_loop" in stderr


def test_the_rest_of_asyncio_works_through_its_own_code(tmp_path):
    # TCP, TLS, UDP, Unix sockets, pipes, subprocesses, name look-ups and executors, each once.
    import asyncio
    import ssl

    import boucle

    class Echo(asyncio.DatagramProtocol):
        def connection_made(self, transport):
            self.transport = transport

        def datagram_received(self, data, address):
            self.transport.sendto(data.upper(), address)

    class Answer(asyncio.DatagramProtocol):
        def __init__(self, future):
            self.future = future

        def datagram_received(self, data, address):
            self.future.set_result(data)

    async def upper(reader, writer):
        writer.write((await reader.readline()).upper())
        await writer.drain()
        writer.close()

    async def ask(opened):
        reader, writer = await opened
        writer.write(b"hello\n")
        answer = await reader.read()
        writer.close()
        await writer.wait_closed()
        return answer

    async def main():
        loop = asyncio.get_running_loop()
        server = await asyncio.start_server(upper, "127.0.0.1", 0)
        port = server.sockets[0].getsockname()[1]
        assert await ask(asyncio.open_connection("localhost", port, family=socket.AF_INET)) == b"HELLO\n"
        server.close()

        server = await asyncio.start_unix_server(upper, tmp_path / "socket")
        assert await ask(asyncio.open_unix_connection(tmp_path / "socket")) == b"HELLO\n"
        server.close()

        certificate = tmp_path / "certificate.pem"
        make_certificate(certificate)
        context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
        context.load_cert_chain(certificate)
        server = await asyncio.start_server(upper, "127.0.0.1", 0, ssl=context)
        port = server.sockets[0].getsockname()[1]
        trusting = ssl.create_default_context(cafile=certificate)
        connecting = asyncio.open_connection("127.0.0.1", port, ssl=trusting, server_hostname="localhost")
        assert await ask(connecting) == b"HELLO\n"
        server.close()

        transport, _ = await loop.create_datagram_endpoint(Echo, local_addr=("127.0.0.1", 0))
        answer = loop.create_future()
        client, _ = await loop.create_datagram_endpoint(
            lambda: Answer(answer), remote_addr=transport.get_extra_info("sockname")
        )
        client.sendto(b"datagram")
        assert await asyncio.wait_for(answer, 10) == b"DATAGRAM"
        client.close()
        transport.close()

        process = await asyncio.create_subprocess_exec(
            *(sys.executable, "-c", "print(input().upper())"),
            stdin=asyncio.subprocess.PIPE,
            stdout=asyncio.subprocess.PIPE,
        )
        assert (await process.communicate(b"child\n"))[0] == b"CHILD\n"
        assert process.returncode == 0

        assert await asyncio.to_thread(os.getpid) == os.getpid()
        assert (await loop.getaddrinfo("127.0.0.1", 80))[0][4] == ("127.0.0.1", 80)
        await asyncio.sleep(0)

    began = time.monotonic()
    boucle.run(main(), debug=False)
    assert time.monotonic() - began < 60


def make_certificate(path):
    """A certificate for localhost, and its key, in one file."""
    subprocess.run(
        [
            *("openssl", "req", "-x509", "-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:prime256v1", "-nodes"),
            *("-days", "2", "-keyout", path, "-out", path.with_suffix(".crt"), "-subj", "/CN=localhost"),
            *("-addext", "subjectAltName=DNS:localhost"),
        ],
        check=True,
        capture_output=True,
    )
    path.write_bytes(path.read_bytes() + path.with_suffix(".crt").read_bytes())
