"""The watchdog's face: ``boucle.watch()``, what it logs and whom it calls, and ``boucle.annotate()``.

The watchdog itself is native (it must work while C code holds the GIL). Its reporting thread calls :func:`tell` here
once while a step starves others, at the first moment it can, and once more when the step has returned.

What a person sees on a terminal: where the logger ``boucle`` or one above it has a handler, one WARNING, and another
when the block is over. Where the GIL cannot be had at once, a line on stderr comes first, and the WARNING says how late
it is. Where there is no handler, the lines on stderr are all there is.
"""

import asyncio
import contextlib
import contextvars
import dataclasses
import logging
import os
import sys
import time
from asyncio import futures

from . import _boucle
from ._loop import Loop

logger = logging.getLogger("boucle")

DEFAULT_THRESHOLD = 0.05
"""Seconds: a step that is longer starves the others."""

_PAUSE = 60.0
"""Seconds between two lines that the operating system gave the process no processor."""

_annotations: "contextvars.ContextVar[str | None]" = contextvars.ContextVar("boucle_annotations", default=None)

_watches: "dict[int, watch]" = {}


@dataclasses.dataclass(frozen=True)
class Stay:
    """A place that held a step, and for how long."""

    file: str
    line: int
    cause: str
    held: float
    """Seconds."""


@dataclasses.dataclass(frozen=True)
class Waiting:
    """A task or callback that was ready and had to wait."""

    task: str
    """The task's name; a callback's qualified name."""
    coroutine: str
    """The qualified name of a task's coroutine; empty for a callback."""
    waited: float
    """Seconds of the culprit's step."""


@dataclasses.dataclass(frozen=True)
class Incident:
    """A step that starves others, as a hook gets it: once while it goes on, and once more when it has returned."""

    id: "tuple[int, int]"
    """The same for both calls."""
    ended: bool
    """Whether the step has returned."""
    task: str
    """The task's name; a callback's qualified name."""
    coroutine: str
    """The qualified name of a task's coroutine; empty for a callback."""
    annotation: str
    """What annotate() and boucle.asgi.named() have said, such as ``GET /report``."""
    file: "str | None"
    """The file of the innermost frame of the user's own code, where the step was held longest."""
    line: "int | None"
    cause: str
    """What holds it: ``sleep``, ``socket``, ``file``, ``lock``, ``child process``, ``system call``, ``Python code``,
    ``C code holding the GIL``, ``waiting for the GIL``, ``garbage collector`` or ``unknown``."""
    detail: str
    """More about that: the peer of a socket."""
    duration: float
    """Seconds that it has held the loop: so far, or in all."""
    places: "tuple[Stay, ...]"
    """Where it was held, the longest first."""
    stack: "tuple[tuple[str, int, str], ...]"
    """File, line and function of each frame at the first look, the innermost first."""
    waiting: int
    """How many had to wait."""
    victims: "tuple[Waiting, ...]"
    """Who had to wait, the longest first."""
    late: float
    """Seconds that passed before the GIL could be had; 0 if it was soon."""


class watch:  # noqa: N801, used like a function
    """Watch the loops of all threads: report, while it goes on, each step longer than the threshold in seconds.

        boucle.watch(threshold=0.05)

    Each report is a WARNING on the logger ``boucle`` that says who blocks, at which line, why and who waits, and one
    more when the block is over; the same place is reported again only after ten seconds. ``on_starvation`` is called
    with an Incident at both times and for every block, in a thread of its own and in a copy of the culprit's context
    where that can be had; what it raises is logged. Ends with ``stop()``, or with a ``with`` block. Raises ValueError
    for a threshold below a millisecond, or if the recorder was turned off with BOUCLE_RECORD=0.
    """

    def __init__(self, threshold=DEFAULT_THRESHOLD, on_starvation=None):
        self.threshold = threshold
        self._on_starvation = on_starvation
        self._number = _boucle._watch(threshold, True)
        _watches[self._number] = self

    def stop(self):
        """Watch no longer. May be called again."""
        _watches.pop(self._number, None)
        _boucle._unwatch(self._number)

    def __enter__(self):
        return self

    def __exit__(self, *exception):
        self.stop()

    def __repr__(self):
        state = "active" if self._number in _watches else "stopped"
        return f"<boucle.watch {state}, threshold {self.threshold:g} s>"


