"""What is special about our transports: when writes leave, in which context callbacks run, what stays of one."""

import asyncio
import contextvars
import gc
import socket
import warnings
import weakref

import pytest

from conftest import run_turns


class Recorder(asyncio.Protocol):
    """Notes what it is told."""

    def __init__(self):
        self.told = []

    def connection_made(self, transport):
        self.transport = transport
        self.told.append("made")

    def data_received(self, data):
        self.told.append(data)

    def connection_lost(self, exc):
        self.told.append(("lost", exc))


def connect(loop, make_protocol=Recorder):
    """A transport, its protocol and the socket at the other end, which does not block."""
    ours, theirs = socket.socketpair()
    theirs.setblocking(False)
    ours.setblocking(False)
    transport, protocol = loop.run_until_complete(loop.create_connection(make_protocol, sock=ours))
    return transport, protocol, theirs


@pytest.fixture
def connection(loop):
    transport, protocol, theirs = connect(loop)
    yield transport, protocol, theirs
    transport.abort()
    run_turns(loop)
    theirs.close()


def in_a_step(loop, function):
    """Runs a function as a step of the loop and returns what it returned."""
    result = []
    loop.call_soon(lambda: result.append(function()))
    run_turns(loop, 1)
    return result[0]


def is_there(sock):
    """What can be received now."""
    try:
        return sock.recv(1 << 20)
    except BlockingIOError:
        return None


def test_what_was_written_is_there_after_the_step(loop, connection):
    transport, _, theirs = connection

    def step():
        transport.write(b"head ")
        transport.write(b"body")

    in_a_step(loop, step)
    assert is_there(theirs) == b"head body"


def test_writes_of_a_step_wait_for_its_end(own_loop):
    transport, _, theirs = connect(own_loop)

    def step():
        transport.write(b"head ")
        transport.write(b"body")
        return is_there(theirs)

    assert in_a_step(own_loop, step) is None
    own_loop.set_write_mode("immediate")
    assert is_there(theirs) == b"head body"
    assert in_a_step(own_loop, step) == b"head body"
    with pytest.raises(ValueError, match="expected immediate or deferred"):
        own_loop.set_write_mode("sometimes")
    transport.abort()
    run_turns(own_loop)
    theirs.close()


@pytest.mark.parametrize(
    "ask",
    [
        lambda transport: transport.is_closing(),
        lambda transport: transport.get_write_buffer_size(),
        lambda transport: transport.get_extra_info("socket"),
        lambda transport: transport.write_eof(),
        lambda transport: transport.close(),
        lambda transport: transport.abort(),
        lambda transport: transport.write(bytes(1 << 16)),
        lambda transport: transport.set_write_buffer_limits(high=0),
    ],
    ids=["is_closing", "size", "socket", "write_eof", "close", "abort", "large", "limits"],
)
def test_what_could_show_that_a_write_waits_sends_it_first(loop, connection, ask):
    transport, _, theirs = connection

    def step():
        transport.write(b"answer")
        ask(transport)
        return is_there(theirs)[:6]

    assert in_a_step(loop, step) == b"answer"


def test_outside_of_a_step_a_write_leaves_at_once(connection):
    transport, _, theirs = connection
    transport.write(b"now")
    assert is_there(theirs) == b"now"


def test_a_step_that_raises_has_sent_what_it_wrote(loop, connection):
    transport, _, theirs = connection

    def step():
        transport.write(b"last words")
        raise SystemExit

    loop.call_soon(step)
    with pytest.raises(SystemExit):
        loop.run_forever()
    assert is_there(theirs) == b"last words"


def test_an_error_of_sending_is_known_when_somebody_asks(loop, connection):
    transport, protocol, theirs = connection
    theirs.close()

    def step():
        transport.write(b"nobody reads this")
        return transport.is_closing()

    assert in_a_step(loop, step)
    run_turns(loop)
    assert isinstance(protocol.told[-1][1], BrokenPipeError)


