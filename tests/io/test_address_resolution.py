"""Addresses: which questions go to a thread, and that the answers are those of socket.getaddrinfo."""

import _socket
import asyncio
import socket
import threading
import traceback
from concurrent.futures import ThreadPoolExecutor
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
    for _ in range(2):  # in a thread that is started for it, and in one that is there
        answer = outcome(lambda: loop.run_until_complete(loop.getaddrinfo(*args, **options)))
        assert answer == expected
        assert kinds(answer) == kinds(expected)
    loop.run_until_complete(loop.shutdown_default_executor())


def kinds(answer):
    """The types of what an answer says."""
    return [tuple(type(part) for part in info) for info in answer if isinstance(info, tuple)]


def test_a_kind_of_socket_that_python_does_not_know_stays_a_number(loop, monkeypatch):
    def ask(*args):
        return [(7000, 7001, 0, "", ("127.0.0.1", 80)), (socket.AF_INET + 0, 7001, 0, "", ("127.0.0.1", 80))]

    monkeypatch.setattr(_socket, "getaddrinfo", ask)
    for _ in range(2):
        answer = loop.run_until_complete(loop.getaddrinfo("localhost", 80))
        assert answer == ask()
        assert kinds(answer) == [(int, int, int, str, tuple), (socket.AddressFamily, int, int, str, tuple)]
    loop.run_until_complete(loop.shutdown_default_executor())


def test_what_wraps_what_the_original_calls_before_the_import():
    program = """
import asyncio, functools, socket
original = socket._intenum_converter
@functools.wraps(original)
def other(*args):
    print("seen")
    return original(*args)
socket._intenum_converter = other
import boucle
async def main():
    loop = asyncio.get_running_loop()
    for _ in range(2):
        assert len(await loop.getaddrinfo("127.0.0.1", 80, type=socket.SOCK_STREAM, flags=socket.AI_CANONNAME)) == 1
boucle.run(main())
"""
    finished = run_python("-c", program, PYTHONPATH=str(Path(boucle.__file__).parent.parent))
    assert finished.stdout == "seen\n" * 4, finished.stderr


@pytest.mark.parametrize("name", ["AddressFamily", "SocketKind", "_intenum_converter"])
def test_what_the_original_calls_was_replaced(loop, monkeypatch, name):
    original = getattr(socket, name)
    called = []

    def other(*args):
        called.append(args)
        return original(*args)

    monkeypatch.setattr(socket, name, other)
    for _ in range(2):
        loop.run_until_complete(loop.getaddrinfo("localhost", 80))
        assert called
        called.clear()
    loop.run_until_complete(loop.shutdown_default_executor())


def test_other_defaults_of_the_original(loop, monkeypatch):
    monkeypatch.setattr(socket.getaddrinfo, "__defaults__", (socket.AF_UNSPEC, socket.SOCK_DGRAM, 0, 0))
    for _ in range(2):
        answer = loop.run_until_complete(loop.run_in_executor(None, socket.getaddrinfo, "127.0.0.1", 80))
        assert [kind for _, kind, *_ in answer] == [socket.SOCK_DGRAM]
    loop.run_until_complete(loop.shutdown_default_executor())


def test_a_replaced_submit_sees_the_original(loop, monkeypatch):
    executor = ThreadPoolExecutor(1)
    loop.set_default_executor(executor)
    submitted = []
    submit = executor.submit
    monkeypatch.setattr(executor, "submit", lambda *call: submitted.append(call[0]) or submit(*call))
    loop.run_until_complete(loop.getaddrinfo("localhost", 80))
    assert submitted == [socket.getaddrinfo]
    loop.run_until_complete(loop.shutdown_default_executor())


def test_a_name_that_is_not_found(loop):
    for _ in range(2):
        with pytest.raises(socket.gaierror) as raised:
            loop.run_until_complete(loop.getaddrinfo("localhost", 80, family=-1))
        names = [frame.name for frame in traceback.extract_tb(raised.value.__traceback__)]
        assert names[-2:] == ["run", "getaddrinfo"]
    loop.run_until_complete(loop.shutdown_default_executor())


def test_names_of_addresses(loop):
    for _ in range(2):
        answer = loop.run_until_complete(loop.getnameinfo(("127.0.0.1", 80), socket.NI_NUMERICHOST))
        assert answer == socket.getnameinfo(("127.0.0.1", 80), socket.NI_NUMERICHOST)
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


@pytest.mark.parametrize("kind", ["a function", "a function that wraps", "an object that wraps"])
def test_a_function_put_there_before_the_import_is_asked_in_a_thread_too(kind):
    program = f"""
import asyncio, functools, socket, threading
original = socket.getaddrinfo
def ask(*args):
    print(threading.current_thread() is threading.main_thread())
    return original(*args)
class Proxy:
    def __call__(self, *args):
        return ask(*args)
    def __getattr__(self, name):
        return getattr(original, name)
if {kind!r} == "an object that wraps":
    socket.getaddrinfo = Proxy()
else:
    socket.getaddrinfo = ask if {kind!r} == "a function" else functools.update_wrapper(ask, original)
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