class sampling:  # noqa: N801, used like a function
    """Inside of a ``with`` block steps longer than the threshold are looked at, for the chronology, and nothing is
    reported. Blocks nest. Does nothing where the recorder is off."""

    def __init__(self, threshold=DEFAULT_THRESHOLD):
        self._threshold = max(threshold, 0.001)
        self._number = None

    def start(self):
        """Begin, as the block does."""
        if self._number is None:
            try:
                self._number = _boucle._watch(self._threshold, False)
            except ValueError:
                self._number = None

    def stop(self):
        """End, as the block does."""
        if self._number is not None:
            _boucle._unwatch(self._number)
            self._number = None

    def __enter__(self):
        self.start()
        return self

    def __exit__(self, *exception):
        self.stop()


def annotate(**annotations):
    """Add to how reports name the task that runs: ``boucle.annotate(user=7)`` shows ``user=7``.

    Tasks that it makes from here on inherit it, by their context.
    """
    add(" ".join(f"{key}={value}" for key, value in annotations.items()))


def add(text):
    """Add a text to how reports name the task that runs."""
    former = _annotations.get()
    text = f"{former} {text}" if former else text
    _annotations.set(text)
    loop = asyncio._get_running_loop()
    if isinstance(loop, _boucle.LoopCore):
        _boucle._annotate(loop, text, _annotations)


# What the native half calls, in its reporting thread.


def tell(text, was_written, fields, loop):
    """A step starves others, or has: log the text, unless there is none, and call the hooks.

    ``was_written`` says that a line was written to stderr already; ``loop`` is the loop whose step still runs.
    """
    context = _context_of_current_task(loop)
    context.run(_tell, text, was_written, fields)


def _tell(text, was_written, fields):
    if text is not None:
        if logger.hasHandlers():
            logger.warning("%s", text)
        elif not was_written:
            _write(text)
    hooks = [one for one in list(_watches.values()) if one._on_starvation is not None]
    if not hooks:
        return
    incident = _incident(fields)
    for one in hooks:
        if incident.duration >= one.threshold:
            try:
                one._on_starvation(incident)
            except Exception:
                logger.exception("the hook on_starvation failed: %r", one._on_starvation)


def _incident(fields):
    return Incident(
        **fields
        | {
            "places": tuple(Stay(*place) for place in fields["places"]),
            "stack": tuple(fields["stack"]),
            "victims": tuple(Waiting(*victim) for victim in fields["victims"]),
        }
    )


def _context_of_current_task(loop):
    """A copy of the context of the task that runs in another thread's loop; of this thread's where there is none."""
    task = asyncio.current_task(loop) if loop is not None else None
    context = _boucle._context_of(task)
    if context is None and task is not None and hasattr(task, "get_context"):  # asyncio's own, from 3.12 on
        context = task.get_context()
    return contextvars.copy_context() if context is None else context.copy()


_last_told_of_no_processor = float("-inf")


def tell_no_processor(duration):
    """A step was long because the operating system gave the process no processor. Nobody is blamed."""
    global _last_told_of_no_processor
    now = time.monotonic()
    if now - _last_told_of_no_processor >= _PAUSE:
        _last_told_of_no_processor = now
        logger.info(
            "a step took %.0f ms because the operating system gave this process no processor: no code is to blame",
            duration * 1000,
        )


def _write(text):
    """Write a line to stderr as the native half would."""
    with contextlib.suppress(OSError):
        os.write(2, f"boucle: {text}\n".encode(errors="replace"))


def name(items):
    """The name and the coroutine of each item of a loop's queue: tasks, and handles, which may stand for a task."""
    return [_name(item) for item in items]


def _name(item):
    task = _task_of(item)
    if task is not None:
        coroutine = task.get_coro()
        return task.get_name(), getattr(coroutine, "__qualname__", None) or type(coroutine).__qualname__
    callback = getattr(item, "_callback", None)
    callback = getattr(callback, "func", callback)
    return getattr(callback, "__qualname__", None) or type(callback).__qualname__, ""


def _task_of(item):
    """The task that an item of the queue makes step, or that waits for what it does."""
    if isinstance(item, asyncio.Task):
        return item
    callback = getattr(item, "_callback", None)
    if callback is futures._set_result_unless_cancelled:  # type: ignore[attr-defined]
        # A sleep: its task waits for the future.
        future = item._args[0]
        waiters = [waiter for waiter, _ in future._callbacks or ()]
    else:
        waiters = [callback]
    for waiter in waiters:
        owner = getattr(waiter, "__self__", None)
        if isinstance(owner, asyncio.Task):
            return owner
    return None


_boucle._set_watchdog_face(sys.modules[__name__], Loop.run_forever.__code__)
