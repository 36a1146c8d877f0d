"""``create_connection`` to an address that is a number is done natively: it is the coroutine that asyncio's is, goes
through the same turns, and whoever has replaced a piece of it is asked."""

import asyncio
import contextlib
import gc
import inspect
import os
import socket
import warnings

import pytest

HOSTS = ["127.0.0.1", "::1"]


class Noting(asyncio.Protocol):
    """Notes what it is told, and in which turn."""

    def __init__(self, note):
        self._note = note
        note("made")

    def connection_made(self, transport):
        self._note("connected")

    def data_received(self, data):
        self._note(data)

    def eof_received(self):
        self._note("end")

    def connection_lost(self, error):
        self._note(repr(error))


class Greeting(asyncio.Protocol):
    """Says something at once, and closes."""

    def connection_made(self, transport):
        transport.write(b"hello")
        transport.close()


@contextlib.contextmanager
def counted_turns(loop):
    """What returns the number of the turn."""
    count, is_over = 0, False

    def turn():
        nonlocal count
        count += 1
        if not is_over:
            loop.call_soon(turn)

    loop.call_soon(turn)
    yield lambda: count
    is_over = True


def descriptors():
    return sorted(os.listdir("/proc/self/fd"))


async def refused_port(host):
    """A port at which nobody listens."""
    with socket.socket(socket.AF_INET6 if ":" in host else socket.AF_INET) as bound:
        bound.bind((host, 0))
        return bound.getsockname()[1]


async def some_turns():
    """Until whatever was begun is over."""
    for _ in range(10):
        await asyncio.sleep(0)


def on_both(observe):
    """What a coroutine function, which is given a loop, returns on asyncio's loop and on boucle's."""
    boucle = pytest.importorskip("boucle")
    results = []
    for make in (asyncio.SelectorEventLoop, boucle.new_event_loop):
        loop = make()
        with contextlib.closing(loop):
            results.append(loop.run_until_complete(observe(loop)))
    return results


def test_it_is_a_coroutine_of_a_function(loop):
    method = loop.create_connection
    assert inspect.iscoroutinefunction(method)
    assert inspect.signature(method) == inspect.signature(asyncio.BaseEventLoop.create_connection.__get__(loop))
    coroutine = method(asyncio.Protocol, "127.0.0.1", 1)
    assert inspect.iscoroutine(coroutine)
    names = (coroutine.__name__, coroutine.__qualname__, coroutine.cr_code.co_name)
    assert names == ("create_connection", "BaseEventLoop.create_connection", "create_connection")
    coroutine.close()


def test_one_that_is_never_awaited_says_so_once(loop):
    with pytest.warns(RuntimeWarning) as caught:
        loop.create_connection(asyncio.Protocol, "127.0.0.1", 1)
    assert [str(each.message) for each in caught] == ["coroutine 'BaseEventLoop.create_connection' was never awaited"]


@pytest.mark.parametrize("wrong", [{}, {"protocol_factory": 1, "no_such_option": 1}])
def test_a_wrong_call_raises_at_once_what_asyncios_raises(loop, wrong):
    with pytest.raises(TypeError) as expected:
        asyncio.BaseEventLoop.create_connection(loop, **wrong)
    with pytest.raises(TypeError) as caught:
        loop.create_connection(**wrong)
    assert str(caught.value) == str(expected.value)


@pytest.mark.parametrize("host", HOSTS)
@pytest.mark.parametrize("options", [{}, {"family": socket.AF_UNSPEC}])
def test_everything_happens_in_the_turn_in_which_it_does_on_asyncio(host, options):
    async def observe(loop):
        noted = []
        server = await loop.create_server(Greeting, host, 0)
        port = server.sockets[0].getsockname()[1]
        with counted_turns(loop) as turn:
            note = lambda what: noted.append((turn(), what))  # noqa: E731
            await asyncio.sleep(0)
            transport, protocol = await loop.create_connection(lambda: Noting(note), host, port, **options)
            note("returned")
            assert transport.get_protocol() is protocol
            assert transport.get_extra_info("peername")[:2] == (host, port)
            while len(noted) < 6:
                await asyncio.sleep(0)
        await some_turns()
        server.close()
        return noted

    theirs, ours = on_both(observe)
    assert [what for _, what in theirs] == ["made", "connected", "returned", b"hello", "end", "None"]
    assert ours == theirs


