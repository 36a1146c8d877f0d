"""Connecting and accepting are done natively: whoever has replaced a piece of them is asked, and errors end as they do
on asyncio."""

import asyncio
import contextlib
import gc
import socket
import sys
import warnings
import weakref
from asyncio import futures

import pytest

from conftest import run_python


class Closing(asyncio.Protocol):
    def connection_made(self, transport):
        transport.close()


async def connect_once(loop):
    """A connection from beginning to end."""
    server = await loop.create_server(Closing, "127.0.0.1", 0)
    address = server.sockets[0].getsockname()
    transport, protocol = await loop.create_connection(asyncio.Protocol, *address)
    assert transport.get_extra_info("peername") == address
    assert transport.get_protocol() is protocol
    while not transport.is_closing():
        await asyncio.sleep(0)
    server.close()
    await server.wait_closed()


async def happened(condition):
    while not condition():
        await asyncio.sleep(0)


def noting(called, name, original):
    def method(self, *args, **options):
        called.append(name)
        return original(self, *args, **options)

    return method


REPLACEABLE = [
    "_ensure_resolved",
    "_connect_sock",
    "sock_connect",
    "create_future",
    "_create_connection_transport",
    "_make_socket_transport",
    "_accept_connection",
    "_accept_connection2",
]


@pytest.mark.parametrize("name", REPLACEABLE)
def test_a_subclass_is_asked(own_loop, name):
    called = []
    original = getattr(type(own_loop), name)
    loop = type("Own", (type(own_loop),), {name: noting(called, name, original)})()
    with contextlib.closing(loop):
        loop.run_until_complete(connect_once(loop))
    assert name in called


@pytest.mark.parametrize("name", REPLACEABLE)
def test_a_method_of_the_instance_is_asked(loop, name):
    called = []
    original = getattr(loop, name)
    loop.run_until_complete(connect_once(loop))
    setattr(loop, name, lambda *args, **options: called.append(name) or original(*args, **options))
    loop.run_until_complete(connect_once(loop))
    assert name in called
    delattr(loop, name)
    called.clear()
    loop.run_until_complete(connect_once(loop))
    assert not called


@pytest.mark.parametrize("name", ["_ensure_resolved", "_connect_sock", "_create_connection_transport"])
def test_a_method_that_somebody_has_put_into_asyncios_class_is_asked(loop, name, monkeypatch):
    called = []
    loop.run_until_complete(connect_once(loop))
    original = getattr(asyncio.BaseEventLoop, name)
    monkeypatch.setattr(asyncio.BaseEventLoop, name, noting(called, name, original))
    loop.run_until_complete(connect_once(loop))
    assert name in called


def test_what_took_sockets_place_is_made(loop, monkeypatch):
    made = []

    class Own(socket.socket):
        def __init__(self, *args, **options):
            made.append(options.get("type"))
            super().__init__(*args, **options)

    async def main():
        server = await loop.create_server(Closing, "127.0.0.1", 0)
        monkeypatch.setattr(socket, "socket", Own)
        transport, _ = await loop.create_connection(asyncio.Protocol, *server.sockets[0].getsockname())
        monkeypatch.undo()
        transport.abort()
        server.close()

    loop.run_until_complete(main())
    assert socket.SOCK_STREAM in made


@pytest.mark.parametrize("name", ["__init__", "setblocking", "close", "_real_close", "getsockname"])
def test_a_method_that_somebody_has_put_into_the_class_of_sockets_is_called(loop, name, monkeypatch):
    called = []
    loop.run_until_complete(connect_once(loop))
    monkeypatch.setattr(socket.socket, name, noting(called, name, getattr(socket.socket, name)))
    loop.run_until_complete(connect_once(loop))
    assert name in called


@pytest.mark.parametrize("name", ["_attach", "_detach"])
def test_a_method_that_somebody_has_put_into_the_class_of_servers_is_called(loop, name, monkeypatch):
    called = []
    monkeypatch.setattr(asyncio.Server, name, noting(called, name, getattr(asyncio.Server, name)))
    loop.run_until_complete(connect_once(loop))
    assert called == [name]


def test_a_socket_that_a_file_was_made_of_is_closed_with_it(loop):
    ours, other = socket.socketpair()
    ours.setblocking(False)

    async def main():
        transport, _ = await loop.create_connection(asyncio.Protocol, sock=ours)
        file = ours.makefile("rb")
        transport.close()
        await asyncio.sleep(0)
        await asyncio.sleep(0)
        assert ours.fileno() >= 0
        file.close()
        assert ours.fileno() == -1

    with other:
        loop.run_until_complete(main())


def test_a_connection_is_described_also_after_its_end(loop):
    async def main():
        server = await loop.create_server(Closing, "127.0.0.1", 0)
        address = server.sockets[0].getsockname()
        transport, _ = await loop.create_connection(asyncio.Protocol, *address)
        sock = transport._sock
        own = sock.getsockname()
        transport.abort()
        await happened(lambda: sock.fileno() == -1)
        assert transport.get_extra_info("sockname") == own
        assert transport.get_extra_info("peername") == address
        assert transport.get_extra_info("peername") is transport.get_extra_info("peername")
        assert transport.get_extra_info("socket")._sock is sock
        server.close()

    loop.run_until_complete(main())


