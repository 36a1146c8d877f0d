"""What is observed, as plain data: no addresses, no times of a clock, nothing that holds an object alive.

``exact`` is for subjects that promise asyncio's native tasks to the letter. Without it everything is left out in which
asyncio's own two implementations differ: the text of an invalid state, the context of exceptions, their tracebacks.
"""

import asyncio
import re
import sys
import weakref

LAST_WORDS = ("was never retrieved", "was destroyed but it is pending")

LOOP_FILES = ("asyncio/events.py", "asyncio/base_events.py", "boucle/_loop.py")

# How far the causes of an exception are followed, and the lists in a value.
DEPTH = 3
# Native tasks of 3.10 keep a cancellation and the newest part of its traceback apart.
COMPLETE_TRACEBACKS = sys.version_info >= (3, 11)


class Observer:
    """Writes the trace of one run."""

    def __init__(self, clock, exact):
        self.trace = []
        self.reports = []
        self.exact = exact
        # Set when a run is over: what coroutines do as they are destroyed depends on who holds them.
        self.sealed = False
        self._clock = clock
        self._labels = weakref.WeakKeyDictionary()
        self._exceptions = 0

    def label(self, thing, label):
        """Name a future or task, unless it has a name."""
        self._labels.setdefault(thing, label)

    def see(self, who, what, *values):
        """Write down an observation, with the time and the turn."""
        if self.sealed:
            return
        self.trace.append((round(self._clock.now), self._clock.turn, who, what, *map(self.plain, values)))

    def plain(self, value, depth=DEPTH):
        """A value without identity. What lies deep is left out: a gather of gathers holds one list very many times."""
        if value is None or isinstance(value, (bool, int, float, str)):
            return value
        if asyncio.isfuture(value):
            return self._labels.get(value, "?")
        if isinstance(value, BaseException):
            return self.exception(value)
        if isinstance(value, (list, tuple)):
            return tuple(self.plain(part, depth - 1) for part in value) if depth else "..."
        if isinstance(value, (set, frozenset)):
            return sorted(str(self.plain(part, depth - 1)) for part in value) if depth else "..."
        return type(value).__name__

    def text(self, text):
        """A text without what is different in each run."""
        return _without_addresses(text)

    def exception(self, error, depth=DEPTH, at_last=False):
        """An exception: type and text, which of those seen it is, where it was and what it came from.

        `at_last` leaves out what depends on the moment: the number, and the traceback, which may still grow.
        """
        text = f"{type(error).__name__}: {self.text(str(error))}"
        if isinstance(error, asyncio.InvalidStateError) and not self.exact:
            text = "InvalidStateError"
        seen = [text]
        if not at_last:
            if not hasattr(error, "_number"):
                error._number = self._exceptions = self._exceptions + 1
            seen.append(error._number)
        if not depth:
            return (*seen, "...")
        seen += [self.exception(part, depth - 1, at_last) for part in getattr(error, "exceptions", ())]
        if error.__cause__ is not None:
            seen += ["from", self.exception(error.__cause__, depth - 1, at_last)]
        if self.exact:
            if error.__context__ is not None:
                seen += ["suppressed" if error.__suppress_context__ else "during"]
                seen += [self.exception(error.__context__, depth - 1, at_last)]
            if not at_last and (COMPLETE_TRACEBACKS or not isinstance(error, asyncio.CancelledError)):
                seen.append(_functions(error.__traceback__))
        return tuple(seen)

    def state(self, thing):
        """Everything that can be asked of a future or task without changing it."""
        done = thing.done()
        state = [
            thing._state,
            done,
            thing.cancelled(),
            len(thing._callbacks or ()),
            thing._log_traceback,
            thing._cancel_message,
            thing._asyncio_future_blocking,
        ]
        if done and not thing.cancelled():
            # Not by exception(), after which nothing is reported.
            state += [self.plain(thing._exception), self.plain(thing._result)]
        if isinstance(thing, asyncio.Task) or hasattr(thing, "get_coro"):
            state += [thing.get_name(), thing._must_cancel, self.plain(thing._fut_waiter)]
            state += [thing.cancelling()] if hasattr(thing, "cancelling") else []
        return tuple(state)

    def handler(self, loop, context):
        """The loop's exception handler. What an object says as it dies is kept apart, for nobody promises when."""
        message = context["message"].partition("Exception in callback ")
        text = message[1] or self.text(message[0])
        last_words = any(words in text for words in LAST_WORDS)
        error = context.get("exception")
        seen = [text, sorted(context), error and self.exception(error, at_last=last_words)]
        task = context.get("task") or context.get("future")
        if hasattr(task, "get_name"):
            name = task.get_name()
            seen.append("Task-" if name.startswith("Task-") else name)
        if last_words:
            self.reports.append(repr(seen))
        else:
            self.see("loop", "reports", *seen)

    def unraisable(self, event):
        """sys.unraisablehook: what failed where nobody could be told."""
        self.reports.append(f"unraisable {type(event.exc_value).__name__}: {_without_addresses(str(event.exc_value))}")

    def warnings(self, caught):
        """Warnings about coroutines that never ran, of which there may be more than one."""
        for warning in caught:
            if issubclass(warning.category, RuntimeWarning):
                self.reports.append(str(warning.message).partition("\n")[0])


def _without_addresses(text):
    """A repr shows an address or a line: only its brackets remain."""
    return re.sub(r"<.*>", "<>", text, flags=re.DOTALL)


def _functions(traceback):
    """The functions that an exception went through, without the loop's own."""
    names = []
    while traceback is not None:
        code = traceback.tb_frame.f_code
        if not code.co_filename.endswith(LOOP_FILES):
            names.append(code.co_name)
        traceback = traceback.tb_next
    return " ".join(names)
