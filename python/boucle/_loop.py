"""The loop: native where it is hot, asyncio's own where it is not.

``Loop`` derives from the native ``LoopCore`` and in the end from asyncio's ``BaseEventLoop``. What is called all the
time (``call_soon``, timers, readers and writers, the turns) is found in ``LoopCore``; in between stand parts by
theme, and what is borrowed from asyncio's selector loop, so that it follows the version of Python that runs
(``_inherited``). This file is the seam: how a run begins and ends, where signals come in, and stand-ins for the three
structures that inherited code reaches for (``_ready``, ``_scheduled``, ``_selector``).
"""

import asyncio
import functools
import inspect
import signal
import socket
import sys
import threading
import weakref
from asyncio import events, format_helpers
from asyncio.log import logger

from . import _boucle, _forking
from ._addresses import Addresses
from ._children import Children
from ._connecting import Connecting
from ._inherited import Inherited
from ._sendfile import Sendfile
from ._standins import Ready, Scheduled, Selector
from ._tls import TLS


@functools.cache
def _debug_shows_more():
    """Whether this version shows the arguments of a callback in debug mode only, as newer ones do."""
    return "debug" in inspect.signature(format_helpers._format_callback_source).parameters


class Loop(_boucle.LoopCore, Addresses, Children, Connecting, Sendfile, TLS, Inherited, asyncio.BaseEventLoop):
    """asyncio's event loop, on boucle."""

    def __init__(self):
        # Until here it counts as closed: a loop whose reactor cannot be opened does not announce itself as unclosed.
        self._open()
        super().__init__()
        self._selector = Selector(self)
        self._ssock = self._csock = None
        self._transports = weakref.WeakValueDictionary()
        self._signal_handlers = {}
        self._unix_server_sockets = {}
        _forking.remember(self)

    # Running.

    def run_forever(self):
        """Run until stop() is called."""
        self._run_forever_setup()
        try:
            former = self._take_signals()
            try:
                self._run(threading.current_thread().name)
            finally:
                self._give_signals_back(former)
        finally:
            self._run_forever_cleanup()

    if not hasattr(asyncio.BaseEventLoop, "_run_forever_setup"):  # before 3.13

        def _run_forever_setup(self):
            """Prepare a run: the thread, the running loop, the hooks of asynchronous generators."""
            self._check_closed()
            self._check_running()
            self._set_coroutine_origin_tracking(self._debug)
            self._old_agen_hooks = sys.get_asyncgen_hooks()
            self._thread_id = threading.get_ident()
            sys.set_asyncgen_hooks(firstiter=self._asyncgen_firstiter_hook, finalizer=self._asyncgen_finalizer_hook)
            events._set_running_loop(self)

        def _run_forever_cleanup(self):
            """Undo what the setup did."""
            self._stopping = False
            self._thread_id = None
            events._set_running_loop(None)
            self._set_coroutine_origin_tracking(False)
            sys.set_asyncgen_hooks(*self._old_agen_hooks)

    def _run_once(self):
        raise RuntimeError(
            "a boucle loop runs its turns natively and cannot be run from inside of a callback; "
            "remove what calls loop._run_once() (nest_asyncio does), or use asyncio.SelectorEventLoop for it"
        )

    def metrics(self):
        """What this loop did so far, in numbers: see boucle.metrics.Metrics. Any thread may ask.

        Raises ValueError if the recorder is off (BOUCLE_RECORD=0).
        """
        from . import metrics

        return metrics.of_loop(self)

    # Signals. A signal may be taken by any thread, and the kernel then leaves a sleeping loop asleep. So during every
    # run on the main thread Python writes the number of each signal to our socket, and the sleep ends at once.

    def _open_self_pipe(self):
        """Make the sockets, when the first run or handler needs them."""
        if self._csock is None:
            self._ssock, self._csock = socket.socketpair()
            self._ssock.setblocking(False)
            self._csock.setblocking(False)
            self._set_signals(self._ssock.fileno(), False)
            self._add_reader(self._ssock.fileno(), self._read_from_self)

    def _close_self_pipe(self):
        if self._csock is not None:
            # The garbage collector may have taken the sockets before the loop, and has closed them then.
            if (number := self._ssock.fileno()) >= 0:
                self._remove_reader(number)
            self._set_signals(None, False)
            self._ssock.close()
            self._csock.close()
            self._ssock = self._csock = None

    def _take_signals(self):
        """Make signals wake this loop. Returns the descriptor that they went to before, None where nothing was done."""
        if threading.current_thread() is not threading.main_thread():
            return None
        self._open_self_pipe()
        return signal.set_wakeup_fd(self._csock.fileno(), warn_on_full_buffer=False)

    def _give_signals_back(self, former):
        # With handlers of ours in place, a signal that comes after the run is for the next run, as on asyncio.
        if former is None or self._signal_handlers:
            return
        ours = self._csock.fileno()
        current = signal.set_wakeup_fd(former if former != ours else -1)
        if current != ours:
            # Someone else took the signals during the run, and keeps them.
            signal.set_wakeup_fd(current)

    def add_signal_handler(self, sig, callback, *args):
        """Run callback(*args) in the loop whenever the signal comes. Raises ValueError for a number that is no signal,
        RuntimeError where it cannot be caught or this is not the main thread."""
        self._check_closed()
        self._open_self_pipe()
        super().add_signal_handler(sig, callback, *args)
        self._set_signals(self._ssock.fileno(), True)

    def remove_signal_handler(self, sig):
        """Undo add_signal_handler. Whether there was a handler."""
        removed = super().remove_signal_handler(sig)
        if removed and not self._signal_handlers and not self.is_closed():
            self._set_signals(self._ssock.fileno(), False)
            if self.is_running():
                # asyncio has stopped the writing; this run still wants to be woken.
                signal.set_wakeup_fd(self._csock.fileno(), warn_on_full_buffer=False)
        return removed

    # What the native half asks for.

    def _callback_failed(self, handle, exception):
        """A callback raised: tell the exception handler, as asyncio's Handle._run does."""
        options = {"debug": self._debug} if _debug_shows_more() else {}
        callback = format_helpers._format_callback_source(handle._callback, handle._args, **options)
        context = {"message": f"Exception in callback {callback}", "exception": exception, "handle": handle}
        if handle._source_traceback:
            context["source_traceback"] = handle._source_traceback
        self.call_exception_handler(context)

    def _callback_ran(self, handle, seconds):
        """Debug mode: a callback has run. Says so if it was slow, as asyncio does."""
        if seconds >= self.slow_callback_duration:
            logger.warning("Executing %s took %.3f seconds", asyncio.base_events._format_handle(handle), seconds)

    # Stand-ins.

    @property
    def _ready(self):
        return Ready(self)

    @_ready.setter
    def _ready(self, queue):
        """asyncio's constructor assigns a queue of its own, which nothing would read."""

    @property
    def _scheduled(self):
        return Scheduled(self)

    @_scheduled.setter
    def _scheduled(self, heap):
        """The same."""


def new_event_loop():
    """A new loop, of type boucle.Loop."""
    return Loop()
