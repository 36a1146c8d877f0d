"""Addresses: which questions go to a thread, and that the answers are those of socket.getaddrinfo."""

import asyncio
import socket
import threading
from pathlib import Path

import pytest

import boucle
from conftest import run_python


@pytest.fixture
def asked(monkeypatch):
    """Puts a function in the place of socket.getaddrinfo. The threads in which it was asked."""
    threads = []
    original = socket.getaddrinfo

    def ask(*args, **options):
        threads.append(threading.current_thread())
        return original(*args, **options)

    monkeypatch.setattr(socket, "getaddrinfo", ask)
    return threads


QUESTIONS = [
    (("127.0.0.1", 80), {}),
    (("127.0.0.1", "80"), {"type": socket.SOCK_STREAM}),
    (("127.0.0.1", None), {"family": socket.AF_INET, "proto": socket.IPPROTO_TCP}),
    (("::1", 443), {"flags": socket.AI_PASSIVE}),
    (("fe80::1%lo", 80), {"type": socket.SOCK_DGRAM}),
    (("::ffff:127.0.0.1", 0), {}),
    (("127.1", 80), {}),
    (("localhost", "80"), {"type": socket.SOCK_STREAM}),
    (("127.0.0.1", "http"), {}),
    (("127.0.0.1", 80), {"flags": socket.AI_CANONNAME}),
    ((None, 80), {"flags": socket.AI_PASSIVE, "type": socket.SOCK_STREAM}),
    ((b"127.0.0.1", 80), {}),
    (("127.0.0.1", 80), {"family": socket.AF_INET6}),
    (("127.0.0.1", -1), {}),
    (("127.0.0.1", 1 << 70), {}),
    (("1.2.3.4\0", 80), {}),
    (("127.0.0.1", 80.0), {}),
]


@pytest.mark.parametrize(("args", "options"), QUESTIONS, ids=str)
def test_the_answer_is_that_of_the_socket_module(loop, args, options):
    def outcome(ask):
        try:
            return ask()
        except (OSError, ValueError, OverflowError, TypeError) as error:
            return type(error), error.args

    expected = outcome(lambda: socket.getaddrinfo(*args, **options))
    assert outcome(lambda: loop.run_until_complete(loop.getaddrinfo(*args, **options))) == expected
    loop.run_until_complete(loop.shutdown_default_executor())


def test_numbers_need_no_thread(own_loop):
    own_loop.run_until_complete(own_loop.getaddrinfo("127.0.0.1", 80))
    own_loop.run_until_complete(own_loop.getaddrinfo("fe80::1%lo", 80))
    assert own_loop._default_executor is None


def test_names_go_to_a_thread(loop):
    loop.run_until_complete(loop.getaddrinfo("localhost", 80))
    assert loop._default_executor is not None
    loop.run_until_complete(loop.shutdown_default_executor())


@pytest.mark.parametrize("host", ["127.0.0.1", "localhost"])
def test_a_function_in_the_place_of_the_original_is_asked_in_a_thread(loop, asked, host):
    loop.run_until_complete(loop.getaddrinfo(host, 80))
    assert len(asked) == 1
    assert asked[0] is not threading.current_thread()
    loop.run_until_complete(loop.shutdown_default_executor())


def test_a_function_put_there_before_the_import_is_asked_in_a_thread_too():
    program = """
import asyncio, socket, threading
original = socket.getaddrinfo
def ask(*args):
    print(threading.current_thread() is threading.main_thread())
    return original(*args)
socket.getaddrinfo = ask
import boucle
boucle.run(asyncio.sleep(0))
loop = boucle.new_event_loop()
loop.run_until_complete(loop.getaddrinfo("127.0.0.1", 80))
loop.run_until_complete(loop.shutdown_default_executor())
loop.close()
"""
    finished = run_python("-c", program, PYTHONPATH=str(Path(boucle.__file__).parent.parent))
    assert finished.stdout == "False\n", finished.stderr


def test_debug_mode_logs_questions_about_numbers_too(loop, caplog):
    loop.set_debug(True)
    with caplog.at_level("DEBUG", "asyncio"):
        loop.run_until_complete(loop.getaddrinfo("127.0.0.1", 80))
    assert "Get address info" in caplog.text
    loop.run_until_complete(loop.shutdown_default_executor())


def test_an_executor_that_was_shut_down_refuses_numbers_too(loop):
    loop.run_until_complete(loop.shutdown_default_executor())
    with pytest.raises(RuntimeError, match="shut"):
        loop.run_until_complete(loop.getaddrinfo("127.0.0.1", 80))


def test_a_connection_to_a_number_needs_no_thread(own_loop):
    with socket.create_server(("127.0.0.1", 0)) as server:

        async def main():
            transport, _ = await own_loop.create_connection(asyncio.Protocol, *server.getsockname())
            transport.close()

        own_loop.run_until_complete(main())
    assert own_loop._default_executor is None
