"""What the loop borrows of asyncio's selector loop means there what it means here."""

import asyncio
import inspect
import os
import signal
import socket
import sys

import pytest

import boucle
from boucle import _inherited
from conftest import run_turns


def test_a_loop_is_a_base_event_loop(own_loop):
    assert isinstance(own_loop, asyncio.BaseEventLoop)
    assert isinstance(own_loop, asyncio.AbstractEventLoop)


def test_the_loop_has_every_public_method_of_asyncios_loop(own_loop):
    public = {name for name in dir(asyncio.SelectorEventLoop) if not name.startswith("_")}
    assert public <= set(dir(own_loop))


def test_what_is_borrowed_and_says_super_means_its_own_class():
    for theme in _inherited.Inherited.__mro__[:-1]:
        for name, function in vars(theme).items():
            if inspect.isfunction(function) and "__class__" in function.__code__.co_freevars:
                cell = function.__closure__[function.__code__.co_freevars.index("__class__")]
                assert cell.cell_contents is theme, name


@pytest.mark.parametrize("cleanup", [True, False])
def test_the_file_of_a_unix_socket_ends_as_on_asyncio(loop, tmp_path, cleanup):
    path = tmp_path / "socket"
    options = {"cleanup_socket": cleanup} if sys.version_info >= (3, 13) else {}

    async def main():
        server = await loop.create_unix_server(asyncio.Protocol, path, **options)
        assert path.exists()
        server.close()
        await server.wait_closed()

    loop.run_until_complete(main())
    assert path.exists() == (sys.version_info < (3, 13) or not cleanup)


@pytest.mark.skipif(sys.version_info < (3, 13), reason="from 3.13 on the file is removed at all")
def test_the_file_of_another_unix_socket_is_left(loop, tmp_path):
    path = tmp_path / "socket"

    async def main():
        server = await loop.create_unix_server(asyncio.Protocol, path)
        path.rename(tmp_path / "former")
        path.write_text("another")
        server.close()
        await server.wait_closed()

    loop.run_until_complete(main())
    assert path.read_text() == "another"


def test_unix_sockets_connect_to_each_other(loop, tmp_path):
    async def main():
        accepted = loop.create_future()

        class Protocol(asyncio.Protocol):
            def connection_made(self, transport):
                accepted.set_result(transport)

        server = await loop.create_unix_server(Protocol, tmp_path / "socket")
        transport, _ = await loop.create_unix_connection(asyncio.Protocol, tmp_path / "socket")
        far = await accepted
        transport.close()
        far.close()
        server.close()
        await asyncio.sleep(0)
        await server.wait_closed()

    loop.run_until_complete(main())


def test_a_transports_descriptor_takes_no_reader(loop):
    one, other = socket.socketpair()

    async def main():
        transport, _ = await loop.create_connection(asyncio.Protocol, sock=one)
        for method in (loop.add_reader, loop.add_writer):
            with pytest.raises(RuntimeError, match="is used by transport"):
                method(one, print)
        for method in (loop.remove_reader, loop.remove_writer):
            with pytest.raises(RuntimeError, match="is used by transport"):
                method(one.fileno())
        transport.close()

    with other:
        loop.run_until_complete(main())
        run_turns(loop)


@pytest.mark.parametrize("method", ["add_reader", "add_writer", "remove_reader", "remove_writer"])
def test_what_is_no_file_is_refused(loop, method):
    arguments = (print,) if method.startswith("add") else ()
    with pytest.raises(ValueError, match="Invalid file object"):
        getattr(loop, method)("no file", *arguments)


def test_a_running_loop_cannot_be_closed(loop):
    async def main():
        loop.close()

    with pytest.raises(RuntimeError, match="Cannot close a running event loop"):
        loop.run_until_complete(main())


def test_closing_twice_is_closing_once(factory):
    loop = factory()
    loop.close()
    loop.close()
    assert loop.is_closed()


def test_closing_gives_the_handlers_of_signals_back(factory):
    loop = factory()
    loop.add_signal_handler(signal.SIGUSR1, print)
    assert signal.getsignal(signal.SIGUSR1) is not signal.SIG_DFL
    loop.close()
    assert signal.getsignal(signal.SIGUSR1) is signal.SIG_DFL
    assert signal.set_wakeup_fd(-1) == -1


def test_closing_leaves_no_descriptor():
    before = set(os.listdir("/proc/self/fd"))
    loop = boucle.new_event_loop()
    loop.run_until_complete(asyncio.sleep(0))
    loop.close()
    assert set(os.listdir("/proc/self/fd")) == before
