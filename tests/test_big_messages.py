"""Big messages are received straight into the object that they are handed on in: nobody can tell, on either loop.

After a message of 32 KiB the next one is expected to be as long, and what comes may be shorter, longer or nothing.
"""

import asyncio
import random
import socket
import sys
import tracemalloc

import pytest

import boucle
from conftest import FACTORIES, run_turns

BIG = 32 * 1024
LONGEST_READ = 256 * 1024
SIZES = [1, 7, 1000, BIG - 1, BIG, BIG + 1, 20_000, 40_000, 65_535, 65_536, 65_537, 100_000, 131_073]
COUNTS = [1, 100, BIG, 36_000, 65_536, 65_537, 100_000, 200_000, LONGEST_READ, 1_000_000]


def pattern(begin, size):
    """So many bytes of an endless text in which each place can be told from its neighbours."""
    first = begin // 8
    text = b"".join(b"%07d\n" % number for number in range(first, first + size // 8 + 2))
    return text[begin - first * 8 :][:size]


class Connection:
    """A stream and its other end, which sends the pattern."""

    def __init__(self, loop, module, limit=2**16):
        self.loop, self.module, self.sent = loop, module, 0
        ours, self.theirs = socket.socketpair()
        self.theirs.setsockopt(socket.SOL_SOCKET, socket.SO_SNDBUF, 1 << 20)
        self.theirs.setblocking(False)
        self.reader, self.writer = loop.run_until_complete(module.open_connection(sock=ours, limit=limit))

    def arrive(self, size, turns=3):
        """Send, and let it arrive. Returns how much was sent."""
        sent = self.theirs.send(pattern(self.sent, size))
        self.sent += sent
        run_turns(self.loop, turns)
        return sent

    def read(self, count):
        return self.loop.run_until_complete(self.reader.read(count))

    def expect_much(self, size=100_000):
        """From now on big messages are expected, and nothing is there; by who waits for so much last, too."""
        for _ in range(2):
            task = self.loop.create_task(self.reader.readexactly(size))
            run_turns(self.loop)
            assert self.arrive(size) == size
            assert self.loop.run_until_complete(task) == pattern(self.sent - size, size)

    def close(self):
        self.writer.transport.abort()
        self.theirs.close()
        run_turns(self.loop)


@pytest.fixture(params=["asyncio's", "own"])
def module(request, factory):
    """The module whose streams are tested."""
    if request.param == "asyncio's":
        return asyncio
    if factory is not boucle.new_event_loop:
        pytest.skip("boucle's streams need its loop")
    return boucle


@pytest.fixture
def connect(loop, module):
    made = []

    def connect(**options):
        made.append(Connection(loop, module, **options))
        return made[-1]

    yield connect
    for connection in made:
        connection.close()


def _run(loop, module, seed):
    """What a program of random sizes observes."""
    dice = random.Random(seed)
    connection = Connection(loop, module, limit=dice.choice([1000, 20_000, 65_536, 1 << 20]))
    reader, transport = connection.reader, connection.writer.transport
    seen, task, taken, size = [], None, 0, dice.choice(SIZES)
    looks = dice.random() < 0.3
    for _ in range(60):
        action = dice.choice(
            ["send", "send", "read", "read", "read", "exactly", "until", "line", "cancel", "other size"]
        )
        if action == "other size":
            size = dice.choice(SIZES)
        elif action == "send":
            seen.append(connection.arrive(size, dice.randrange(4)))
        elif action == "cancel" and task:
            task.cancel()
        elif task is None:
            count = dice.choice([size, *COUNTS])
            call = {"exactly": reader.readexactly, "until": reader.readuntil}.get(action, reader.read)
            argument = b"%07d\n" % ((taken + count) // 8) if action == "until" else count
            task = loop.create_task(reader.readline() if action == "line" else call(argument))
        run_turns(loop, dice.randrange(3))
        if task and task.done():
            outcome = "cancelled" if task.cancelled() else task.exception() or task.result()
            if isinstance(outcome, bytes):
                assert type(outcome) is bytes
                assert outcome == pattern(taken, len(outcome))
                taken += len(outcome)
                outcome = len(outcome)
            elif isinstance(outcome, ValueError):
                # readline() has thrown something away.
                taken = connection.sent
                seen.append(repr(outcome))
                break
            seen.append(repr(outcome))
            task = None
        seen.append((transport.is_reading(), reader._paused, reader.at_eof()))
        if looks and dice.random() < 0.2:
            seen.append(bytes(reader._buffer) == pattern(taken, len(reader._buffer)) and len(reader._buffer))
    if task:
        task.cancel()
        run_turns(loop, 2)
    else:
        rest = loop.create_task(reader.read())
        connection.theirs.close()
        data = loop.run_until_complete(rest)
        assert taken + len(data) == connection.sent or seen[-1].startswith("ValueError")
        assert data == pattern(connection.sent - len(data), len(data))
        seen.append(len(data))
    connection.close()
    return seen


@pytest.mark.parametrize("seed", range(60))
def test_programs_of_random_sizes(seed):
    observed = []
    for module, kind in ((asyncio, "asyncio"), (asyncio, "boucle"), (boucle, "boucle")):
        loop = FACTORIES[kind]()
        try:
            observed.append(_run(loop, module, seed))
        finally:
            loop.close()
    assert observed[1] == observed[0]
    assert observed[2] == observed[0]


@pytest.mark.parametrize("size", [1, 5000, 49_999, 50_000, 99_999, 100_000, 100_001, 136_000])
@pytest.mark.parametrize("count", [999, 36_000, 100_000, 1_000_000])
def test_what_comes_when_much_is_expected(connect, size, count):
    connection = connect()
    connection.expect_much()
    begin = connection.sent
    assert connection.arrive(size) == size
    got = b""
    while len(got) < size:
        data = connection.read(count)
        assert len(data) == min(count, size - len(got))
        got += data
    assert got == pattern(begin, size)


def test_what_was_read_stays_as_it_came(connect):
    connection = connect()
    kept = []
    for size in [100_000, 60_000, 40_000, 100_000, 17_000, 100_000, 100, 100_000]:
        for _ in range(2):
            connection.arrive(size)
            kept.append((connection.sent - size, connection.read(200_000)))
    assert [data == pattern(begin, len(data)) for begin, data in kept] == [True] * len(kept)


def test_the_end_when_much_is_expected(connect):
    connection = connect()
    connection.expect_much()
    task = connection.loop.create_task(connection.reader.read(100_000))
    run_turns(connection.loop)
    connection.theirs.shutdown(socket.SHUT_WR)
    assert connection.loop.run_until_complete(task) == b""
    assert connection.reader.at_eof()
    assert connection.reader._buffer == b""


def test_the_end_right_after_a_part(connect):
    connection = connect()
    connection.expect_much()
    task = connection.loop.create_task(connection.reader.readexactly(100_000))
    run_turns(connection.loop)
    connection.theirs.send(pattern(connection.sent, 36_000))
    connection.theirs.close()
    with pytest.raises(asyncio.IncompleteReadError) as caught:
        connection.loop.run_until_complete(task)
    assert caught.value.partial == pattern(connection.sent, 36_000)
    assert connection.reader.at_eof()


def test_a_reset_when_much_is_expected(loop, module):
    """TCP's, which a Unix socket does not have."""
    server = socket.create_server(("127.0.0.1", 0))
    theirs = socket.create_connection(server.getsockname())
    ours, _ = server.accept()
    reader, writer = loop.run_until_complete(module.open_connection(sock=ours))
    for _ in range(3):
        theirs.sendall(b"x" * 40_000)
        assert len(loop.run_until_complete(reader.readexactly(40_000))) == 40_000
    task = loop.create_task(reader.read(100_000))
    run_turns(loop)
    theirs.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, b"\1\0\0\0\0\0\0\0")
    theirs.close()
    with pytest.raises(ConnectionResetError):
        loop.run_until_complete(task)
    assert reader._buffer == b""
    writer.close()
    server.close()
    run_turns(loop)


def test_a_task_that_is_cancelled_loses_nothing(connect):
    connection = connect()
    connection.expect_much()
    begin = connection.sent
    task = connection.loop.create_task(connection.reader.read(60_000))
    run_turns(connection.loop)
    connection.arrive(100_000, turns=0)
    connection.loop.call_soon(task.cancel)
    run_turns(connection.loop, 1)
    task.cancel()
    run_turns(connection.loop)
    got = b"" if task.cancelled() else task.result()
    while len(got) < 100_000:
        got += connection.read(60_000)
    assert got == pattern(begin, 100_000)


@pytest.mark.parametrize("more", [0, 1, 5000])
def test_reading_pauses_at_the_same_length(connect, more):
    connection = connect(limit=20_000)
    reader, transport = connection.reader, connection.writer.transport
    connection.expect_much(36_000)
    connection.arrive(40_000 + more)
    assert transport.is_reading() is (more == 0)
    assert (reader._paused, len(reader._buffer)) == (more > 0, 40_000 + more)
    assert len(connection.read(20_000 + more - 1)) == 20_000 + more - 1
    assert transport.is_reading() is (more == 0)
    assert connection.read(1) == pattern(connection.sent - 20_001, 1)
    assert transport.is_reading()


@pytest.mark.parametrize("first", [1, 35_999, 36_000, 36_001, 99_999])
def test_the_buffer_shows_all_that_has_come(connect, first):
    """What is read in parts, and then looked at, whose parts have come in two chunks."""
    connection = connect()
    connection.expect_much()
    begin = connection.sent
    task = connection.loop.create_task(connection.reader.read(36_000))
    run_turns(connection.loop)
    connection.arrive(100_000)
    assert task.result() == pattern(begin, 36_000)
    taken = 36_000
    if first > 36_000:
        taken += len(connection.read(first - 36_000))
    assert connection.reader._buffer == pattern(begin + taken, 100_000 - taken)
    connection.reader._buffer.extend(b"more")
    assert connection.read(200_000) == pattern(begin + taken, 100_000 - taken) + b"more"


def test_the_buffer_before_anything_was_read(connect):
    connection = connect()
    connection.expect_much()
    connection.loop.create_task(connection.reader.read(36_000)).cancel()
    connection.arrive(100_000)
    task = connection.loop.create_task(connection.reader.readexactly(110_000))
    connection.arrive(5000)
    assert connection.reader._buffer == pattern(connection.sent - 105_000, 105_000)
    connection.arrive(5000)
    assert connection.loop.run_until_complete(task) == pattern(connection.sent - 110_000, 110_000)


def test_the_program_feeds_data_in_between(connect):
    connection = connect()
    connection.expect_much(36_000)
    task = connection.loop.create_task(connection.reader.readexactly(36_000))
    run_turns(connection.loop)
    connection.arrive(50_000)
    assert task.result() == pattern(connection.sent - 50_000, 36_000)
    connection.reader.feed_data(b"fed")
    connection.arrive(50_000)
    connection.reader.feed_data(b"again")
    assert connection.read(200_000) == (
        pattern(connection.sent - 64_000, 14_000) + b"fed" + pattern(connection.sent - 50_000, 50_000) + b"again"
    )


@pytest.mark.parametrize("at", [35_990, 35_998, 35_999, 36_000, 36_001, 60_000])
def test_a_separator_where_what_was_waited_for_ends(connect, at):
    connection = connect()
    connection.expect_much(36_000)
    task = connection.loop.create_task(connection.reader.read(36_000))
    run_turns(connection.loop)
    task.cancel()
    run_turns(connection.loop)
    message = b"x" * at + b"END" + b"y" * 100
    connection.theirs.send(message)
    run_turns(connection.loop)
    assert connection.loop.run_until_complete(connection.reader.readuntil(b"END")) == message[: at + 3]
    assert connection.read(1000) == b"y" * 100


def test_lines_of_a_big_message(connect):
    connection = connect()
    connection.expect_much(36_000)
    connection.arrive(64_000)
    lines = [connection.loop.run_until_complete(connection.reader.readline()) for _ in range(8000)]
    assert b"".join(lines) == pattern(connection.sent - 64_000, 64_000)


def test_a_buffer_that_is_borrowed(factory, module):
    """It cannot grow: the connection ends, on asyncio too, and the buffer has what it had."""
    loop = factory()
    reports = []
    loop.set_exception_handler(lambda loop, context: reports.append(context))
    connection = Connection(loop, module)
    connection.expect_much()
    buffer = connection.reader._buffer
    with memoryview(buffer):
        connection.arrive(100_000)
        assert len(buffer) == 0
    [report] = reports
    assert type(report["exception"]) is BufferError
    assert connection.writer.transport.is_closing()
    connection.close()
    loop.close()


@pytest.mark.skipif(sys.version_info < (3, 13), reason="before, a reader is fed by its protocol, with all that came")
@pytest.mark.parametrize("size", [60_000, 100_000])
def test_what_was_waited_for_is_not_copied(own_loop, size):
    """Its memory is all that a message needs, and that of the rest."""
    connection = Connection(own_loop, boucle)
    connection.expect_much(36_000)
    for _ in range(2):
        task = own_loop.create_task(connection.reader.read(36_000))
        run_turns(own_loop)
        message = pattern(connection.sent, size)
        tracemalloc.start()
        try:
            connection.theirs.send(message)
            run_turns(own_loop)
            first, rest = task.result(), connection.read(size)
            _, most = tracemalloc.get_traced_memory()
        finally:
            tracemalloc.stop()
        connection.sent += size
        assert first + rest == message
    assert most < size * 1.2
    connection.close()


class Receiving(asyncio.Protocol):
    """Keeps what it receives."""

    def __init__(self):
        self.received, self.ended = [], False

    def data_received(self, data):
        self.received.append(data)

    def eof_received(self):
        self.ended = True


@pytest.mark.parametrize("seed", range(10))
def test_a_protocol_receives_each_message_as_it_came(loop, seed):
    dice = random.Random(seed)
    ours, theirs = socket.socketpair()
    theirs.setsockopt(socket.SOL_SOCKET, socket.SO_SNDBUF, 1 << 20)
    transport, protocol = loop.run_until_complete(loop.create_connection(Receiving, sock=ours))
    theirs.setblocking(False)
    sent, messages = 0, []
    for _ in range(40):
        message = pattern(sent, dice.choice([*SIZES, 100_000, 100_000]))
        message = message[: theirs.send(message)]
        sent += len(message)
        messages.append(message)
        run_turns(loop, 2)
    assert {type(data) for data in protocol.received} == {bytes}
    assert protocol.received == messages
    assert [hash(data) for data in protocol.received] == [hash(message) for message in messages]
    theirs.shutdown(socket.SHUT_WR)
    run_turns(loop)
    assert (protocol.ended, transport.is_closing()) == (True, True)
    theirs.close()
    run_turns(loop)


def test_a_read_brings_no_more_than_it_did(loop):
    ours, theirs = socket.socketpair()
    theirs.setsockopt(socket.SOL_SOCKET, socket.SO_SNDBUF, 1 << 20)
    theirs.settimeout(10)
    transport, protocol = loop.run_until_complete(loop.create_connection(Receiving, sock=ours))
    theirs.sendall(b"x" * 100_000)
    run_turns(loop)
    theirs.sendall(b"x" * 300_000)
    run_turns(loop)
    assert [len(data) for data in protocol.received] == [100_000, LONGEST_READ, 300_000 - LONGEST_READ]
    transport.abort()
    theirs.close()
    run_turns(loop)
