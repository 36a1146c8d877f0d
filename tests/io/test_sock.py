"""loop.sock_*: the call is tried first, and only one that would block waits. Who is cancelled leaves nothing."""

import asyncio
import contextlib
import errno
import io
import socket
import sys

import pytest

from conftest import FACTORIES
from connected import PATIENCE, settle
from connected import nonblocking_pair as connected_pair


@pytest.fixture(params=["tcp", "unix"])
def pair(request):
    pair = connected_pair(request.param)
    yield pair
    for sock in pair:
        sock.close()


@pytest.fixture
def datagrams():
    pair = [socket.socket(type=socket.SOCK_DGRAM) for _ in range(2)]
    for sock in pair:
        sock.bind(("127.0.0.1", 0))
        sock.setblocking(False)
    yield pair
    for sock in pair:
        sock.close()


@pytest.fixture
def listening():
    with socket.create_server(("127.0.0.1", 0)) as sock:
        sock.setblocking(False)
        yield sock


def watched(loop, sock):
    """Whether the loop watches a socket."""
    return any(key.fd == sock.fileno() for key in loop._selector.get_map().values())


def observe(loop, sock, operation, then=None):
    """Run an operation. Returns its result, and whether it had to wait for the socket."""

    async def main():
        task = asyncio.ensure_future(operation)
        await asyncio.sleep(0)
        waited = watched(loop, sock)
        if then is not None:
            then()
        return await asyncio.wait_for(task, PATIENCE), waited

    result, waited = loop.run_until_complete(main())
    assert not watched(loop, sock)
    return result, waited


class TestReceiving:
    def test_what_is_there_is_received_without_waiting(self, loop, pair):
        ours, theirs = pair
        theirs.send(b"hello")
        assert observe(loop, ours, loop.sock_recv(ours, 100)) == (b"hello", False)

    def test_what_is_not_there_is_waited_for(self, loop, pair):
        ours, theirs = pair
        assert observe(loop, ours, loop.sock_recv(ours, 100), lambda: theirs.send(b"x")) == (b"x", True)

    def test_at_most_so_much(self, loop, pair):
        ours, theirs = pair
        theirs.send(b"hello")
        assert loop.run_until_complete(loop.sock_recv(ours, 2)) == b"he"
        assert loop.run_until_complete(loop.sock_recv(ours, 100)) == b"llo"

    def test_the_end(self, loop, pair):
        ours, theirs = pair
        theirs.close()
        assert observe(loop, ours, loop.sock_recv(ours, 100)) == (b"", False)

    def test_into_a_buffer(self, loop, pair):
        ours, theirs = pair
        buffer = bytearray(10)
        theirs.send(b"hello")
        assert observe(loop, ours, loop.sock_recv_into(ours, buffer)) == (5, False)
        assert buffer == b"hello\0\0\0\0\0"
        assert observe(loop, ours, loop.sock_recv_into(ours, memoryview(buffer)[:2]), lambda: theirs.send(b"xyz")) == (
            2,
            True,
        )
        assert buffer == b"xyllo\0\0\0\0\0"

    def test_an_error_is_raised(self, loop, pair):
        ours, theirs = pair
        ours.send(b"unread")
        theirs.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, b"\1\0\0\0\0\0\0\0")
        theirs.close()
        with pytest.raises(ConnectionResetError):
            loop.run_until_complete(loop.sock_recv(ours, 1))

    @pytest.mark.skipif(sys.version_info < (3, 11), reason="new in 3.11")
    def test_a_datagram_and_its_sender(self, loop, datagrams):
        ours, theirs = datagrams
        theirs.sendto(b"x", ours.getsockname())
        assert observe(loop, ours, loop.sock_recvfrom(ours, 10)) == ((b"x", theirs.getsockname()), False)
        (data, sender), waited = observe(
            loop, ours, loop.sock_recvfrom(ours, 10), lambda: theirs.sendto(b"", ours.getsockname())
        )
        assert (data, sender, waited) == (b"", theirs.getsockname(), True)

    @pytest.mark.skipif(sys.version_info < (3, 11), reason="new in 3.11")
    def test_a_datagram_into_a_buffer(self, loop, datagrams):
        ours, theirs = datagrams
        buffer = bytearray(5)
        theirs.sendto(b"abc", ours.getsockname())
        assert loop.run_until_complete(loop.sock_recvfrom_into(ours, buffer)) == (3, theirs.getsockname())
        theirs.sendto(b"xyz", ours.getsockname())
        assert loop.run_until_complete(loop.sock_recvfrom_into(ours, buffer, 2)) == (2, theirs.getsockname())
        assert buffer == b"xyc\0\0"


