"""What is compared with asyncio, by a name that a process can be given.

asyncio                     asyncio's loop and native tasks: the oracle
boucle                      boucle's loop, with what its create_task and create_future return
boucle:MUTATION             the same with a mistake, in a build that can make it: see tools/panics.py
python                      asyncio's loop with asyncio's tasks in Python, which must not differ
python:MUTATION             the same with a mistake, which must be found: see mutations.py
io:MUTATION                 asyncio's loop with a mistake in its I/O, which must be found: see io/mutations.py
"""

import asyncio

import boucle

from . import mutations
from .io import mutations as wrong_io


class Asyncio:
    """asyncio itself."""

    exact = True

    def new_loop(self):
        return asyncio.SelectorEventLoop()

    def task_class(self):
        return asyncio.Task


class Boucle(Asyncio):
    """boucle, as it is installed."""

    def new_loop(self):
        return boucle.new_event_loop()

    def task_class(self):
        # asyncio's own while boucle has none.
        return getattr(boucle, "Task", asyncio.Task)


class MutatedBoucle(Boucle):
    """boucle, with a mistake."""

    def __init__(self, mutation):
        self._mutation = mutation

    def new_loop(self):
        boucle._boucle.mutate(self._mutation)
        return super().new_loop()


class Python(Asyncio):
    """asyncio's tasks and futures in Python, perhaps mutated."""

    exact = False

    def __init__(self, mutation=None):
        self._future, self._task = mutations.classes(mutation)

    def new_loop(self):
        loop = super().new_loop()
        loop.create_future = lambda: self._future(loop=loop)
        loop.set_task_factory(lambda loop, coro, **options: self._task(coro, loop=loop, **options))
        return loop

    def task_class(self):
        return self._task


class WrongIo(Asyncio):
    """asyncio, with a mistake in its I/O."""

    def __init__(self, mutation):
        self._mutation = mutation

    def new_loop(self):
        return wrong_io.loop(self._mutation)


ORACLE = Asyncio()


def subject(name):
    """The subject of this name."""
    kind, _, mutation = name.partition(":")
    if kind == "python":
        return Python(mutation or None)
    if kind == "io":
        return WrongIo(mutation)
    if kind == "boucle" and mutation:
        return MutatedBoucle(mutation)
    return {"asyncio": Asyncio, "boucle": Boucle}[kind]()
