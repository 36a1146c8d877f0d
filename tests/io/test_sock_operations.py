"""Operations on sockets: that each call is a coroutine in every respect, and leaves nothing registered behind."""

import array
import asyncio
import contextlib
import inspect
import socket
import ssl
import sys

import pytest

newer = pytest.mark.skipif(sys.version_info < (3, 11), reason="asyncio has it from 3.11 on")


@pytest.fixture
def pair():
    """Two connected sockets that do not block."""
    one, other = socket.socketpair()
    with one, other:
        one.setblocking(False)
        other.setblocking(False)
        yield one, other


def watched(loop):
    """The descriptors that have a reader or a writer, but for the one of signals."""
    own = loop._ssock
    return [fd for fd in loop._selector.get_map() if own is None or fd != own.fileno()]


def fill(sock):
    """Send until the kernel takes no more."""
    with contextlib.suppress(BlockingIOError):
        while True:
            sock.send(bytes(65536))


def drain(sock):
    """Receive all that is there."""
    with contextlib.suppress(BlockingIOError):
        while sock.recv(1 << 20):
            pass


async def turns(count=3):
    for _ in range(count):
        await asyncio.sleep(0)


def test_a_call_is_a_coroutine_that_has_not_started(loop, pair):
    one, other = pair
    coroutine = loop.sock_recv(one, 10)
    assert asyncio.iscoroutine(coroutine)
    assert inspect.isawaitable(coroutine)
    assert coroutine.__name__ == "sock_recv"
    other.send(b"early")
    assert loop.run_until_complete(coroutine) == b"early"
    with pytest.raises(RuntimeError, match="cannot reuse already awaited coroutine"):
        coroutine.send(None)
    with pytest.raises(RuntimeError, match="cannot reuse already awaited coroutine"):
        coroutine.throw(ValueError())
    coroutine.close()


def test_a_call_that_is_never_awaited_is_warned_of(loop, pair):
    with pytest.warns(RuntimeWarning, match=r"coroutine '\S*sock_recv' was never awaited"):
        loop.sock_recv(pair[0], 10)


def test_a_call_that_is_closed_before_it_starts_is_not_warned_of(loop, pair, recwarn):
    loop.sock_recv(pair[0], 10).close()
    assert not recwarn.list


def test_a_just_started_coroutine_takes_no_value(loop, pair):
    coroutine = loop.sock_recv(pair[0], 10)
    with pytest.raises(TypeError, match="can't send non-None value to a just-started coroutine"):
        coroutine.send(1)
    coroutine.close()


@pytest.mark.parametrize("how", ["await", "task", "ensure_future", "gather", "wait_for", "shield", "yield from"])
def test_a_call_can_be_awaited_in_every_way(loop, pair, how):
    one, other = pair

    class Delegating:
        def __init__(self, awaitable):
            self.awaitable = awaitable

        def __await__(self):
            return (yield from self.awaitable.__await__())

    async def main():
        call = loop.sock_recv(one, 10)
        if how == "task":
            call = asyncio.create_task(call)
        elif how == "ensure_future":
            call = asyncio.ensure_future(call)
        elif how == "gather":
            call = asyncio.gather(call)
        elif how == "wait_for":
            call = asyncio.wait_for(call, 10)
        elif how == "shield":
            call = asyncio.shield(call)
        elif how == "yield from":
            call = Delegating(call)
        loop.call_soon(other.send, b"x")
        received = await call
        return received[0] if how == "gather" else received

    assert loop.run_until_complete(main()) == b"x"
    assert watched(loop) == []


def test_a_task_shows_the_call_that_it_runs(loop, pair):
    async def main():
        task = asyncio.create_task(loop.sock_recv(pair[0], 10), name="reading")
        await turns()
        assert "sock_recv" in repr(task)
        assert task.get_stack() is not None
        task.cancel()
        with pytest.raises(asyncio.CancelledError):
            await task

    loop.run_until_complete(main())


@pytest.mark.parametrize("after", [0, 1, 3])
def test_a_cancelled_call_leaves_nothing_registered(loop, pair, after):
    async def main():
        task = asyncio.create_task(loop.sock_recv(pair[0], 10))
        await turns(after)
        task.cancel()
        with pytest.raises(asyncio.CancelledError):
            await task
        return watched(loop)

    assert loop.run_until_complete(main()) == []