@pytest.mark.parametrize("asked_before", [False, True])
def test_what_is_known_of_a_connection_can_be_replaced(loop, asked_before):
    async def main():
        server = await loop.create_server(Closing, "127.0.0.1", 0)
        transport, _ = await loop.create_connection(asyncio.Protocol, *server.sockets[0].getsockname())
        if asked_before:
            assert transport.get_extra_info("peername")
        transport._extra = {"peername": "nobody"}
        assert transport.get_extra_info("peername") == "nobody"
        assert transport.get_extra_info("sockname") is None
        transport.abort()
        server.close()

    loop.run_until_complete(main())


def test_a_transport_that_ends_lets_go_of_its_socket(loop):
    async def main():
        server = await loop.create_server(Closing, "127.0.0.1", 0)
        transport, _ = await loop.create_connection(asyncio.Protocol, *server.sockets[0].getsockname())
        sock = weakref.ref(transport._sock)
        transport.abort()
        await happened(lambda: sock().fileno() == -1)
        await asyncio.sleep(0)
        del transport
        gc.collect()
        assert sock() is None
        server.close()

    loop.run_until_complete(main())


AUDITED = """
import asyncio, sys
import boucle

async def main():
    loop = asyncio.get_running_loop()
    events = []
    server = await loop.create_server(asyncio.Protocol, "127.0.0.1", 0)
    address = server.sockets[0].getsockname()
    sys.addaudithook(lambda event, args: events.append((event, args[1:])) if event.startswith("socket.") else None)
    transport, _ = await loop.create_connection(asyncio.Protocol, *address)
    # What is accepted is made another way.
    audited = events[: [event for event, _ in events].index("socket.connect") + 1]
    transport.close()
    server.close()
    return [str(event).replace(str(address[1]), "port") for event in audited]

def run(new_event_loop):
    loop = new_event_loop()
    try:
        return loop.run_until_complete(main())
    finally:
        loop.close()

ours, theirs = run(boucle.new_event_loop), run(asyncio.SelectorEventLoop)
assert len(ours) == 2, ours
assert ours == theirs, (ours, theirs)
"""


def test_the_same_is_audited_as_on_asyncio():
    finished = run_python("-c", AUDITED)
    assert (finished.returncode, finished.stderr) == (0, "")


@pytest.mark.parametrize(
    "make",
    [
        lambda loop: loop._ensure_resolved(("127.0.0.1", 1), loop=loop),
        lambda loop: loop._connect_sock([], (socket.AF_INET, socket.SOCK_STREAM, 6, "", ("127.0.0.1", 1))),
        lambda loop: loop._create_connection_transport(None, asyncio.Protocol, None, None),
    ],
)
def test_what_is_never_awaited_says_so(loop, make):
    made = [make(loop)]
    assert asyncio.iscoroutine(made[0])
    with pytest.warns(RuntimeWarning, match=rf"coroutine '{made[0].__qualname__}' was never awaited"):
        made.clear()


ADDRESSES = [
    (("127.0.0.1", 80), {}),
    (("::1", 80), {}),
    (("::1", 80), {"family": socket.AF_INET6}),
    (("127.0.0.1", 80), {"family": socket.AF_INET, "proto": socket.IPPROTO_TCP}),
    (("127.0.0.1", 80), {"family": 0, "flags": socket.AI_PASSIVE}),
    (("127.0.0.1", "80"), {}),
    ((b"127.0.0.1", 80), {}),
    (("127.0.0.1", None), {}),
    (("127.0.0.1", True), {}),
    (("127.0.0.1", 80), {"type": socket.SOCK_DGRAM}),
    (("127.0.0.1", 1 << 40), {}),
    (("::1", 80, 1, 2), {}),
]


@pytest.mark.parametrize(("address", "options"), ADDRESSES)
def test_resolving_says_what_asyncios_does(loop, address, options):
    coroutine = loop._ensure_resolved(address, **options, loop=loop)
    expected = asyncio.BaseEventLoop._ensure_resolved(loop, address, **options, loop=loop)
    ours, theirs = loop.run_until_complete(coroutine), loop.run_until_complete(expected)
    assert [repr(info) for info in ours] == [repr(info) for info in theirs]


def test_a_connection_that_is_given_up_leaves_no_socket(loop):
    """The kernel has not answered: the loop has made no turn."""

    async def main(address):
        info = (socket.AF_INET, socket.SOCK_STREAM, 6, "", address)
        failures = []

        def begun():
            coroutine = loop._connect_sock(failures, info)
            coroutine.send(None)
            return coroutine

        begun().close()
        with pytest.raises(ZeroDivisionError):
            begun().throw(ZeroDivisionError())
        with pytest.raises(OSError, match="given up"):
            begun().throw(OSError("given up"))
        gc.collect()
        assert [len(of_one) for of_one in failures] == [0, 0, 1]

    with socket.create_server(("127.0.0.1", 0)) as listening:
        loop.run_until_complete(main(listening.getsockname()))


