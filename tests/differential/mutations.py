"""Mistakes that an implementation of tasks could make, as changed lines of asyncio's own in Python.

The test of the tester looks for each of them. A mutation names the class, a piece of its source, what stands there
instead, and the first Python whose source has it.
"""

import asyncio.futures
import asyncio.tasks
import inspect
import sys
import types
from typing import NamedTuple


class Mutation(NamedTuple):
    owner: str
    original: str
    mutated: str
    since: tuple[int, int] = (3, 10)


MUTATIONS = {
    "cancel-message-dropped": Mutation(
        "Task",
        "if self._fut_waiter.cancel(msg=msg):",
        "if self._fut_waiter.cancel():",
    ),
    "cancel-lost-if-the-waiter-is-done": Mutation(
        "Task",
        "self._must_cancel = True",
        "self._must_cancel = self._fut_waiter is None",
    ),
    "cancel-lost-before-the-first-step": Mutation(
        "Task",
        "self._must_cancel = True",
        "self._must_cancel = self._fut_waiter is not None",
    ),
    "must-cancel-not-cleared": Mutation(
        "Task",
        "exc = self._make_cancelled_error()\n            self._must_cancel = False",
        "exc = self._make_cancelled_error()",
    ),
    "cancel-at-the-last-step-lost": Mutation(
        "Task",
        "if self._must_cancel:\n                # Task is cancelled right before coro stops.",
        "if False:",
    ),
    "uncancel-does-not-count": Mutation(
        "Task",
        "self._num_cancels_requested -= 1",
        "pass",
        (3, 11),
    ),
    "callbacks-reversed": Mutation(
        "Future",
        "for callback, ctx in callbacks:",
        "for callback, ctx in reversed(callbacks):",
    ),
    "callbacks-run-at-once": Mutation(
        "Future",
        "self._loop.call_soon(callback, self, context=ctx)",
        "ctx.run(callback, self)",
    ),
    "callbacks-lose-their-context": Mutation(
        "Future",
        "self._loop.call_soon(callback, self, context=ctx)",
        "self._loop.call_soon(callback, self)",
    ),
    "late-callbacks-lose-their-context": Mutation(
        "Future",
        "self._loop.call_soon(fn, self, context=context)",
        "self._loop.call_soon(fn, self)",
    ),
    "only-one-callback-removed": Mutation(
        "Future",
        "if f != fn]",
        "if f != fn][:max(0, len(self._callbacks) - 1)] or self._callbacks[1:]",
    ),
    "exception-counts-as-not-retrieved": Mutation(
        "Future",
        "self.__log_traceback = False\n        if self._exception is not None:",
        "if self._exception is not None:",
    ),
}


def classes(name=None):
    """asyncio's Future and Task in Python, with a mutation: (Future, Task)."""
    if name is None:
        return asyncio.futures._PyFuture, asyncio.tasks._PyTask
    futures = _mutated(asyncio.futures, "Future", name, {})
    base = types.SimpleNamespace(**vars(asyncio.futures) | {"_PyFuture": futures})
    return futures, _mutated(asyncio.tasks, "Task", name, {"futures": base})


def existing():
    """The mutations that this Python's source has."""
    return [name for name, mutation in MUTATIONS.items() if mutation.since <= sys.version_info[:2]]


def _mutated(module, owner, name, names):
    mutation = MUTATIONS[name]
    source = inspect.getsource(getattr(module, f"_Py{owner}"))
    if mutation.owner == owner:
        if source.count(mutation.original) != 1:
            raise ValueError(f"the mutation {name} fits {source.count(mutation.original)} places, not one")
        source = source.replace(mutation.original, mutation.mutated)
    namespace = vars(module) | names
    exec(compile(source, f"<{name}>", "exec"), namespace)
    return namespace[owner]