class TestSending:
    @pytest.mark.parametrize("make", [bytes, bytearray, memoryview], ids=lambda make: make.__name__)
    def test_what_the_kernel_takes_does_not_wait(self, loop, pair, make):
        ours, theirs = pair
        assert observe(loop, ours, loop.sock_sendall(ours, make(b"hello"))) == (None, False)
        assert theirs.recv(100) == b"hello"

    def test_all_of_much(self, loop, pair):
        ours, theirs = pair
        data = bytes(range(256)) * 20_000

        async def main():
            sending = asyncio.ensure_future(loop.sock_sendall(ours, data))
            received = bytearray()
            while len(received) < len(data):
                received += await loop.sock_recv(theirs, 1 << 20)
            await sending
            return received

        assert loop.run_until_complete(main()) == data
        assert not watched(loop, ours)

    def test_nothing(self, loop, pair):
        assert loop.run_until_complete(loop.sock_sendall(pair[0], b"")) is None

    def test_a_broken_connection(self, loop, pair):
        ours, theirs = pair
        theirs.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, b"\1\0\0\0\0\0\0\0")
        theirs.close()

        async def main():
            for _ in range(3):
                await loop.sock_sendall(ours, b"x" * 1000)

        with pytest.raises(ConnectionError):
            loop.run_until_complete(main())

    @pytest.mark.skipif(sys.version_info < (3, 11), reason="new in 3.11")
    def test_a_datagram_to_an_address(self, loop, datagrams):
        ours, theirs = datagrams
        assert observe(loop, ours, loop.sock_sendto(ours, b"x", theirs.getsockname())) == (1, False)
        assert theirs.recvfrom(10) == (b"x", ours.getsockname())


class TestConnecting:
    def test_it_connects(self, loop, listening):
        with socket.socket() as sock:
            sock.setblocking(False)
            assert loop.run_until_complete(loop.sock_connect(sock, listening.getsockname())) is None
            assert sock.getpeername() == listening.getsockname()
            assert not watched(loop, sock)

    def test_a_unix_socket_connects_at_once(self, loop, tmp_path):
        path = str(tmp_path / "socket")
        with socket.socket(socket.AF_UNIX) as listening, socket.socket(socket.AF_UNIX) as sock:
            listening.bind(path)
            listening.listen()
            sock.setblocking(False)
            assert observe(loop, sock, loop.sock_connect(sock, path)) == (None, False)

    def test_the_error_names_the_address(self, loop):
        with socket.socket() as sock:
            sock.setblocking(False)
            with pytest.raises(ConnectionRefusedError, match=r"Connect call failed \('127.0.0.1', 1\)"):
                loop.run_until_complete(loop.sock_connect(sock, ("127.0.0.1", 1)))
            assert not watched(loop, sock)

    def test_a_name_is_resolved(self, loop, listening):
        with socket.socket() as sock:
            sock.setblocking(False)
            loop.run_until_complete(loop.sock_connect(sock, ("localhost", listening.getsockname()[1])))
            assert sock.getpeername() == listening.getsockname()
        loop.run_until_complete(loop.shutdown_default_executor())

    def test_the_scope_of_an_ipv6_address_is_kept(self, loop):
        # Without its scope the kernel refuses a link-local address, with EINVAL. With one it looks for the interface.
        with socket.socket(socket.AF_INET6) as sock:
            sock.setblocking(False)
            with pytest.raises(OSError, match=r".") as caught:
                loop.run_until_complete(loop.sock_connect(sock, ("fe80::1", 9, 0, 54321)))
        assert caught.value.errno != errno.EINVAL

    def test_accept_waits_where_nobody_is(self, loop, listening):
        client = socket.socket()
        client.setblocking(False)
        (accepted, address), waited = observe(
            loop, listening, loop.sock_accept(listening), lambda: client.connect_ex(listening.getsockname())
        )
        assert waited
        assert address == client.getsockname()
        assert not accepted.getblocking()
        assert type(accepted) is socket.socket
        accepted.close()
        client.close()

    def test_accept_takes_who_is_there(self, loop, listening):
        with socket.create_connection(listening.getsockname()) as client:
            (accepted, address), waited = observe(loop, listening, loop.sock_accept(listening))
            assert not waited
            assert address == client.getsockname()
            accepted.close()


