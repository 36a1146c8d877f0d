"""What is asyncio's own: methods of its selector loop, borrowed one by one.

``Loop`` derives from ``asyncio.BaseEventLoop``, not from the selector loop: that one brings constructors, transports
and a way to wait that are not ours. What is cold in it, and follows the version of Python that runs, is borrowed as
it is. In Python 3 a method is a plain function, which knows nothing of its class. The exceptions are methods that say
``super()``: those are told another class, or written anew here, and say so.
"""

import collections
import contextlib
import functools
import sys
import types
import warnings
from asyncio import base_events, selector_events, unix_events

_Selecting = selector_events.BaseSelectorEventLoop
_Unix = unix_events._UnixSelectorEventLoop


class Descriptors:
    """Readers and writers for programs: checks around what the native half does."""

    _ensure_fd_no_transport = _Selecting._ensure_fd_no_transport
    add_reader = _Selecting.add_reader
    remove_reader = _Selecting.remove_reader
    add_writer = _Selecting.add_writer
    remove_writer = _Selecting.remove_writer


@functools.cache
def _attempts_for_no_backlog():
    """How often asyncio tries to accept in a turn where the backlog is 0: newer versions once."""
    attempts = []

    class Listener:
        def accept(self):
            attempts.append(self)
            raise BlockingIOError

    _Selecting._accept_connection(None, None, Listener(), backlog=0)
    return len(attempts)


@functools.cache
def _closes_refused():
    """Whether asyncio closes a connected socket of which it cannot make a transport: newer versions do."""
    closed = []

    class Refused:
        def setblocking(self, _):
            raise BlockingIOError

        def close(self):
            closed.append(self)

    with contextlib.suppress(BlockingIOError):
        base_events.BaseEventLoop._create_connection_transport(None, Refused(), None, None, None).send(None)
    return bool(closed)


@functools.cache
def _counts_last_write():
    """Whether a transport of asyncio's that closes has lost its connection once its last bytes are sent, so that
    connection_lost() can write nothing any more: newer versions."""

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
    write = getattr(selector_events._SelectorSocketTransport, "_write_send", sent.ignore)
    write(sent)
    return sent._conn_lost > 0


class Connected:
    """What asyncio does with sockets that are connected."""

    _closes_refused = staticmethod(_closes_refused)
    _counts_last_write = staticmethod(_counts_last_write)


class Serving:
    """Listening sockets, and how servers and sockets of Unix are made. Accepting is native."""

    _start_serving = _Selecting._start_serving

    _attempts_for_no_backlog = staticmethod(_attempts_for_no_backlog)
    create_unix_connection = _Unix.create_unix_connection
    create_unix_server = _Unix.create_unix_server


class Stopping:
    """How a listening socket is given back, below what Unix adds from 3.13 on: the file of a socket goes too."""

    _stop_serving = _Selecting._stop_serving


def _saying_super_in(class_, function):
    """A function of asyncio's that says super(), for a class of ours. The code stays the same: by its place others
    know what may block in it."""
    if "__class__" not in function.__code__.co_freevars:
        return function
    cells = zip(function.__code__.co_freevars, function.__closure__, strict=True)
    closure = tuple(types.CellType(class_) if name == "__class__" else cell for name, cell in cells)
    return types.FunctionType(function.__code__, function.__globals__, function.__name__, None, closure)


class Unserving(Stopping):
    """How a server of Unix gives its socket back."""


Unserving._stop_serving = _saying_super_in(Unserving, _Unix._stop_serving)


class Signals:
    """Handlers of signals: asyncio's bookkeeping. When signals wake the loop is said in ``_loop``."""

    _read_from_self = _Selecting._read_from_self
    _process_self_data = _Unix._process_self_data
    _handle_signal = _Unix._handle_signal
    _check_signal = _Unix._check_signal
    add_signal_handler = _Unix.add_signal_handler
    remove_signal_handler = _Unix.remove_signal_handler


class Closing:
    """How a loop is closed."""

    def close(self):
        """Close the loop: its descriptors, the executor and the handlers of signals. It must not run.

        Written anew: asyncio's say super().
        """
        if self.is_running():
            raise RuntimeError("Cannot close a running event loop")
        if self.is_closed():
            return
        self._close_self_pipe()
        base_events.BaseEventLoop.close(self)
        self._selector.close()
        self._selector = None
        if not sys.is_finalizing():
            for number in list(self._signal_handlers):
                self.remove_signal_handler(number)
        elif self._signal_handlers:
            warnings.warn(
                f"Closing the loop {self!r} on interpreter shutdown stage, skipping signal handlers removal",
                ResourceWarning,
                stacklevel=2,
                source=self,
            )
            self._signal_handlers.clear()


class Inherited(Descriptors, Connected, Serving, Unserving, Signals, Closing):
    """All of it."""