def test_all_callbacks_of_a_connection_share_a_context(own_loop):
    variable = contextvars.ContextVar("variable", default="outside")
    seen = []

    class Watching(Recorder):
        def connection_made(self, transport):
            variable.set("connection")

        def data_received(self, data):
            seen.append(variable.get())

        def connection_lost(self, exc):
            seen.append(variable.get())

    variable.set("maker")
    transport, _, theirs = connect(own_loop, Watching)
    transport.pause_reading()
    contextvars.copy_context().run(lambda: [variable.set("resumer"), transport.resume_reading()])
    theirs.send(b"data")
    run_turns(own_loop)
    transport.close()
    run_turns(own_loop)
    assert seen == ["connection", "connection"]
    assert variable.get() == "maker"
    theirs.close()


def test_memory_that_changes_after_a_write(own_loop):
    transport, _, theirs = connect(own_loop)
    memory = bytearray(b"before")
    view = memoryview(memory)

    def step():
        transport.write(memory)
        transport.write(view[:3])
        transport.writelines([view[3:]])
        memory[:] = b"after!"

    in_a_step(own_loop, step)
    assert is_there(theirs) == b"beforebefore"
    transport.abort()
    run_turns(own_loop)
    theirs.close()


def test_a_write_after_the_connection_is_lost_reaches_nobody(own_loop):
    # asyncio breaks here: its transport has no socket and no loop any more.
    transport, protocol, theirs = connect(own_loop)
    sent = bytes(1 << 22)
    transport.write(sent)
    # Closes when everything is sent, which is the writer's own doing.
    transport.close()
    received = 0
    while received < len(sent):
        run_turns(own_loop, 1)
        received += len(is_there(theirs) or b"")
    run_turns(own_loop)
    assert protocol.told[-1] == ("lost", None)
    theirs.close()
    # One of these has the number that the connection had.
    others = [end for _ in range(8) for end in socket.socketpair()]
    transport.write(b"for nobody")
    transport.writelines([b"for", b"nobody"])
    for end in others:
        end.setblocking(False)
        assert is_there(end) is None
    for end in others:
        end.close()


def test_a_paused_transport_that_nobody_holds_is_dropped(factory):
    loop = factory()
    transport, protocol, theirs = connect(loop)
    del protocol
    transport.pause_reading()
    gone = weakref.ref(transport)
    del transport
    with warnings.catch_warnings(record=True) as warned:
        warnings.simplefilter("always")
        gc.collect()
    assert any("unclosed transport" in str(warning.message) for warning in warned)
    # What the warning is about is in the list, and from 3.15 on a weak reference finds it there.
    warned.clear()
    gc.collect()
    assert gone() is None
    loop.close()
    theirs.close()


def test_recording_keeps_no_transport(own_loop):
    # The first callback of a kind gives the recorder its name.
    first = connect(own_loop)
    gone = weakref.ref(first[0])
    first[0].abort()
    run_turns(own_loop)
    first[2].close()
    del first
    assert gone() is None


def test_what_arrived_while_paused_is_read_in_the_turn_after_resuming(loop, connection):
    transport, protocol, theirs = connection
    transport.pause_reading()
    theirs.send(b"waiting")
    run_turns(loop)
    order = protocol.told = []
    transport.resume_reading()
    loop.call_soon(order.append, "soon")
    run_turns(loop, 1)
    run_turns(loop, 1)
    assert order == ["soon", b"waiting"]


def test_pausing_takes_back_what_was_reported_in_the_same_turn(loop, connection):
    transport, protocol, theirs = connection
    run_turns(loop)
    theirs.send(b"data")

    def step():
        transport.pause_reading()
        transport.resume_reading()
        protocol.told.append("resumed")

    protocol.told = []
    loop.call_soon(step)
    run_turns(loop, 1)
    assert protocol.told == ["resumed"]
    run_turns(loop, 2)
    assert protocol.told == ["resumed", b"data"]


def test_a_transport_refuses_to_share_its_descriptor(loop, connection):
    transport, _, _ = connection
    with pytest.raises(RuntimeError, match="is used by transport"):
        loop.add_reader(transport.get_extra_info("socket"), print)


def test_attributes_and_weak_references(loop, connection):
    transport, _, _ = connection
    transport.note = "mine"
    assert transport.note == "mine"
    assert weakref.ref(transport)() is transport
    written = []
    transport.write = written.append
    transport.write(b"patched")
    assert written == [b"patched"]
    assert isinstance(transport, asyncio.Transport)
