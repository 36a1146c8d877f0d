"""Clients: how a connection is made, how it fails, and that cancelling leaves nothing."""

import asyncio
import os
import socket
import sys
import warnings
from pathlib import Path
from unittest import mock

import pytest

from conftest import FACTORIES, run_python
from connected import PATIENCE, Recorder, collect, settle, until

CANCEL_STRESS = Path(__file__).with_name("cancel_stress.py")
FAILING = "127.0.0.1", 1  # nobody listens at the port tcpmux


@pytest.fixture
def listening():
    with socket.create_server(("127.0.0.1", 0)) as sock:
        yield sock


def connect(loop, *arguments, **options):
    return loop.run_until_complete(loop.create_connection(Recorder, *arguments, **options))


def finish(loop, transport):
    transport.abort()
    settle(loop)


def resolving(addresses):
    """A getaddrinfo that gives these addresses, so that names need no network."""

    def getaddrinfo(host, port, *arguments, **options):
        return [
            (socket.AF_INET6 if ":" in address else socket.AF_INET, socket.SOCK_STREAM, 6, "", (address, port))
            for address, port in addresses
        ]

    return mock.patch("socket.getaddrinfo", getaddrinfo)


def close_executor(loop):
    loop.run_until_complete(loop.shutdown_default_executor())


class TestConnecting:
    def test_by_address(self, loop, listening):
        transport, protocol = connect(loop, *listening.getsockname())
        assert protocol.transport is transport
        assert transport.get_extra_info("peername") == listening.getsockname()
        finish(loop, transport)

    def test_by_name(self, loop, listening):
        transport, _ = connect(loop, "localhost", listening.getsockname()[1], family=socket.AF_INET)
        finish(loop, transport)
        close_executor(loop)

    def test_a_numeric_host_asks_nobody(self, loop, listening):
        with mock.patch("socket.getaddrinfo", side_effect=AssertionError("asked")):
            transport, _ = connect(loop, *listening.getsockname())
        finish(loop, transport)

    def test_a_patched_getaddrinfo_is_honoured(self, loop, listening):
        with resolving([listening.getsockname()]):
            transport, _ = connect(loop, "a.name.invalid", 1)
        finish(loop, transport)
        close_executor(loop)

    def test_it_sends_at_once(self, loop, listening):
        transport, _ = connect(loop, *listening.getsockname())
        assert transport.get_extra_info("socket").getsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY)
        finish(loop, transport)

    def test_from_a_local_address(self, loop, listening):
        with socket.create_server(("127.0.0.1", 0)) as probe:
            port = probe.getsockname()[1]
        transport, _ = connect(loop, *listening.getsockname(), local_addr=("127.0.0.1", port))
        assert transport.get_extra_info("sockname") == ("127.0.0.1", port)
        finish(loop, transport)

    def test_a_local_address_that_is_taken_is_named(self, loop, listening):
        port = listening.getsockname()[1]
        with pytest.raises(OSError, match=rf"error while attempting to bind on address \('127.0.0.1', {port}\)"):
            connect(loop, *listening.getsockname(), local_addr=("127.0.0.1", port))

    def test_a_given_socket(self, loop, listening):
        sock = socket.create_connection(listening.getsockname())
        sock.setblocking(False)
        transport, _ = connect(loop, sock=sock)
        assert transport.get_extra_info("socket").fileno() == sock.fileno()
        finish(loop, transport)
        assert sock.fileno() == -1

    def test_a_unix_path(self, loop, tmp_path):
        path = tmp_path / "socket"
        with socket.socket(socket.AF_UNIX) as listening:
            listening.bind(str(path))
            listening.listen()
            transport, _ = loop.run_until_complete(loop.create_unix_connection(Recorder, path))
            assert transport.get_extra_info("peername") == str(path)
            finish(loop, transport)

    def test_wrong_arguments(self, loop):
        with pytest.raises(ValueError, match="host and port was not specified and no sock specified"):
            connect(loop)
        with socket.socket() as sock, pytest.raises(ValueError, match="host/port and sock can not be specified"):
            connect(loop, "127.0.0.1", 1, sock=sock)
        with socket.socket(type=socket.SOCK_DGRAM) as sock, pytest.raises(ValueError, match="Stream Socket"):
            connect(loop, sock=sock)
        with pytest.raises(ValueError, match="server_hostname is only meaningful with ssl"):
            connect(loop, "127.0.0.1", 1, server_hostname="x")