class TestCancelling:
    @pytest.mark.parametrize("operation", ["recv", "recv_into", "sendall", "connect", "accept", "recvfrom", "sendto"])
    def test_nothing_stays_registered(self, loop, tmp_path, operation):
        if sys.version_info < (3, 11) and operation in ("recvfrom", "sendto"):
            pytest.skip("new in 3.11")
        with contextlib.ExitStack() as stack:
            ours, coroutine = self.start(loop, stack, tmp_path, operation)

            async def main():
                task = asyncio.ensure_future(coroutine)
                await asyncio.sleep(0)
                await asyncio.sleep(0)
                assert watched(loop, ours)
                task.cancel()
                with pytest.raises(asyncio.CancelledError):
                    await task
                await asyncio.sleep(0)
                assert not watched(loop, ours)

            loop.run_until_complete(main())

    def start(self, loop, stack, tmp_path, operation):
        """An operation that has to wait: its socket, and its coroutine."""
        ours, _ = map(stack.enter_context, connected_pair("unix"))
        if operation == "recv":
            return ours, loop.sock_recv(ours, 1)
        if operation == "recv_into":
            return ours, loop.sock_recv_into(ours, bytearray(1))
        if operation == "recvfrom":
            return ours, loop.sock_recvfrom(ours, 1)
        if operation == "sendall":
            return ours, loop.sock_sendall(ours, bytes(8 << 20))
        if operation == "sendto":
            path = str(tmp_path / "socket")
            sending, full = (stack.enter_context(socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM)) for _ in range(2))
            full.bind(path)
            sending.setblocking(False)
            with contextlib.suppress(BlockingIOError):
                while True:
                    sending.sendto(b"x", path)
            return sending, loop.sock_sendto(sending, b"x", path)
        listening, connecting, *filling = (stack.enter_context(socket.socket()) for _ in range(5))
        listening.bind(("127.0.0.1", 0))
        listening.listen(0)
        listening.setblocking(False)
        if operation == "accept":
            return listening, loop.sock_accept(listening)
        for sock in (connecting, *filling):
            sock.setblocking(False)
        for sock in filling:
            sock.connect_ex(listening.getsockname())
        return connecting, loop.sock_connect(connecting, listening.getsockname())

    def test_a_cancelled_receive_takes_no_data(self, loop, pair):
        ours, theirs = pair

        async def main():
            task = asyncio.ensure_future(loop.sock_recv(ours, 10))
            await asyncio.sleep(0)
            task.cancel()
            theirs.send(b"kept")
            with pytest.raises(asyncio.CancelledError):
                await task
            return await loop.sock_recv(ours, 10)

        assert loop.run_until_complete(main()) == b"kept"

    def test_the_next_owner_of_the_number_is_left_alone(self, loop):
        ours, theirs = connected_pair("unix")

        async def main():
            task = asyncio.ensure_future(loop.sock_recv(ours, 10))
            await asyncio.sleep(0)
            task.cancel()
            with pytest.raises(asyncio.CancelledError):
                await task
            number = ours.fileno()
            ours.close()
            again, other = connected_pair("unix")
            if again.fileno() != number:
                again, other = other, again
            other.send(b"x")
            answer = await asyncio.wait_for(loop.sock_recv(again, 10), PATIENCE)
            again.close()
            other.close()
            return answer

        assert loop.run_until_complete(main()) == b"x"
        theirs.close()