@pytest.mark.parametrize("turns", range(8))
def test_one_that_is_cancelled_ends_as_on_asyncio_and_leaves_no_descriptor(turns):
    async def observe(loop):
        noted = []
        server = await loop.create_server(Greeting, "127.0.0.1", 0)
        before, watched = descriptors(), set(loop._selector.get_map())
        task = loop.create_task(loop.create_connection(lambda: Noting(noted.append), *server.sockets[0].getsockname()))
        for _ in range(turns):
            await asyncio.sleep(0)
        is_cancelled = task.cancel()
        (result,) = await asyncio.gather(task, return_exceptions=True)
        noted.append(type(result))
        if not isinstance(result, BaseException):
            result[0].abort()
        del result, task
        await some_turns()
        server.close()
        gc.collect()
        # The server's descriptor is closed, and those of the connections that it had.
        assert len(descriptors()) < len(before)
        assert set(loop._selector.get_map()) < watched
        return is_cancelled, noted

    with warnings.catch_warnings():
        warnings.simplefilter("ignore", ResourceWarning)
        theirs, ours = on_both(observe)
    assert ours == theirs


@pytest.mark.parametrize("host", HOSTS)
def test_one_that_is_refused_says_what_it_says_on_asyncio(host):
    async def observe(loop):
        port = await refused_port(host)
        with counted_turns(loop) as turn:
            await asyncio.sleep(0)
            with pytest.raises(ConnectionRefusedError) as caught:
                await loop.create_connection(asyncio.Protocol, host, port)
            ended = turn()
        error = caught.value
        return ended, error.errno, error.strerror.replace(str(port), "port"), error.__context__, error.__cause__

    theirs, ours = on_both(observe)
    assert ours == theirs


@pytest.mark.parametrize("error", [ValueError("no protocol"), OSError(5, "no protocol")])
def test_a_protocol_that_cannot_be_made(error):
    async def observe(loop):
        def fail():
            raise error

        server = await loop.create_server(Greeting, "127.0.0.1", 0)
        # Up to 3.13 nobody closes the socket.
        with warnings.catch_warnings(record=True) as said:
            warnings.simplefilter("always")
            with pytest.raises(type(error)) as caught:
                await loop.create_connection(fail, *server.sockets[0].getsockname())
            assert caught.value is error
            error.__traceback__ = None
            del caught
            gc.collect()
        await some_turns()
        server.close()
        return [str(warning.message).split(" fd=")[0] for warning in said]

    theirs, ours = on_both(observe)
    assert ours == theirs
    assert set(theirs) <= {"unclosed <socket.socket"}


@pytest.mark.parametrize("thrown", [OSError("given up"), ZeroDivisionError()])
@pytest.mark.parametrize("turns", [1, 2, 3])
def test_an_exception_that_is_thrown_into_it_leaves_no_descriptor(thrown, turns):
    async def observe(loop):
        server = await loop.create_server(Greeting, "127.0.0.1", 0)
        before = descriptors()
        coroutine = loop.create_connection(asyncio.Protocol, *server.sockets[0].getsockname())
        awaited = coroutine.send(None)
        for _ in range(turns - 1):
            while not awaited.done():
                await asyncio.sleep(0)
            try:
                awaited = coroutine.send(None)
            except StopIteration as stop:
                stop.value[0].abort()
                await some_turns()
                server.close()
                return "returned"
        with pytest.raises(type(thrown)):
            coroutine.throw(thrown)
        await some_turns()
        server.close()
        thrown.__traceback__ = None
        gc.collect()
        return len(descriptors()) < len(before)

    with warnings.catch_warnings():
        warnings.simplefilter("ignore", ResourceWarning)
        theirs, ours = on_both(observe)
    assert ours == theirs


def test_what_somebody_has_put_into_asyncios_class_is_called(loop, monkeypatch):
    called = []
    original = asyncio.BaseEventLoop.create_connection

    async def replaced(self, *args, **options):
        called.append(args[1:])
        return await original(self, *args, **options)

    async def main():
        server = await loop.create_server(Greeting, "127.0.0.1", 0)
        address = server.sockets[0].getsockname()
        monkeypatch.setattr(asyncio.BaseEventLoop, "create_connection", replaced)
        transport, _ = await loop.create_connection(asyncio.Protocol, *address)
        monkeypatch.undo()
        transport.abort()
        await some_turns()
        server.close()
        assert called == [address]

    loop.run_until_complete(main())


def test_a_piece_that_is_replaced_before_the_first_step_is_called(loop, monkeypatch):
    called = []
    original = loop._connect_sock

    def replaced(self, *args, **options):
        called.append(args[1][4])
        return original(*args, **options)

    async def main():
        server = await loop.create_server(Greeting, "127.0.0.1", 0)
        address = server.sockets[0].getsockname()
        coroutine = loop.create_connection(asyncio.Protocol, *address)
        monkeypatch.setattr(type(loop), "_connect_sock", replaced)
        transport, _ = await coroutine
        monkeypatch.undo()
        transport.abort()
        await some_turns()
        server.close()
        assert called == [address]

    loop.run_until_complete(main())