class TestFailing:
    def test_the_error_names_the_address(self, loop):
        with pytest.raises(ConnectionRefusedError, match=r"Connect call failed \('127.0.0.1', 1\)"):
            connect(loop, *FAILING)

    def test_several_errors_become_one(self, loop):
        with resolving([FAILING, ("127.0.0.1", 2)]), pytest.raises(OSError, match=r"Multiple exceptions: .*1.*2"):
            connect(loop, "a.name.invalid", 1)
        close_executor(loop)

    @pytest.mark.skipif(sys.version_info < (3, 12), reason="new in 3.12")
    def test_all_errors(self, loop):
        with resolving([FAILING, ("127.0.0.1", 2)]), pytest.raises(ExceptionGroup) as caught:  # noqa: F821, new in 3.11
            connect(loop, "a.name.invalid", 1, all_errors=True)
        assert [type(error) for error in caught.value.exceptions] == [ConnectionRefusedError] * 2
        close_executor(loop)

    def test_a_later_address_helps(self, loop, listening):
        with resolving([FAILING, listening.getsockname()]):
            transport, _ = connect(loop, "a.name.invalid", 1)
        assert transport.get_extra_info("peername") == listening.getsockname()
        finish(loop, transport)
        close_executor(loop)

    def test_no_address_at_all(self, loop):
        with resolving([]), pytest.raises(OSError, match=r"getaddrinfo.* returned empty list"):
            connect(loop, "a.name.invalid", 1)
        close_executor(loop)

    def test_a_name_that_cannot_be_resolved(self, loop):
        failure = socket.gaierror(socket.EAI_NONAME, "as if unknown")
        with mock.patch("socket.getaddrinfo", side_effect=failure), pytest.raises(socket.gaierror):
            connect(loop, "a.name.invalid", 1)
        close_executor(loop)

    def test_no_descriptor_is_left(self, loop):
        for _ in range(3):
            with pytest.raises(OSError, match="Connect call failed"):
                connect(loop, *FAILING)
        before = os.listdir("/proc/self/fd")
        for _ in range(20):
            with pytest.raises(OSError, match="Connect call failed"):
                connect(loop, *FAILING)
        assert len(os.listdir("/proc/self/fd")) == len(before)

    @pytest.mark.filterwarnings("ignore:unclosed <socket:ResourceWarning")  # asyncio leaves it to its finalizer
    def test_a_failing_protocol_factory(self, loop, listening):
        def factory():
            raise ZeroDivisionError("on purpose")

        with pytest.raises(ZeroDivisionError):
            loop.run_until_complete(loop.create_connection(factory, *listening.getsockname()))
        settle(loop)
        collect()

    def test_a_socket_that_gets_no_transport_is_closed_or_forgotten_as_on_asyncio(self, listening):
        def factory():
            raise ZeroDivisionError("on purpose")

        outcomes = []
        for new_loop in FACTORIES.values():
            loop = new_loop()
            with warnings.catch_warnings(record=True) as caught:
                warnings.simplefilter("always")
                with pytest.raises(ZeroDivisionError):
                    loop.run_until_complete(loop.create_connection(factory, *listening.getsockname()))
                collect()
            loop.close()
            outcomes.append([str(warning.message).partition(" fd=")[0] for warning in caught])
        assert outcomes[0] == outcomes[1]