def test_a_cancelled_call_leaves_the_registration_that_has_replaced_it(loop, pair):
    one, other = pair
    called = []

    async def main():
        task = asyncio.create_task(loop.sock_recv(one, 10))
        await turns()
        loop.add_reader(one, called.append, "reader")
        task.cancel()
        with pytest.raises(asyncio.CancelledError):
            await task
        other.send(b"x")
        await turns()
        return loop.remove_reader(one)

    assert loop.run_until_complete(main())
    assert "reader" in called


def test_a_later_call_replaces_the_former_ones_registration(loop, pair):
    one, other = pair

    async def main():
        former = asyncio.create_task(loop.sock_recv(one, 10))
        await turns()
        later = asyncio.create_task(loop.sock_recv(one, 10))
        await turns()
        other.send(b"x")
        assert await later == b"x"
        assert not former.done()
        former.cancel()
        with pytest.raises(asyncio.CancelledError):
            await former

    loop.run_until_complete(main())
    assert watched(loop) == []


def test_a_call_waits_in_one_direction_and_another_in_the_other(loop, pair):
    one, other = pair
    fill(one)

    async def main():
        receiving = asyncio.create_task(loop.sock_recv(one, 10))
        sending = asyncio.create_task(loop.sock_sendall(one, b"y"))
        await turns()
        receiving.cancel()
        await turns()
        drain(other)
        await sending

    loop.run_until_complete(main())
    assert watched(loop) == []


@pytest.mark.parametrize("data", [bytes, bytearray, memoryview, lambda data: array.array("B", data)])
def test_sendall_sends_everything(loop, pair, data):
    one, other = pair
    content = bytes(range(256)) * 8192

    async def main():
        sending = asyncio.create_task(loop.sock_sendall(one, data(content)))
        received = bytearray()
        while len(received) < len(content):
            received += await loop.sock_recv(other, 65536)
        assert await sending is None
        return bytes(received)

    assert loop.run_until_complete(main()) == content
    assert watched(loop) == []


def test_a_bytearray_keeps_its_size_while_it_is_sent(loop, pair):
    one, other = pair
    fill(one)

    async def main():
        data = bytearray(b"abc")
        sending = asyncio.create_task(loop.sock_sendall(one, data))
        await turns()
        with pytest.raises(BufferError):
            data.extend(b"more")
        drain(other)
        await sending
        data.extend(b"more")

    loop.run_until_complete(main())


def test_receiving_into_a_buffer_fills_its_beginning(loop, pair):
    one, other = pair

    async def main():
        buffer = bytearray(b"........")
        loop.call_soon(other.send, b"abc")
        count = await loop.sock_recv_into(one, memoryview(buffer)[2:])
        return count, bytes(buffer)

    assert loop.run_until_complete(main()) == (3, b"..abc...")


@pytest.mark.parametrize("count", [0, -1, "ten", 1 << 20, True])
def test_unusual_sizes_mean_what_they_mean_to_the_socket(loop, pair, count):
    one, other = pair
    other.send(b"abc")

    def by_socket():
        try:
            return one.recv(count, socket.MSG_PEEK)
        except (TypeError, ValueError) as error:
            return type(error), str(error)

    async def by_loop():
        try:
            return await loop.sock_recv(one, count)
        except (TypeError, ValueError) as error:
            return type(error), str(error)

    assert by_socket() == loop.run_until_complete(by_loop())


@pytest.mark.parametrize(
    ("method", "arguments"),
    [("sock_recv", (10,)), ("sock_recv_into", (bytearray(3),)), ("sock_sendall", (b"x",)), ("sock_accept", ())],
)
def test_a_closed_socket_says_so(loop, method, arguments):
    sock = socket.socket()
    sock.close()
    with pytest.raises(OSError, match="Bad file descriptor"):
        loop.run_until_complete(getattr(loop, method)(sock, *arguments))


def test_a_reset_connection_is_an_error_with_its_number(loop):
    with socket.create_server(("127.0.0.1", 0)) as server:
        client = socket.create_connection(server.getsockname())
        peer, _ = server.accept()
        with peer:
            peer.setblocking(False)
            client.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, b"\1\0\0\0\0\0\0\0")

            async def main():
                receiving = asyncio.create_task(loop.sock_recv(peer, 10))
                await turns()
                client.close()
                return await receiving

            with pytest.raises(ConnectionResetError, match="Connection reset by peer") as raised:
                loop.run_until_complete(main())
    assert raised.value.args == (raised.value.errno, "Connection reset by peer")