UNUSUAL = [
    ("localhost", {}),
    (b"127.0.0.1", {}),
    ("127.0.0.1", {"local_addr": ("127.0.0.1", 0)}),
    ("127.0.0.1", {"happy_eyeballs_delay": 0.2}),
    ("127.0.0.1", {"proto": socket.IPPROTO_TCP}),
]


@pytest.mark.parametrize(("host", "options"), UNUSUAL)
def test_any_other_call_connects_too(loop, host, options):
    async def main():
        server = await loop.create_server(Greeting, "127.0.0.1", 0)
        address = server.sockets[0].getsockname()
        transport, _ = await loop.create_connection(asyncio.Protocol, host, address[1], **options)
        assert transport.get_extra_info("peername") == address
        transport.abort()
        await some_turns()
        server.close()

    loop.run_until_complete(main())


@pytest.mark.parametrize("port", [70_000, -1, "http-but-not-quite"])
def test_a_port_that_is_none_raises_what_it_raises_on_asyncio(port):
    async def observe(loop):
        with pytest.raises((OSError, OverflowError)) as caught:
            await loop.create_connection(asyncio.Protocol, "127.0.0.1", port)
        return type(caught.value), str(caught.value)

    theirs, ours = on_both(observe)
    assert ours == theirs


def test_a_method_put_into_asyncios_class_is_called_at_once_with_what_was_given(loop, monkeypatch):
    given = []

    def refusing(self, *args, **options):
        given.append((args, options))
        raise PermissionError("no network here")

    monkeypatch.setattr(asyncio.BaseEventLoop, "create_connection", refusing)
    calls = [
        ((asyncio.Protocol, "127.0.0.1", 1), {}),
        ((asyncio.Protocol,), {"host": "127.0.0.1", "port": 1}),
        ((asyncio.Protocol,), {"sock": None}),
    ]
    for args, options in calls:
        with pytest.raises(PermissionError):
            loop.create_connection(*args, **options)
    assert given == calls


def test_what_was_left_of_a_closed_descriptor_goes_when_a_connection_has_its_number(loop):
    def callback():
        pass

    async def main():
        server = await loop.create_server(Greeting, "127.0.0.1", 0)
        closed, other = socket.socketpair()
        fd = closed.fileno()
        loop.add_reader(closed, callback)
        closed.close()
        transport = None
        # asyncio's loop has lost the descriptor, and says so once.
        with contextlib.suppress(FileNotFoundError):
            transport, _ = await loop.create_connection(asyncio.Protocol, *server.sockets[0].getsockname())
        if transport is not None:
            assert transport.get_extra_info("socket").fileno() == fd
            transport.abort()
        await some_turns()
        assert fd not in loop._selector.get_map()
        other.close()
        server.close()

    loop.run_until_complete(main())


def test_a_connection_that_is_given_up_leaves_the_descriptor_that_has_its_number_alone(own_loop):
    """Its socket was closed behind its back, and another connection got the number. On asyncio that never connects."""
    loop = own_loop
    received = []

    class Receiving(asyncio.Protocol):
        def data_received(self, data):
            received.append(data)

    class Speaking(asyncio.Protocol):
        def connection_made(self, transport):
            peers.append(transport)

    async def main():
        server = await loop.create_server(Speaking, "127.0.0.1", 0)
        deaf = socket.socket()
        deaf.bind(("127.0.0.1", 0))
        deaf.listen(0)
        waiting = [socket.socket() for _ in range(3)]
        for sock in waiting:
            sock.setblocking(False)
            sock.connect_ex(deaf.getsockname())
        before = set(loop._selector.get_map())
        pending = loop.create_task(loop.create_connection(asyncio.Protocol, *deaf.getsockname()))
        await some_turns()
        (fd,) = set(loop._selector.get_map()) - before
        (sock,) = (each for each in gc.get_objects() if isinstance(each, socket.socket) and each.fileno() == fd)
        sock.close()
        transport, _ = await loop.create_connection(Receiving, *server.sockets[0].getsockname())
        assert transport.get_extra_info("socket").fileno() == fd
        pending.cancel()
        await asyncio.gather(pending, return_exceptions=True)
        peers[0].write(b"hello")
        await some_turns()
        assert received == [b"hello"]
        transport.abort()
        peers[0].abort()
        server.close()
        for each in (deaf, *waiting):
            each.close()

    peers = []
    loop.run_until_complete(asyncio.wait_for(main(), 20))
