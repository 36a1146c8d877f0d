"""Readers and writers: who is called back when a descriptor is ready."""

import os
import selectors
import socket
import threading

import pytest


@pytest.fixture
def pair():
    ours, theirs = socket.socketpair()
    ours.setblocking(False)
    theirs.setblocking(False)
    yield ours, theirs
    ours.close()
    theirs.close()


def turns(loop, count=2):
    for _ in range(count):
        loop.call_soon(loop.stop)
        loop.run_forever()


def test_a_reader_is_called_as_long_as_there_is_data(loop, pair):
    ours, theirs = pair
    ran = []
    loop.add_reader(ours, ran.append, "readable")
    turns(loop)
    assert ran == []
    theirs.send(b"x")
    turns(loop, 3)
    assert ran == ["readable"] * 3
    ours.recv(10)
    turns(loop)
    assert ran == ["readable"] * 3
    assert loop.remove_reader(ours)


def test_a_descriptor_has_a_reader_and_a_writer(loop, pair):
    ours, theirs = pair
    theirs.send(b"x")
    ran = []
    loop.add_writer(ours.fileno(), ran.append, "writer")
    loop.add_reader(ours.fileno(), ran.append, "reader")
    turns(loop, 1)
    assert ran == ["reader", "writer"]
    assert loop.remove_writer(ours.fileno())
    turns(loop, 1)
    assert ran == ["reader", "writer", "reader"]
    assert loop.remove_reader(ours.fileno())
    turns(loop, 1)
    assert len(ran) == 3


def test_removing_twice_says_so(loop, pair):
    ours, _ = pair
    assert not loop.remove_reader(ours)
    loop.add_reader(ours, print)
    assert not loop.remove_writer(ours)
    assert loop.remove_reader(ours)
    assert not loop.remove_reader(ours)


def test_a_new_reader_replaces_the_old_one(loop, pair):
    ours, theirs = pair
    theirs.send(b"x")
    ran = []
    loop.add_reader(ours, ran.append, "old")
    loop.add_reader(ours, ran.append, "new")
    turns(loop, 1)
    assert ran == ["new"]
    loop.remove_reader(ours)


def test_a_hang_up_calls_both(loop, pair):
    ours, theirs = pair
    ran = []
    loop.add_reader(ours, ran.append, "reader")
    loop.add_writer(ours, ran.append, "writer")
    theirs.close()
    turns(loop, 1)
    assert ran == ["reader", "writer"]
    loop.remove_reader(ours)
    loop.remove_writer(ours)


def test_a_reader_can_remove_itself(loop, pair):
    ours, theirs = pair
    theirs.send(b"x")
    ran = []

    def once():
        ran.append(loop.remove_reader(ours))

    loop.add_reader(ours, once)
    turns(loop, 3)
    assert ran == [True]


def test_a_reader_removed_in_its_batch_is_not_called(loop, pair):
    ours, theirs = pair
    theirs.send(b"x")
    ran = []
    loop.add_reader(ours, ran.append, "reader")
    loop.call_soon(loop.remove_reader, ours)
    turns(loop)
    assert ran == []


def test_what_was_ready_runs_before_io_and_io_before_timers(loop, pair):
    ours, theirs = pair
    theirs.send(b"x")
    ran = []
    loop.add_reader(ours, ran.append, "io")
    loop.call_later(-1, ran.append, "timer")
    loop.call_soon(ran.append, "soon")
    turns(loop, 1)
    assert ran == ["soon", "io", "timer"]
    loop.remove_reader(ours)


def test_io_is_seen_while_callbacks_keep_coming(loop, pair):
    ours, theirs = pair
    turns_made = 0

    def again():
        nonlocal turns_made
        turns_made += 1
        if turns_made == 3:
            theirs.send(b"x")
        loop.call_soon(again)

    def readable():
        loop.remove_reader(ours)
        loop.stop()

    loop.add_reader(ours, readable)
    loop.call_soon(again)
    loop.run_forever()
    assert turns_made <= 5


def test_a_closed_descriptor_does_no_harm(loop, pair):
    ours, _ = pair
    number = ours.fileno()
    loop.add_writer(number, lambda: None)
    ours.close()
    turns(loop)
    assert loop.remove_writer(number)


@pytest.mark.parametrize("side", ["reader", "writer"])
def test_a_closed_file_object_is_still_known(loop, side):
    ours, theirs = socket.socketpair()
    add, remove = getattr(loop, f"add_{side}"), getattr(loop, f"remove_{side}")
    add(ours, print)
    key = loop._selector.get_map()[ours]
    assert key.fileobj is ours
    number = ours.fileno()
    ours.close()
    assert loop._selector.get_map()[ours].fd == number
    assert remove(ours) is True
    with pytest.raises(ValueError, match="Invalid file descriptor: -1"):
        remove(ours)
    with pytest.raises(ValueError, match="Invalid file descriptor: -1"):
        add(ours, print)
    theirs.close()


def test_a_reused_number_can_be_watched_again(own_loop):
    # asyncio's loop keeps the stale entry and never calls back.
    ran = []
    first, second = os.pipe()
    own_loop.add_reader(first, ran.append, "old")
    os.close(first)
    again, other = socket.socketpair()
    assert again.fileno() == first, "the kernel gives out the lowest free number"
    own_loop.add_reader(first, ran.append, "new")
    other.send(b"x")
    turns(own_loop, 1)
    assert ran == ["new"]
    own_loop.remove_reader(first)
    os.close(second)
    again.close()
    other.close()


def test_wrong_descriptors_raise_what_asyncio_raises(loop):
    with pytest.raises(ValueError, match="Invalid file object: 'x'"):
        loop.add_reader("x", print)
    with pytest.raises(ValueError, match="Invalid file descriptor: -1"):
        loop.add_reader(-1, print)
    with pytest.raises(PermissionError), open(__file__) as file:
        loop.add_reader(file, print)
    free = os.dup(0)
    os.close(free)
    with pytest.raises(OSError, match="Bad file descriptor"):
        loop.add_writer(free, print)


def test_a_transports_descriptor_is_refused(loop, pair):
    import asyncio

    ours, _ = pair
    transport, _ = loop.run_until_complete(loop.create_connection(asyncio.Protocol, sock=ours))
    with pytest.raises(RuntimeError, match="is used by transport"):
        loop.add_reader(ours, print)
    transport.close()
    turns(loop)


def test_a_reader_added_by_another_thread_while_the_loop_sleeps(loop, pair):
    ours, theirs = pair
    theirs.send(b"x")
    asleep = threading.Event()

    def add():
        asleep.wait()
        loop.add_reader(ours, loop.stop)

    thread = threading.Thread(target=add)
    thread.start()
    loop.call_soon(asleep.set)
    loop.run_forever()
    thread.join()
    loop.remove_reader(ours)


def test_the_selector_can_be_looked_at(loop, pair):
    ours, _ = pair
    loop.add_reader(ours.fileno(), print)
    key = loop._selector.get_key(ours.fileno())
    assert key.events == selectors.EVENT_READ
    assert key.data[0] is not None
    loop.remove_reader(ours.fileno())