class TestSendfile:
    @pytest.fixture
    def file(self, tmp_path):
        path = tmp_path / "file"
        path.write_bytes(bytes(range(256)) * 1000)
        with open(path, "rb") as file:
            yield file

    @pytest.mark.parametrize("fallback", [False, True])
    @pytest.mark.parametrize("offset", [0, 100, 10**9])
    def test_a_file_is_left_where_asyncio_leaves_it(self, pair, file, offset, fallback):
        positions = []
        for new_loop in FACTORIES.values():
            loop = new_loop()
            file.seek(7)
            sending = loop._sock_sendfile_fallback if fallback else loop._sock_sendfile_native
            loop.run_until_complete(sending(pair[0], file, offset, 10))
            positions.append(file.tell())
            loop.run_until_complete(loop.shutdown_default_executor())
            loop.close()
        assert positions[0] == positions[1]

    @pytest.mark.parametrize(("offset", "count"), [(0, None), (100, None), (100, 1000), (0, 10**9), (10**9, None)])
    def test_a_file(self, loop, pair, file, offset, count):
        ours, theirs = pair
        expected = (bytes(range(256)) * 1000)[offset : None if count is None else offset + count]

        async def main():
            sending = asyncio.ensure_future(loop.sock_sendfile(ours, file, offset, count))
            received = bytearray()
            while len(received) < len(expected):
                received += await loop.sock_recv(theirs, 1 << 20)
            return await sending, bytes(received)

        assert loop.run_until_complete(main()) == (len(expected), expected)
        assert file.tell() == (offset + len(expected) if expected else file.tell())
        assert not watched(loop, ours)

    def test_what_is_no_file_needs_the_fallback(self, loop, pair):
        ours, theirs = pair
        data = io.BytesIO(b"from memory")
        assert loop.run_until_complete(loop.sock_sendfile(ours, data)) == 11
        assert theirs.recv(100) == b"from memory"
        with pytest.raises(asyncio.SendfileNotAvailableError):
            loop.run_until_complete(loop.sock_sendfile(ours, data, fallback=False))
        loop.run_until_complete(loop.shutdown_default_executor())

    def test_wrong_arguments(self, loop, pair, file, tmp_path):
        for offset, count, error in (
            (-1, None, ValueError),
            (0, 0, ValueError),
            (0, -1, ValueError),
            ("x", 1, TypeError),
        ):
            with pytest.raises(error):
                loop.run_until_complete(loop.sock_sendfile(pair[0], file, offset, count))
        with open(tmp_path / "file") as text, pytest.raises(ValueError, match="binary mode"):
            loop.run_until_complete(loop.sock_sendfile(pair[0], text))


class TestDebugMode:
    @pytest.mark.parametrize("method", ["sock_recv", "sock_recv_into", "sock_sendall", "sock_connect", "sock_accept"])
    def test_a_blocking_socket_is_refused(self, loop, method):
        loop.set_debug(True)
        with socket.socket() as sock:
            sock.setblocking(True)
            arguments = {"sock_accept": ()}.get(method, (b"x",))
            with pytest.raises(ValueError, match="the socket must be non-blocking"):
                loop.run_until_complete(getattr(loop, method)(sock, *arguments))
        loop.set_debug(False)


def test_two_operations_of_a_socket_at_once(loop, pair):
    ours, theirs = pair

    async def main():
        receiving = asyncio.ensure_future(loop.sock_recv(ours, 10))
        await asyncio.sleep(0)
        await loop.sock_sendall(ours, b"question")
        theirs.send(b"answer")
        return await receiving

    assert loop.run_until_complete(main()) == b"answer"
    assert theirs.recv(100) == b"question"
    settle(loop)
