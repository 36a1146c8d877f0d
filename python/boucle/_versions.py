"""What asyncio of the running Python does, where versions differ: told by the names its code uses, or tried out.

The version's number would not do: much of it came with releases that mend.

A program may have put functions of its own into asyncio before boucle was imported. What they do says nothing of the
version, and they are not called from here: the original is read from the file that it came from.
"""

import collections
import contextlib
import functools
import sys
import types
from asyncio import base_events, selector_events, sslproto


def original(class_, name):
    """A method of a class of asyncio's as it was written; None where it has none of this name."""
    for owner in class_.__mro__:
        module = sys.modules[owner.__module__]
        found = vars(owner).get(name)
        if found is None or not module.__name__.startswith("asyncio."):
            continue
        if getattr(found, "__globals__", None) is vars(module):
            return found
        code = module.__spec__.loader.get_code(module.__name__)
        for part in owner.__name__, name:
            code = next((const for const in code and code.co_consts if getattr(const, "co_name", None) == part), None)
        if code is not None:
            # A closure is that of super().
            cells = (types.CellType(owner),) * len(code.co_freevars)
            return types.FunctionType(code, vars(module), name, (None,) * code.co_argcount, cells)
    return None


def _names(class_, method):
    """The names that a method uses, in the order in which it first does; none where there is no such method."""
    return method.__code__.co_names if (method := original(class_, method)) else ()


def _uses_first(names, first, second):
    return first in names and (second not in names or names.index(first) < names.index(second))


_names_of_writelines = _names(selector_events._SelectorSocketTransport, "writelines")

# Whether writelines() may pause the protocol: it forgets to in some.
WRITELINES_PAUSES = not {"_maybe_pause_protocol", "write"}.isdisjoint(_names_of_writelines)

# Whether it tries to send also while the descriptor is not known to be writable.
WRITELINES_TRIES = "write" not in _names_of_writelines

# Whether a stream transport that was forgotten tells its server.
FORGOTTEN_DETACHES = "_detach" in _names(selector_events._SelectorSocketTransport, "__del__")

# Whether a transport of TLS asks the one below whether it is closing.
ASKS_BELOW = original(sslproto.SSLProtocol, "_is_transport_closing") is not None

# Whether the time to say goodbye over TLS goes on until what waits below is written.
FLUSHES_IN_TIME = "call_later" in _names(sslproto.SSLProtocol, "_on_shutdown_complete")

# Whether start_tls() hands on what a stream reader got before its server went over to TLS: the client's first words.
TAKES_WHAT_WAS_READ = "StreamReaderProtocol" in _names(base_events.BaseEventLoop, "start_tls")

_names_of_sending = _names(base_events.BaseEventLoop, "_sendfile_fallback")

# Whether a file of which nothing is sent is moved too.
SEEKS_ALWAYS = _uses_first(_names_of_sending, "hasattr", "seek")

# Whether a file is sent by writing and then waiting, not by waiting and then writing.
WRITES_FIRST = _uses_first(_names_of_sending, "write", "drain")


@functools.cache
def attempts_for_no_backlog():
    """How often a loop tries to accept in a turn where the backlog is 0: newer ones once."""
    attempts = []

    class Listener:
        def accept(self):
            attempts.append(self)
            raise BlockingIOError

    original(selector_events.BaseSelectorEventLoop, "_accept_connection")(None, None, Listener(), backlog=0)
    return len(attempts)


@functools.cache
def closes_refused():
    """Whether a loop closes a connected socket of which it cannot make a transport: newer ones do."""
    closed = []

    class Refused:
        def setblocking(self, _):
            raise BlockingIOError

        def close(self):
            closed.append(self)

    connect = original(base_events.BaseEventLoop, "_create_connection_transport")
    with contextlib.suppress(BlockingIOError):
        connect(None, Refused(), None, None, None).send(None)
    return bool(closed)


@functools.cache
def counts_last_write():
    """Whether a transport that closes has lost its connection once its last bytes are sent, so that connection_lost()
    can write nothing any more: newer ones."""

    class Sent:
        _buffer_size = 1
        _closing = True
        _conn_lost = 0
        _empty_waiter = _sock_fd = None

        def send(self, data):
            return len(data)

        def ignore(self, *_):
            pass

        _maybe_resume_protocol = _remove_writer = _call_connection_lost = ignore

    sent = Sent()
    sent._buffer = collections.deque([b"x"])
    sent._sock = sent._loop = sent
    if write := original(selector_events._SelectorSocketTransport, "_write_send"):
        write(sent)
    return sent._conn_lost > 0
