"""Calls in the only thread of an executor: when they run, and which way they have taken to it."""

import contextlib
import sys
import threading

from conftest import FailureError

HAS_NATIVE = sys.version_info < (3, 14)
"""Whether calls can be native. From 3.14 on asyncio's own way is taken."""


@contextlib.contextmanager
def occupied(executor):
    """The only thread of an executor is busy, until the event that this gives is set."""
    free = threading.Event()
    began = threading.Event()
    executor.submit(lambda: (began.set(), free.wait()))
    began.wait()
    try:
        yield free
    finally:
        free.set()


def let_finish(executor):
    """Waits, outside of the loop, until the only thread of an executor has done all that was queued."""
    executor.submit(int).result()


def source(future):
    """What a future is chained to."""
    ((callback, _),) = future._callbacks
    cells = zip(callback.__code__.co_freevars, callback.__closure__, strict=True)
    return next(cell.cell_contents for name, cell in cells if name == "source")


def is_native(future):
    return type(source(future)).__name__ == "Job"


def wrapped(function):
    """A function that only calls another one."""

    def wrapper(*args, **options):
        return function(*args, **options)

    return wrapper


def fail(*error):
    """Raises an error, or one of its own."""
    raise error[0] if error else FailureError("why")