@pytest.mark.parametrize("error", [RuntimeError, StopIteration, asyncio.CancelledError])
def test_a_protocol_that_a_server_cannot_make_is_nobodys_business(loop, error):
    calls = []

    def fail():
        calls.append(1)
        raise error

    async def main():
        server = await loop.create_server(fail, "127.0.0.1", 0)
        client = socket.socket()
        client.setblocking(False)
        with client, warnings.catch_warnings():
            # The socket of the connection is dropped as it is.
            warnings.simplefilter("ignore", ResourceWarning)
            await loop.sock_connect(client, server.sockets[0].getsockname())
            with contextlib.suppress(ConnectionError):
                assert await loop.sock_recv(client, 1) == b""
            gc.collect()
        server.close()

    loop.run_until_complete(main())
    assert calls == [1]


@pytest.mark.filterwarnings("ignore:unclosed:ResourceWarning")
def test_a_server_whose_protocol_ends_the_program(loop):
    def leave():
        raise SystemExit(3)

    reports = []
    loop.set_exception_handler(lambda _loop, context: reports.append(context["message"]))
    server = loop.run_until_complete(loop.create_server(leave, "127.0.0.1", 0))
    with socket.create_connection(server.sockets[0].getsockname()), pytest.raises(SystemExit):
        loop.run_forever()
    server.close()
    loop.run_until_complete(asyncio.sleep(0))
    gc.collect()
    assert reports == ["Task exception was never retrieved"]


def test_tasks_of_accepted_connections_look_as_on_asyncio(loop):
    seen = []

    def make():
        task = asyncio.current_task()
        seen.append((task.get_coro().__qualname__, repr(task).count("_accept_connection2")))
        return Closing()

    async def main():
        server = await loop.create_server(make, "127.0.0.1", 0)
        with socket.create_connection(server.sockets[0].getsockname()):
            await happened(lambda: seen)
        server.close()

    loop.run_until_complete(main())
    assert seen == [("BaseSelectorEventLoop._accept_connection2", 1)]


def test_a_future_of_another_class_is_woken_by_asyncios_function(loop):
    class Own(asyncio.Future):
        def set_result(self, result):
            super().set_result(result * 2)

    async def main():
        future, cancelled = Own(loop=loop), loop.create_future()
        cancelled.cancel()
        loop.call_soon(futures._set_result_unless_cancelled, future, 21)
        loop.call_soon(futures._set_result_unless_cancelled, cancelled, 1)
        assert await future == 42
        assert cancelled.cancelled()

    loop.run_until_complete(main())


def test_a_task_takes_no_result_from_outside(loop):
    reports = []
    former = loop._exception_handler

    async def work():
        await asyncio.sleep(0.005)
        return "its own"

    async def main():
        task = asyncio.create_task(work())
        loop.call_soon(futures._set_result_unless_cancelled, task, "forged")
        return await task

    loop.set_exception_handler(lambda loop, context: reports.append(type(context["exception"])))
    assert loop.run_until_complete(main()) == "its own"
    loop.set_exception_handler(former)
    assert reports == [RuntimeError]


def test_a_method_of_the_futures_own_is_called(loop):
    called = []

    async def main():
        future = loop.create_future()
        future.set_result = noting(called, "set_result", future.set_result)
        loop.call_soon(futures._set_result_unless_cancelled, future, None)
        await future

    loop.run_until_complete(main())
    assert called == ["set_result"]


def test_what_took_sockets_place_is_accepted(loop, monkeypatch):
    class Own(socket.socket):
        pass

    class Noting(asyncio.Protocol):
        def connection_made(self, transport):
            accepted.append(type(transport.get_extra_info("socket")._sock))
            transport.abort()

    accepted = []

    async def main():
        server = await loop.create_server(Noting, "127.0.0.1", 0)
        with socket.create_connection(server.sockets[0].getsockname()):
            monkeypatch.setattr(socket, "socket", Own)
            await happened(lambda: accepted)
            monkeypatch.undo()
        server.close()

    loop.run_until_complete(main())
    assert accepted == [Own]


@pytest.mark.skipif(sys.version_info < (3, 12), reason="servers that do not know their connections")
def test_a_server_that_is_iterated_over_forgets_nothing(own_loop):
    if not hasattr(asyncio.Server, "close_clients"):
        pytest.skip("new in 3.13")

    async def main():
        server = await own_loop.create_server(asyncio.Protocol, "127.0.0.1", 0)
        address = server.sockets[0].getsockname()
        transports = [(await own_loop.create_connection(asyncio.Protocol, *address))[0] for _ in range(3)]
        await happened(lambda: len(server._clients) == 3)
        iterator = iter(server._clients)
        next(iterator)
        transports[0].close()
        await happened(lambda: len(server._clients) == 2)
        iterator.close()
        server.close()
        server.close_clients()
        await server.wait_closed()
        assert not server._clients
        for transport in transports:
            transport.close()

    own_loop.run_until_complete(main())
