"""How asyncio finds boucle's tasks: ``all_tasks()``. Why it is done so stands in the native registry of tasks.

The set in which asyncio keeps its tasks lies elsewhere in each version of Python: in ``_asyncio`` as ``_all_tasks`` (up
to 3.11) or ``_scheduled_tasks`` (3.12, 3.13); from 3.14 on it is reached as what ``_asyncio`` refers to. It is the set
of those tasks that are not C's own.
"""

import _asyncio
import gc
import weakref

from . import _boucle


class Tasks(weakref.WeakSet):
    """asyncio's set of tasks, with those of boucle's own class."""

    def __iter__(self):
        yield from super().__iter__()
        yield from _boucle._all_tasks()

    def __len__(self):
        return super().__len__() + len(_boucle._all_tasks())

    def __contains__(self, task):
        return super().__contains__(task) or any(task is other for other in _boucle._all_tasks())


def _asyncios_set():
    """asyncio's set, None where it is not found."""
    for name in ("_scheduled_tasks", "_all_tasks"):
        if isinstance(tasks := getattr(_asyncio, name, None), weakref.WeakSet):
            return tasks
    return next((tasks for tasks in gc.get_referents(_asyncio) if isinstance(tasks, weakref.WeakSet)), None)


def make_visible():
    """Let ``asyncio.all_tasks()`` find boucle's tasks.

    Raises ImportError where Python keeps its tasks elsewhere, unless loops make asyncio's own tasks.
    """
    tasks = _asyncios_set()
    if type(tasks) is weakref.WeakSet:
        tasks.__class__ = Tasks
    elif tasks is None and _boucle.native_tasks:
        raise ImportError(
            "boucle does not know where this version of Python keeps asyncio's tasks; "
            "set BOUCLE_TASKS=c to use asyncio's own tasks"
        )
