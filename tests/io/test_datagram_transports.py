"""Datagrams: order, bounds, errors, flow control, and how long things live."""

import asyncio
import contextvars
import gc
import itertools
import socket
import sys
import weakref

import pytest

import boucle
from conftest import FailureError, run_turns
from endpoints import Recorder, endpoint, until

# The versions whose datagram transports can pause.
PAUSES = sys.version_info >= (3, 11)
# The versions that send datagrams without bytes, and count a header for each that waits.
COUNTS_HEADERS = sys.version_info >= (3, 13)
PLACE = contextvars.ContextVar("place", default="outside")


def filled_pair(loop, protocol, folder):
    """An endpoint of a Unix socket that takes no more, its peer, and how many datagrams that holds."""
    ours, theirs = (socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) for _ in range(2))
    theirs.setblocking(False)
    # Without a name asyncio takes a peer for none.
    theirs.bind(str(folder / "peer"))
    ours.connect(str(folder / "peer"))
    transport, _ = endpoint(loop, protocol, sock=ours)
    held = 0
    while not transport.get_write_buffer_size() and held < 10000:
        transport.sendto(b"%06d" % held)
        held += 1
    return transport, theirs, held - 1


def skip_unless_it_pauses(loop):
    if not PAUSES and not isinstance(loop, boucle.Loop):
        pytest.skip("asyncio's datagram transports cannot pause yet")


def drain(sock):
    received = []
    try:
        while True:
            received.append(sock.recv(100))
    except BlockingIOError:
        return received


@pytest.fixture
def closing(loop):
    """Closes transports when the test is over."""
    transports = []
    yield transports.append
    for transport in transports:
        transport.abort()
    run_turns(loop)


def test_a_datagram_transport_is_asyncios(loop, closing):
    transport, protocol = endpoint(loop)
    closing(transport)
    assert isinstance(transport, asyncio.DatagramTransport | asyncio.Transport)
    assert transport.get_protocol() is protocol
    transport.note = "of our own"
    assert weakref.ref(transport)() is transport
    assert transport._sock_fd == transport.get_extra_info("socket").fileno()
    assert repr(transport).endswith(f"fd={transport._sock_fd} read=polling write=<idle, bufsize=0>>")


def test_wrong_data_raises(loop, closing):
    transport, _ = endpoint(loop)
    closing(transport)
    for wrong in ("text", None, 5):
        with pytest.raises(TypeError) as told:
            transport.sendto(wrong, ("127.0.0.1", 9))
        name = type(wrong).__name__
        assert str(told.value) == f"data argument must be a bytes-like object, not '{name}'"


def test_datagrams_without_bytes_are_sent_where_asyncio_sends_them(loop, closing):
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as peer:
        peer.bind(("127.0.0.1", 0))
        transport, _ = endpoint(loop, remote_addr=peer.getsockname())
        closing(transport)
        transport.sendto(b"")
        transport.sendto(b"end")
        assert peer.recv(10) == (b"" if COUNTS_HEADERS else b"end")


def test_a_refusal_of_the_peer_is_told_to_the_protocol(loop, closing):
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as gone:
        gone.bind(("127.0.0.1", 0))
        address = gone.getsockname()
    transport, protocol = endpoint(loop, remote_addr=address)
    closing(transport)
    transport.sendto(b"x")
    until(loop, lambda: len(protocol.events) > 1)
    assert type(protocol.events[1]) is ConnectionRefusedError
    assert not transport.is_closing()


def test_an_error_of_sending_is_told_at_once(loop, closing):
    transport, protocol = endpoint(loop)
    closing(transport)
    transport.sendto(bytes(70000), ("127.0.0.1", 9))
    [_, error] = protocol.events
    assert isinstance(error, OSError)
    assert str(error) == "[Errno 90] Message too long"
    assert not transport.is_closing()
    assert transport.get_write_buffer_size() == 0


def test_datagrams_of_one_sender_arrive_in_order(loop, closing):
    transport, protocol = endpoint(loop)
    closing(transport)
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as peer:
        for number in range(100):
            peer.sendto(b"%d" % number, transport.get_extra_info("sockname"))
    until(loop, lambda: len(protocol.data) == 100)
    assert protocol.data == [b"%d" % number for number in range(100)]


