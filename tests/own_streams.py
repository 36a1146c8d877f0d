"""What the tests of boucle's own streams share: each runs with asyncio's on asyncio's loop, and with boucle's on ours.

What differs between versions of asyncio is observed with both and compared. A test file makes fixtures of the first
three functions.
"""

import asyncio
import gc
import socket

import pytest

import boucle
from conftest import FACTORIES, run_turns


def streams(factory):
    """The module whose streams are tested: that of the loop."""
    return boucle if factory is boucle.new_event_loop else asyncio


def connect(loop, streams):
    """Makes a connection: (reader, writer, the other end, which blocks)."""
    made = []

    def connect(limit=2**16):
        ours, theirs = socket.socketpair()
        theirs.settimeout(10)
        reader, writer = loop.run_until_complete(streams.open_connection(sock=ours, limit=limit))
        made.append((writer, theirs))
        return reader, writer, theirs

    yield connect
    for writer, theirs in made:
        writer.transport.abort()
        theirs.close()
    run_turns(loop)


def reader(loop, streams):
    """A reader without a connection."""
    return streams.StreamReader(loop=loop, limit=10)


def both(observe):
    """What a coroutine function observes with boucle's streams on our loop. It must be the same with asyncio's."""
    observed = []
    for module, new_loop in zip((asyncio, boucle), FACTORIES.values(), strict=True):
        loop = new_loop()
        try:
            observed.append(loop.run_until_complete(observe(module)))
        finally:
            run_turns(loop)
            loop.close()
    assert observed[1] == observed[0]
    return observed[1]


def step(coroutine):
    """One step of a coroutine: (what it yields, None) or (None, what it returns)."""
    try:
        return coroutine.send(None), None
    except StopIteration as stop:
        return None, stop.value


def forget(make):
    """Makes something, and lets go of it."""
    make()
    gc.collect()


def failure_of(call):
    with pytest.raises(Exception) as caught:  # noqa: PT011
        call()
    return type(caught.value), str(caught.value)
