"""Datagrams: the addresses that they come from and go to."""

import re
import socket

import pytest

from conftest import run_turns
from endpoints import endpoint, until


def exception_of(function, *args):
    try:
        function(*args)
    except Exception as exception:
        return exception
    return None


@pytest.fixture
def closing(loop):
    """Closes transports when the test is over."""
    transports = []
    yield transports.append
    for transport in transports:
        transport.abort()
    run_turns(loop)


@pytest.mark.parametrize("host", ["127.0.0.1", "::1"])
def test_what_arrives_comes_with_the_address_that_the_socket_would_give(loop, closing, host):
    family = socket.AF_INET6 if ":" in host else socket.AF_INET
    transport, protocol = endpoint(loop, local_addr=(host, 0))
    closing(transport)
    with socket.socket(family, socket.SOCK_DGRAM) as peer:
        peer.bind((host, 0))
        peer.sendto(b"x", transport.get_extra_info("sockname"))
        peer.sendto(b"", transport.get_extra_info("sockname"))
        until(loop, lambda: len(protocol.data) == 2)
        assert protocol.events[1:] == [(b"x", peer.getsockname()), (b"", peer.getsockname())]
        transport.sendto(b"back", protocol.events[1][1])
        assert peer.recvfrom(10) == (b"back", transport.get_extra_info("sockname"))


@pytest.mark.parametrize("shape", [lambda host, port: (host, port), lambda host, port: (host, port, 0, 0)])
def test_addresses_of_ipv6_may_be_short(loop, closing, shape):
    transport, _ = endpoint(loop, local_addr=("::1", 0))
    closing(transport)
    with socket.socket(socket.AF_INET6, socket.SOCK_DGRAM) as peer:
        peer.bind(("::1", 0))
        transport.sendto(b"x", shape(*peer.getsockname()[:2]))
        assert peer.recv(10) == b"x"


def test_host_names_are_looked_up_by_the_socket(loop, closing):
    transport, _ = endpoint(loop)
    closing(transport)
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as peer:
        peer.bind(("127.0.0.1", 0))
        transport.sendto(b"x", ("localhost", peer.getsockname()[1]))
        assert peer.recv(10) == b"x"


@pytest.mark.parametrize(
    "addr",
    [
        ("127.0.0.1", 70000),
        ("127.0.0.1", -1),
        ("127.0.0.1", "9"),
        ("127.0.0.1",),
        (),
        ["127.0.0.1", 9],
        ("127.0.0.1", 9, 0),
        ("\ud800", 9),
        None,
        9,
    ],
    ids=repr,
)
def test_a_wrong_address_closes_with_the_sockets_own_exception(factory, addr):
    loop = factory()
    reports = []
    loop.set_exception_handler(lambda loop, context: reports.append(context))
    transport, protocol = endpoint(loop)
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as plain:
        told = exception_of(plain.sendto, b"x", addr)
    transport.sendto(b"x", addr)
    assert transport.is_closing()
    run_turns(loop)
    [report] = reports
    assert report["message"] == "Fatal write error on datagram transport"
    assert report["transport"] is transport
    assert report["protocol"] is protocol
    assert (type(report["exception"]), str(report["exception"])) == (type(told), str(told))
    assert protocol.events[1:] == [("lost", report["exception"])]
    loop.close()


def test_a_connected_endpoint_sends_to_its_peer_only(loop, closing):
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as peer:
        peer.bind(("127.0.0.1", 0))
        address = peer.getsockname()
        transport, _ = endpoint(loop, remote_addr=address)
        closing(transport)
        assert transport._address == address
        transport.sendto(b"1")
        transport.sendto(bytearray(b"2"), address)
        transport.sendto(memoryview(b"3"), addr=tuple(address))
        assert [peer.recv(10) for _ in range(3)] == [b"1", b"2", b"3"]
        text = f"Invalid address: must be None or {address}"
        with pytest.raises(ValueError, match=re.escape(text)):
            transport.sendto(b"4", ("127.0.0.1", 9))


@pytest.mark.parametrize("name", ["path", "abstract"])
def test_unix_addresses_are_pythons(loop, closing, tmp_path, name):
    address = str(tmp_path / "ours") if name == "path" else "\0boucle-" + tmp_path.name
    theirs = str(tmp_path / "theirs") if name == "path" else "\0boucle-peer-" + tmp_path.name
    transport, protocol = endpoint(loop, family=socket.AF_UNIX, local_addr=address)
    closing(transport)
    with (
        socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as nobody,
        socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as peer,
    ):
        nobody.sendto(b"from nobody", address)
        peer.bind(theirs)
        peer.sendto(b"x", address)
        until(loop, lambda: len(protocol.data) == 2)
        assert protocol.events[1:] == [(b"from nobody", None), (b"x", peer.getsockname())]
        transport.sendto(b"back", protocol.events[2][1])
        transport.sendto(b"back", theirs.encode())
        assert [peer.recv(10) for _ in range(2)] == [b"back"] * 2
    transport.sendto(b"x", str(tmp_path / "nowhere"))
    assert type(protocol.events[-1]) is FileNotFoundError