@pytest.mark.parametrize("method", ["sock_recv", "sock_recv_into", "sock_sendall", "sock_connect"])
def test_sockets_of_tls_are_refused(loop, pair, method):
    context = ssl.create_default_context()
    wrapped = context.wrap_socket(pair[0], server_hostname="x", do_handshake_on_connect=False)
    with wrapped, pytest.raises(TypeError, match="Socket cannot be of type SSLSocket"):
        loop.run_until_complete(getattr(loop, method)(wrapped, b""))


def test_debug_mode_refuses_sockets_that_block(loop, pair):
    loop.set_debug(True)
    pair[0].setblocking(True)
    with pytest.raises(ValueError, match="the socket must be non-blocking"):
        loop.run_until_complete(loop.sock_recv(pair[0], 1))


def test_the_descriptor_of_a_transport_is_refused(loop, pair):
    async def main():
        transport, _ = await loop.create_connection(asyncio.Protocol, sock=pair[0])
        try:
            with pytest.raises(RuntimeError, match="is used by transport"):
                await loop.sock_recv(pair[0], 10)
        finally:
            transport.close()
            await turns()

    loop.run_until_complete(main())


def test_a_closed_loop_says_so(factory, pair):
    loop = factory()
    loop.close()
    with pytest.raises(RuntimeError, match="Event loop is closed"):
        loop.sock_recv(pair[0], 10).send(None)


def test_accept_gives_sockets_that_do_not_block(loop):
    with socket.create_server(("127.0.0.1", 0)) as server:
        server.setblocking(False)

        async def main():
            with socket.socket() as client:
                client.setblocking(False)
                accepting = asyncio.create_task(loop.sock_accept(server))
                await turns()
                await loop.sock_connect(client, server.getsockname())
                connection, address = await accepting
                with connection:
                    return connection.gettimeout(), address == client.getsockname()

        assert loop.run_until_complete(main()) == (0.0, True)


def test_a_refused_connection_names_the_address(loop):
    with socket.socket() as closed:
        closed.bind(("127.0.0.1", 0))
        address = closed.getsockname()
    with socket.socket() as client:
        client.setblocking(False)
        with pytest.raises(ConnectionRefusedError, match="Connect call failed") as raised:
            loop.run_until_complete(loop.sock_connect(client, address))
    assert str(address) in str(raised.value)
    assert watched(loop) == []


def test_connecting_resolves_names(loop):
    with socket.create_server(("127.0.0.1", 0)) as server, socket.socket() as client:
        client.setblocking(False)
        loop.run_until_complete(loop.sock_connect(client, ("localhost", server.getsockname()[1])))
        assert client.getpeername() == server.getsockname()


def test_a_connection_that_is_resolving_can_be_cancelled(loop, monkeypatch):
    async def never(*args, **options):
        await loop.create_future()

    monkeypatch.setattr(loop, "getaddrinfo", never)

    async def main():
        with socket.socket() as client:
            client.setblocking(False)
            connecting = asyncio.create_task(loop.sock_connect(client, ("name.invalid", 80)))
            await turns()
            connecting.cancel()
            with pytest.raises(asyncio.CancelledError):
                await connecting

    loop.run_until_complete(main())


@pytest.mark.skipif(not socket.has_ipv6, reason="needs IPv6")
def test_connecting_keeps_flow_and_zone(loop, monkeypatch):
    asked = []

    class Asking(socket.socket):
        def connect(self, address):
            asked.append(address)

    with Asking(socket.AF_INET6) as client:
        client.setblocking(False)
        loop.run_until_complete(loop.sock_connect(client, ("fe80::1", 80, 7, 1)))
    assert asked == [("fe80::1", 80, 7, 1)]


@pytest.mark.skipif(not socket.has_ipv6, reason="needs IPv6")
@pytest.mark.parametrize(("answer", "expected"), [((0, 0), (7, 1)), ((0, 2), (7, 2))])
def test_a_resolved_name_keeps_flow_and_zone(own_loop, monkeypatch, answer, expected):
    asked = []

    class Asking(socket.socket):
        def connect(self, address):
            asked.append(address)

    def answering(host, port, *args, **options):
        return [(socket.AF_INET6, socket.SOCK_STREAM, 6, "", ("fe80::2", port, *answer))]

    monkeypatch.setattr(socket, "getaddrinfo", answering)
    with Asking(socket.AF_INET6) as client:
        client.setblocking(False)
        own_loop.run_until_complete(own_loop.sock_connect(client, ("name.invalid", 80, 7, 1)))
    assert asked == [("fe80::2", 80, *expected)]