def test_a_flood_leaves_turns_to_others(loop, closing):
    transport, protocol = endpoint(loop)
    closing(transport)
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as peer:
        for number in range(100):
            peer.sendto(b"%d" % number, transport.get_extra_info("sockname"))
    counts = []
    until(loop, lambda: counts.append(len(protocol.data)) or len(protocol.data) == 100)
    steps = [after - before for before, after in itertools.pairwise(counts)]
    assert max(steps) <= 16


@pytest.mark.parametrize("end", ["close", "abort", "pause_reading"])
def test_no_datagram_comes_after_the_protocol_has_enough(loop, closing, end):
    skip_unless_it_pauses(loop)
    transport, protocol = endpoint(loop, Recorder(lambda protocol: getattr(protocol.transport, end)()))
    closing(transport)
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as peer:
        for _ in range(5):
            peer.sendto(b"x", transport.get_extra_info("sockname"))
    until(loop, lambda: protocol.data)
    run_turns(loop)
    assert protocol.data == [b"x"]
    if end == "pause_reading":
        assert not transport.is_reading()
        protocol.on_datagram = None
        transport.resume_reading()
        until(loop, lambda: len(protocol.data) == 5)
    else:
        assert protocol.events[2:] == [("lost", None)]


def test_a_datagram_goes_to_the_protocol_of_the_moment(loop, closing):
    second = Recorder()
    transport, first = endpoint(loop, Recorder(lambda protocol: protocol.transport.set_protocol(second)))
    closing(transport)
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as peer:
        for number in range(3):
            peer.sendto(b"%d" % number, transport.get_extra_info("sockname"))
    until(loop, lambda: len(second.data) == 2)
    assert (first.data, second.data) == ([b"0"], [b"1", b"2"])


def test_what_a_protocol_raises_is_reported_and_ends_nothing(factory):
    loop = factory()
    reports = []
    loop.set_exception_handler(lambda loop, context: reports.append(context))

    def fail(protocol):
        if len(protocol.data) == 1:
            raise FailureError

    transport, protocol = endpoint(loop, Recorder(fail))
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as peer:
        for number in range(3):
            peer.sendto(b"%d" % number, transport.get_extra_info("sockname"))
    until(loop, lambda: len(protocol.data) == 3)
    [report] = reports
    assert isinstance(report["exception"], FailureError)
    assert report["message"].startswith("Exception in callback ")
    assert "_read_ready()" in report["message"]
    assert not transport.is_closing()
    transport.close()
    run_turns(loop)
    loop.close()


def test_what_ends_the_program_leaves_the_loop(loop, closing):
    def interrupt(protocol):
        raise KeyboardInterrupt

    transport, _ = endpoint(loop, Recorder(interrupt))
    closing(transport)
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as peer:
        peer.sendto(b"x", transport.get_extra_info("sockname"))
    with pytest.raises(KeyboardInterrupt):
        loop.run_forever()


def test_what_the_kernel_does_not_take_waits_in_order(loop, closing, tmp_path):
    protocol = Recorder()
    transport, theirs, held = filled_pair(loop, protocol, tmp_path)
    closing(transport)
    changing = bytearray(b"changes")
    transport.sendto(changing)
    changing[:] = b"changed"
    header = 8 if COUNTS_HEADERS else 0
    assert transport.get_write_buffer_size() == 6 + 7 + 2 * header
    received = []
    until(loop, lambda: received.extend(drain(theirs)) or len(received) == held + 2)
    assert received == [b"%06d" % number for number in range(held + 1)] + [b"changes"]
    assert "read=polling write=<idle" in repr(transport)
    theirs.close()


def test_the_protocol_pauses_above_the_mark_and_resumes_below(loop, closing, tmp_path):
    protocol = Recorder()
    transport, theirs, _ = filled_pair(loop, protocol, tmp_path)
    closing(transport)
    transport.set_write_buffer_limits(high=100, low=20)
    assert transport.get_write_buffer_limits() == (20, 100)
    while "pause" not in protocol.events:
        transport.sendto(b"0123456789")
    assert transport.get_write_buffer_size() > 100
    run_turns(loop)
    assert "resume" not in protocol.events
    received = []
    until(loop, lambda: received.extend(drain(theirs)) or received[-1:] == [b"0123456789"])
    run_turns(loop)
    theirs.close()


