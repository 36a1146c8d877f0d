"""What is asyncio's own: methods of its selector loop, borrowed one by one.

``Loop`` derives from ``asyncio.BaseEventLoop``, not from the selector loop: that one brings constructors, transports
and a way to wait that are not ours. What is cold in it, and follows the version of Python that runs, is borrowed as
it is. In Python 3 a method is a plain function, which knows nothing of its class. The exceptions are methods that say
``super()``: those are told another class, or written anew here, and say so.
"""

import sys
import types
import warnings
from asyncio import base_events, selector_events, unix_events

from ._versions import original

_Selecting = selector_events.BaseSelectorEventLoop
_Unix = unix_events._UnixSelectorEventLoop


class Descriptors:
    """Readers and writers for programs: checks around what the native half does."""

    _ensure_fd_no_transport = _Selecting._ensure_fd_no_transport
    add_reader = _Selecting.add_reader
    remove_reader = _Selecting.remove_reader
    add_writer = _Selecting.add_writer
    remove_writer = _Selecting.remove_writer


class Serving:
    """Listening sockets, and how servers and sockets of Unix are made. Accepting is native."""

    _start_serving = _Selecting._start_serving

    create_unix_connection = _Unix.create_unix_connection
    create_unix_server = _Unix.create_unix_server


class Stopping:
    """How a listening socket is given back, below what Unix adds from 3.13 on: the file of a socket goes too."""

    _stop_serving = _Selecting._stop_serving


def _saying_super_in(class_, asyncios, name):
    """A function of a class of asyncio's, for a class of ours where it says super(). The code stays the same: by its
    place others know what may block in it. One that somebody has put around it could not call it, and is left out."""
    function = original(asyncios, name)
    if "__class__" not in function.__code__.co_freevars:
        return getattr(asyncios, name)
    cells = zip(function.__code__.co_freevars, function.__closure__, strict=True)
    closure = tuple(types.CellType(class_) if name == "__class__" else cell for name, cell in cells)
    return types.FunctionType(function.__code__, function.__globals__, function.__name__, None, closure)


class Unserving(Stopping):
    """How a server of Unix gives its socket back."""


Unserving._stop_serving = _saying_super_in(Unserving, _Unix, "_stop_serving")


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


class Inherited(Descriptors, Serving, Unserving, Signals, Closing):
    """All of it."""