class TestHappyEyeballs:
    def test_the_first_that_answers_wins(self, loop, listening):
        with resolving([FAILING, listening.getsockname()]):
            transport, _ = connect(loop, "a.name.invalid", 1, happy_eyeballs_delay=0.01)
        assert transport.get_extra_info("peername") == listening.getsockname()
        finish(loop, transport)
        close_executor(loop)

    def test_one_that_hangs_is_overtaken(self, loop, listening):
        # Its queue is full, so the kernel answers nobody.
        with socket.socket() as deaf, socket.socket() as filler:
            deaf.bind(("127.0.0.1", 0))
            deaf.listen(0)
            fillers = [filler]
            for _ in range(4):
                fillers.append(socket.socket())
                fillers[-1].setblocking(False)
                fillers[-1].connect_ex(deaf.getsockname())
            with resolving([deaf.getsockname(), listening.getsockname()]):
                transport, _ = connect(loop, "a.name.invalid", 1, happy_eyeballs_delay=0.01)
            assert transport.get_extra_info("peername") == listening.getsockname()
            finish(loop, transport)
            for sock in fillers:
                sock.close()
        assert deaf.fileno() == -1
        close_executor(loop)

    @pytest.mark.parametrize(("interleave", "order"), [(0, "4466"), (1, "4646"), (2, "4466")])
    def test_families_take_turns(self, loop, interleave, order):
        tried = []

        async def sock_connect(sock, address):
            tried.append("4" if sock.family == socket.AF_INET else "6")
            raise OSError(1, "on purpose")

        addresses = [("127.0.0.1", 1), ("127.0.0.2", 1), ("::1", 1), ("::2", 1)]
        patched = mock.patch.object(loop, "sock_connect", sock_connect)
        with resolving(addresses), patched, pytest.raises(OSError, match="on purpose"):
            connect(loop, "a.name.invalid", 1, interleave=interleave)
        assert "".join(tried) == order
        close_executor(loop)


class TestCancelling:
    @pytest.mark.parametrize("turns", range(6))
    def test_after_some_turns(self, loop, listening, turns):
        settle(loop)
        collect()
        before = sorted(os.listdir("/proc/self/fd"))
        protocols = []

        def factory():
            protocols.append(Recorder())
            return protocols[-1]

        async def main():
            task = asyncio.ensure_future(loop.create_connection(factory, *listening.getsockname()))
            for _ in range(turns):
                await asyncio.sleep(0)
            if task.done():
                task.result()[0].abort()
                return
            task.cancel()
            with pytest.raises(asyncio.CancelledError):
                await task

        loop.run_until_complete(main())
        settle(loop)
        for protocol in protocols:
            if protocol.transport:
                until(loop, lambda protocol=protocol: protocol.lost)
        assert sorted(os.listdir("/proc/self/fd")) == before

    def test_while_the_kernel_connects(self, loop):
        with socket.socket() as deaf:
            deaf.bind(("127.0.0.1", 0))
            deaf.listen(0)
            fillers = [socket.socket() for _ in range(4)]
            for sock in fillers:
                sock.setblocking(False)
                sock.connect_ex(deaf.getsockname())
            with pytest.raises(asyncio.TimeoutError):
                loop.run_until_complete(
                    asyncio.wait_for(loop.create_connection(Recorder, *deaf.getsockname()), timeout=0.05)
                )
            settle(loop)
            for sock in fillers:
                sock.close()


class TestCancelStress:
    def run(self, *options):
        return run_python("-W", "error", CANCEL_STRESS, *options, timeout=PATIENCE * 5)

    def test_connects_cancelled_at_random_moments_leave_nothing(self, factory):
        result = self.run("--connects", 2000, "--loop", "asyncio" if factory is asyncio.SelectorEventLoop else "boucle")
        assert result.returncode == 0, result.stdout + result.stderr
        assert "no leak, no double close, no foreign answer" in result.stdout

    def test_a_double_close_is_noticed(self):
        result = self.run("--connects", 2000, "--double-close")
        assert result.returncode == 1
        assert "double close" in result.stdout
