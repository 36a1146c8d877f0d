"""boucle's own streams: asyncio's readers and writers, with a native half where they are hot.

Each class is asyncio's, with a native base before it: what the native half does not do, or not in this case, asyncio's
code does (``crates/boucle-python/src/streams.rs``). The functions are asyncio's, with these classes in the place of its
own.
"""

import asyncio
import types
from asyncio import streams

from . import _boucle
from ._loop import Loop

_LIMIT = 2**16


class StreamReader(_boucle.StreamReaderCore, asyncio.StreamReader):
    """asyncio's stream reader, read and fed natively."""


class StreamWriter(_boucle.StreamWriterCore, asyncio.StreamWriter):
    """asyncio's stream writer, which writes and drains natively."""


def _with_our_writer(function):
    """A function of asyncio's that makes a writer, with our class for it. One that somebody has put in its place stays
    as it is, and what it calls makes asyncio's writers."""
    if getattr(function, "__globals__", None) is not vars(streams):
        return function
    names = vars(streams) | {"StreamWriter": StreamWriter}
    return types.FunctionType(function.__code__, names, function.__name__, function.__defaults__, function.__closure__)


class StreamReaderProtocol(_boucle.StreamProtocolCore, asyncio.StreamReaderProtocol):
    """asyncio's protocol between a transport and a stream, which passes data on natively."""

    connection_made = _with_our_writer(asyncio.StreamReaderProtocol.connection_made)


_boucle._learn_streams(StreamReader, StreamReaderProtocol, StreamWriter)


def _loop_for(name):
    """The running loop. Raises RuntimeError where it is another's."""
    loop = asyncio.get_running_loop()
    if not isinstance(loop, Loop):
        kind = f"{type(loop).__module__}.{type(loop).__qualname__}"
        raise RuntimeError(f"boucle.{name} needs a loop of boucle's, and this is {kind}: use asyncio.{name} there")
    return loop


async def open_connection(host=None, port=None, *, limit=_LIMIT, **kwds):
    """Connect, as asyncio.open_connection does: (reader, writer), which are boucle's.

    The keywords are those of loop.create_connection; limit is the reader's. Raises RuntimeError if the running loop is
    not boucle's.
    """
    loop = _loop_for("open_connection")
    reader = StreamReader(limit=limit, loop=loop)
    protocol = StreamReaderProtocol(reader, loop=loop)
    transport, _ = await loop.create_connection(lambda: protocol, host, port, **kwds)
    return reader, StreamWriter(transport, protocol, reader, loop)


async def start_server(client_connected_cb, host=None, port=None, *, limit=_LIMIT, **kwds):
    """Serve, as asyncio.start_server does: client_connected_cb(reader, writer) is called with boucle's for each client.

    It may be a coroutine function. The keywords are those of loop.create_server; limit is the readers'. Raises
    RuntimeError if the running loop is not boucle's.
    """
    loop = _loop_for("start_server")
    return await loop.create_server(_factory(client_connected_cb, limit, loop), host, port, **kwds)


async def open_unix_connection(path=None, *, limit=_LIMIT, **kwds):
    """The same as open_connection, for a socket of Unix. The keywords are those of loop.create_unix_connection."""
    loop = _loop_for("open_unix_connection")
    reader = StreamReader(limit=limit, loop=loop)
    protocol = StreamReaderProtocol(reader, loop=loop)
    transport, _ = await loop.create_unix_connection(lambda: protocol, path, **kwds)
    return reader, StreamWriter(transport, protocol, reader, loop)


async def start_unix_server(client_connected_cb, path=None, *, limit=_LIMIT, **kwds):
    """The same as start_server, for a socket of Unix. The keywords are those of loop.create_unix_server."""
    loop = _loop_for("start_unix_server")
    return await loop.create_unix_server(_factory(client_connected_cb, limit, loop), path, **kwds)


def _factory(client_connected_cb, limit, loop):
    def make_protocol():
        return StreamReaderProtocol(StreamReader(limit=limit, loop=loop), client_connected_cb, loop=loop)

    return make_protocol