def test_the_protocol_resumes_once_everything_is_sent(own_loop, tmp_path):
    # asyncio's of 3.13.0 counts the headers of what was sent for ever.
    protocol = Recorder()
    transport, theirs, _ = filled_pair(own_loop, protocol, tmp_path)
    transport.set_write_buffer_limits(high=0)
    assert protocol.events == ["made", "pause"]
    until(own_loop, lambda: drain(theirs) is None or protocol.events[-1] == "resume")
    assert transport.get_write_buffer_size() == 0
    theirs.close()
    transport.abort()
    run_turns(own_loop)


def test_closing_sends_first_what_waits(loop, tmp_path):
    protocol = Recorder()
    transport, theirs, held = filled_pair(loop, protocol, tmp_path)
    transport.close()
    transport.close()
    run_turns(loop)
    assert protocol.events == ["made"]
    received = []
    until(loop, lambda: received.extend(drain(theirs)) or ("lost", None) in protocol.events)
    received.extend(drain(theirs))
    assert len(received) == held + 1
    assert protocol.events == ["made", ("lost", None)]
    assert transport._sock is None
    assert transport._loop is None
    theirs.close()


def test_aborting_drops_what_waits(loop, tmp_path):
    protocol = Recorder()
    transport, theirs, held = filled_pair(loop, protocol, tmp_path)
    transport.close()
    transport.abort()
    transport.abort()
    assert protocol.events == ["made"]
    run_turns(loop)
    assert protocol.events == ["made", ("lost", None)]
    assert len(drain(theirs)) == held
    theirs.close()


def test_the_loss_is_told_once_whatever_the_protocol_does_then(loop):
    class Eager(Recorder):
        def connection_lost(self, exc):
            super().connection_lost(exc)
            self.transport.close()
            self.transport.abort()

    transport, protocol = endpoint(loop, Eager())
    transport.abort()
    run_turns(loop)
    assert protocol.events == ["made", ("lost", None)]


def test_sending_to_what_is_gone_is_counted(loop, caplog):
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as peer:
        peer.bind(("127.0.0.1", 0))
        transport, _ = endpoint(loop, remote_addr=peer.getsockname())
    transport.close()
    for _ in range(6):
        transport.sendto(b"x")
    assert transport._conn_lost == 7
    run_turns(loop)
    assert [record.message for record in caplog.records] == ["socket.send() raised exception."] * 2


def test_a_number_that_was_taken_again_is_not_sent_to(own_loop):
    transport, protocol = endpoint(own_loop)
    number = transport._sock_fd
    transport.close()
    run_turns(own_loop)
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as peer, socket.socket(type=socket.SOCK_DGRAM) as other:
        assert number in (peer.fileno(), other.fileno())
        peer.bind(("127.0.0.1", 0))
        peer.setblocking(False)
        transport.sendto(b"x", peer.getsockname())
        with pytest.raises(BlockingIOError):
            peer.recv(10)
    assert protocol.events == ["made", ("lost", None)]


def test_callbacks_run_in_the_context_of_the_beginning(loop):
    seen = []

    class Looking(Recorder):
        def connection_made(self, transport):
            super().connection_made(transport)
            seen.append(PLACE.get())

        def datagram_received(self, data, addr):
            seen.append(PLACE.get())
            self.transport.close()

        def connection_lost(self, exc):
            seen.append(PLACE.get())

    async def main():
        PLACE.set("inside")
        return await loop.create_datagram_endpoint(Looking, local_addr=("127.0.0.1", 0))

    transport, _ = loop.run_until_complete(main())
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as peer:
        peer.sendto(b"x", transport.get_extra_info("sockname"))
    until(loop, lambda: len(seen) == 3)
    assert seen == ["inside"] * 3


def test_a_forgotten_transport_warns_and_closes_its_socket(loop):
    skip_unless_it_pauses(loop)
    sock = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
    sock.bind(("127.0.0.1", 0))
    transport, protocol = endpoint(loop, sock=sock)
    transport.pause_reading()
    text = repr(transport)
    del protocol.transport
    with pytest.warns(ResourceWarning) as warned:
        del transport
    assert [str(warning.message) for warning in warned] == [f"unclosed transport {text}"]
    assert sock.fileno() == -1


def test_nothing_is_left_of_a_transport_that_was_closed(loop):
    transport, protocol = endpoint(loop)
    gone = weakref.ref(transport), weakref.ref(protocol)
    transport.close()
    run_turns(loop)
    del transport, protocol
    gc.collect()
    assert [reference() for reference in gone] == [None, None]