@newer
def test_datagrams_are_received_with_their_senders(loop):
    with socket.socket(type=socket.SOCK_DGRAM) as one, socket.socket(type=socket.SOCK_DGRAM) as other:
        for sock in (one, other):
            sock.setblocking(False)
            sock.bind(("127.0.0.1", 0))

        async def main():
            buffer = bytearray(10)
            first = asyncio.create_task(loop.sock_recvfrom(one, 10))
            await turns()
            assert await loop.sock_sendto(other, b"abc", one.getsockname()) == 3
            assert await first == (b"abc", other.getsockname())
            loop.call_soon(other.sendto, b"de", one.getsockname())
            assert await loop.sock_recvfrom_into(one, buffer) == (2, other.getsockname())
            loop.call_soon(other.sendto, b"fgh", one.getsockname())
            assert await loop.sock_recvfrom_into(one, buffer, 1) == (1, other.getsockname())
            return bytes(buffer[:2])

        assert loop.run_until_complete(main()) == b"fe"


def test_only_what_this_python_has_is_there(own_loop):
    for name in ("sock_recvfrom", "sock_recvfrom_into", "sock_sendto"):
        assert hasattr(own_loop, name) == hasattr(asyncio.SelectorEventLoop, name)


def test_a_call_without_its_arguments_raises_type_error(loop, pair):
    with pytest.raises(TypeError):
        loop.sock_recv()
    with pytest.raises(TypeError):
        loop.sock_recv(pair[0])
    with pytest.raises(TypeError):
        loop.sock_recv(pair[0], 1, 2)
    with pytest.raises(TypeError):
        loop.sock_recv(pair[0], size=1)


def test_calls_work_on_futures_of_asyncio(loop, pair, monkeypatch):
    one, other = pair
    monkeypatch.setattr(loop, "create_future", lambda: asyncio.Future(loop=loop))

    async def main():
        loop.call_soon(other.send, b"x")
        return await loop.sock_recv(one, 10)

    assert loop.run_until_complete(main()) == b"x"


def test_a_call_can_be_stepped_by_hand(loop, pair):
    one, _other = pair
    coroutine = loop.sock_recv(one, 10)
    future = coroutine.send(None)
    assert asyncio.isfuture(future)
    coroutine.close()


def test_a_finished_call_holds_neither_socket_nor_buffer(own_loop, pair):
    one, other = pair
    other.send(b"x")
    buffer = bytearray(10)
    before = sys.getrefcount(one), sys.getrefcount(buffer)
    coroutine = own_loop.sock_recv_into(one, buffer)
    own_loop.run_until_complete(coroutine)
    assert (sys.getrefcount(one), sys.getrefcount(buffer)) == before


def test_the_descriptor_is_what_the_sockets_method_says(loop, pair, monkeypatch):
    """A method that somebody has put into the class, also after some sockets were asked, is called."""
    one, other = pair
    other.sendall(b"first")
    assert loop.run_until_complete(loop.sock_recv(one, 100)) == b"first"
    asked = []
    native = socket.socket.fileno

    def fileno(sock):
        asked.append(sock)
        return native(sock)

    monkeypatch.setattr(socket.socket, "fileno", fileno)

    async def receive_later():
        loop.call_soon(other.sendall, b"second")
        return await loop.sock_recv(one, 100)

    assert loop.run_until_complete(receive_later()) == b"second"
    assert any(sock is one for sock in asked)


def test_a_socket_that_says_it_may_block_is_received_from_by_its_method(loop, pair, monkeypatch):
    """Its own recv() may wait then, as on asyncio: no system call of ours stands in for it."""
    one, other = pair
    # Zero in other words, and a wait.
    for timeout in (0, 0.0, False, None, 1.5):
        monkeypatch.setattr(socket.socket, "gettimeout", lambda sock, timeout=timeout: timeout)
        other.sendall(b"message")
        assert loop.run_until_complete(loop.sock_recv(one, 100)) == b"message"
    monkeypatch.undo()
    one.settimeout(1.5)
    other.sendall(b"message")
    assert loop.run_until_complete(loop.sock_recv(one, 100)) == b"message"
