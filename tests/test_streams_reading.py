"""boucle's own streams: what is read."""

import asyncio
import socket
import sys

import pytest

import own_streams
from conftest import run_turns
from own_streams import both, step

TUPLES_OF_SEPARATORS = sys.version_info >= (3, 13)
streams = pytest.fixture(own_streams.streams)
connect = pytest.fixture(own_streams.connect)
reader = pytest.fixture(own_streams.reader)


class TestReading:
    def test_parts_of_what_arrives(self, loop, connect):
        reader, _, theirs = connect()
        theirs.send(b"abcdefgh")
        assert loop.run_until_complete(reader.read(3)) == b"abc"
        assert loop.run_until_complete(reader.read(100)) == b"defgh"
        task = loop.create_task(reader.read(100))
        run_turns(loop)
        assert not task.done()
        theirs.send(b"later")
        assert loop.run_until_complete(task) == b"later"

    def test_up_to_the_end(self, loop, connect):
        reader, _, theirs = connect(limit=4)
        task = loop.create_task(reader.read())
        theirs.send(b"0123456789")
        run_turns(loop)
        theirs.send(b"more")
        theirs.shutdown(socket.SHUT_WR)
        assert loop.run_until_complete(task) == b"0123456789more"
        assert reader.at_eof()
        assert loop.run_until_complete(reader.read(5)) == b""
        assert loop.run_until_complete(reader.read()) == b""

    def test_nothing_is_read_at_once(self, loop, reader):
        assert step(reader.read(0)) == (None, b"")
        assert step(reader.readexactly(0)) == (None, b"")

    def test_exactly(self, loop, connect):
        reader, _, theirs = connect()
        task = loop.create_task(reader.readexactly(10))
        for part in (b"012", b"345", b"6789ab"):
            assert not task.done()
            theirs.send(part)
            run_turns(loop)
        assert task.result() == b"0123456789"
        assert loop.run_until_complete(reader.readexactly(2)) == b"ab"

    def test_exactly_what_does_not_come(self, loop, connect):
        reader, _, theirs = connect()
        task = loop.create_task(reader.readexactly(10))
        theirs.send(b"012")
        theirs.close()
        with pytest.raises(asyncio.IncompleteReadError) as caught:
            loop.run_until_complete(task)
        assert (caught.value.partial, caught.value.expected) == (b"012", 10)
        assert str(caught.value) == "3 bytes read on a total of 10 expected bytes"
        assert reader._buffer == b""

    def test_a_negative_number(self, loop, reader):
        with pytest.raises(ValueError, match="readexactly size can not be less than zero"):
            loop.run_until_complete(reader.readexactly(-1))

    def test_data_in_memory_of_any_kind(self, loop, reader):
        for data in (b"one ", bytearray(b"two "), memoryview(b"three"), b""):
            reader.feed_data(data)
        assert loop.run_until_complete(reader.read(100)) == b"one two three"

    def test_what_is_read_does_not_change(self, loop, reader):
        reader.feed_data(b"first")
        data = loop.run_until_complete(reader.read(5))
        reader.feed_data(b"second")
        assert (type(data), data) == (bytes, b"first")

    def test_no_data_after_the_end(self, reader):
        reader.feed_eof()
        with pytest.raises(AssertionError, match="feed_data after feed_eof"):
            reader.feed_data(b"more")

    def test_iteration(self, loop, connect):
        reader, _, theirs = connect()

        async def lines():
            return [line async for line in reader]

        theirs.send(b"one\ntwo\n\nend")
        theirs.close()
        assert loop.run_until_complete(lines()) == [b"one\n", b"two\n", b"\n", b"end"]


class TestSeparators:
    def test_lines(self, loop, connect):
        reader, _, theirs = connect()
        theirs.send(b"one\ntwo\nth")
        assert loop.run_until_complete(reader.readline()) == b"one\n"
        assert loop.run_until_complete(reader.readuntil()) == b"two\n"
        task = loop.create_task(reader.readline())
        run_turns(loop)
        theirs.send(b"ree\nfour")
        assert loop.run_until_complete(task) == b"three\n"
        theirs.close()
        assert loop.run_until_complete(reader.readline()) == b"four"
        assert loop.run_until_complete(reader.readline()) == b""

    @pytest.mark.parametrize("parts", [[b"abEN", b"DEND"], [b"a", b"bE", b"N", b"D", b"END"], [b"abENDEND"]])
    def test_a_separator_in_parts(self, loop, reader, parts):
        task = loop.create_task(reader.readuntil(b"END"))
        for part in parts:
            run_turns(loop)
            reader.feed_data(part)
        run_turns(loop)
        assert task.result() == b"abEND"
        assert step(reader.readuntil(b"END")) == (None, b"END")

    def test_one_that_does_not_come(self, loop, reader):
        reader.feed_data(b"abEN")
        reader.feed_eof()
        with pytest.raises(asyncio.IncompleteReadError) as caught:
            loop.run_until_complete(reader.readuntil(b"END"))
        assert (caught.value.partial, caught.value.expected) == (b"abEN", None)
        assert reader.at_eof()

    @pytest.mark.parametrize(
        ("data", "text", "consumed"),
        [
            (b"0123456789abcdef", "Separator is not found, and chunk exceed the limit", 16),
            (b"0123456789abcdef\n", "Separator is found, but chunk is longer than limit", 16),
        ],
    )
    def test_one_that_comes_late(self, loop, reader, data, text, consumed):
        reader.feed_data(data)
        with pytest.raises(asyncio.LimitOverrunError, match=text) as caught:
            loop.run_until_complete(reader.readuntil())
        assert caught.value.consumed == consumed
        assert reader._buffer == data
        with pytest.raises(ValueError, match=text):
            loop.run_until_complete(reader.readline())
        assert reader._buffer == b""

    def test_one_just_within_the_limit(self, loop, reader):
        reader.feed_data(b"0123456789\n")
        assert loop.run_until_complete(reader.readline()) == b"0123456789\n"

    def test_a_line_that_is_too_long_once_more_has_come(self, loop, reader):
        task = loop.create_task(reader.readline())
        for part in (b"01234567", b"89abc", b"d\nrest"):
            run_turns(loop)
            reader.feed_data(part)
        run_turns(loop)
        assert isinstance(task.exception(), ValueError)
        assert reader._buffer == b"d\nrest"

    def test_separators_that_are_none(self):
        async def observe(streams):
            reader = streams.StreamReader(loop=asyncio.get_running_loop(), limit=10)
            reader.feed_data(b"abcdef")
            seen = []
            for separator in (b"", "text", None, (), (b"",), 1):
                try:
                    await reader.readuntil(separator)
                except Exception as error:
                    seen.append((type(error), str(error)))
            return seen

        assert len(both(observe)) == 6

    def test_separators_of_other_kinds(self, loop, reader):
        reader.feed_data(b"a-b")
        assert loop.run_until_complete(reader.readuntil(bytearray(b"-"))) == b"a-"

    @pytest.mark.skipif(not TUPLES_OF_SEPARATORS, reason="from Python 3.13 on")
    def test_several_at_once(self, loop, reader):
        reader.feed_data(b"a,b;c")
        assert loop.run_until_complete(reader.readuntil((b";", b","))) == b"a,"
        assert loop.run_until_complete(reader.readuntil((b"--", b";"))) == b"b;"
