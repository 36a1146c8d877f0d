"""CPython's own test classes, with the task and the future that are to be tested in the place of its own.

Each class of the matrix derives from one that CPython runs itself, and keeps its name: `CTask_CFuture_Tests` of the
combination (ours, ours) is CPython's class with `Task = boucle.Task` and `Future = boucle.Future`. So what CPython
tests of its native classes alone (`test_del__log_destroy_pending_segfault`), and where it looks for the current task on
which version, comes along, and nothing of a test is written here.

Where CPython's class knows only one of the two, the loop makes the other: the loop of a future's tests makes tasks of
the combination, that of the eager tests futures.

Only a pair of one kind has `SetMethodsTest`, as in CPython: it calls the methods of the future on the task.
"""

import asyncio
import importlib

from test.test_asyncio import test_futures, test_tasks

import boucle

OURS, C, PYTHON = "ours", "C", "Python"
COMBINATIONS = [(OURS, OURS), (OURS, C), (OURS, PYTHON), (C, OURS), (PYTHON, OURS)]
# asyncio's own classes: what fails here is a mistake of the matrix, or of a loop.
ORACLE = [(C, C), (C, PYTHON), (PYTHON, C)]

TASKS = {OURS: (boucle, "Task"), C: (asyncio.tasks, "_CTask"), PYTHON: (asyncio.tasks, "_PyTask")}
FUTURES = {OURS: (boucle, "Future"), C: (asyncio.futures, "_CFuture"), PYTHON: (asyncio.futures, "_PyFuture")}

CPYTHON, BOUCLE = "cpython", "boucle"
LOOPS = [CPYTHON, BOUCLE]

TASK_FACTORIES_MAY_BE_EAGER = hasattr(asyncio, "eager_task_factory")  # from 3.12 on


def missing():
    """What boucle lacks for the matrix, as a sentence; None if nothing."""
    names = [f"boucle.{name}" for name in ("Future", "Task") if not hasattr(boucle, name)]
    return f"boucle {boucle.__version__} has no {' and no '.join(names)}: there is nothing to test" if names else None


def test_classes(combination, loop):
    """The test classes of a combination (kind of task, kind of future) on a loop."""
    task_kind, future_kind = combination
    task = getattr(*TASKS[task_kind])
    future = getattr(*FUTURES[future_kind])
    mixins = (OnBoucle,) if loop == BOUCLE else ()
    yield from _of_tasks(combination, task, future, mixins)
    yield from _of_futures(future_kind != PYTHON, task, future, mixins)
    yield from _of_running_tasks(task_kind != PYTHON, task, future, mixins)


class OnBoucle:
    """A test case whose loops are boucle's. The worker sees to those that a test makes by itself."""

    def new_test_loop(self, gen=None):
        if gen is not None:
            raise RuntimeError("a test with a fake clock was selected for boucle")
        loop = boucle.new_event_loop()
        self.set_event_loop(loop)
        return loop


def _of_tasks(combination, task, future, mixins):
    task_kind, future_kind = combination
    if task_kind == future_kind:
        originals = test_tasks.CTask_CFuture_Tests, test_tasks.CTask_CFuture_SubclassTests
    elif task_kind != PYTHON:
        originals = test_tasks.CTask_PyFuture_Tests, test_tasks.CTaskSubclass_PyFuture_Tests
    else:
        originals = test_tasks.PyTask_CFuture_Tests, test_tasks.PyTask_CFutureSubclass_Tests
    plain, subclasses = (_derived(original, mixins, Task=task, Future=future) for original in originals)
    yield plain
    yield test_tasks.add_subclass_tests(subclasses)


def _of_futures(native, task, future, mixins):
    class LoopMakesBoth:
        def new_test_loop(self, gen=None):
            loop = super().new_test_loop(gen)
            loop.create_future = lambda: future(loop=loop)
            loop.set_task_factory(lambda loop, coro, **options: task(coro, loop=loop, **options))
            return loop

    class Sub(future):
        pass

    mixins = (LoopMakesBoth, *mixins)
    for prefix, cls in [("C", future), ("CSub", Sub)] if native else [("Py", future)]:
        yield _derived(getattr(test_futures, f"{prefix}FutureTests"), mixins, cls=cls)
        yield _derived(
            getattr(test_futures, f"{prefix}FutureDoneCallbackTests"),
            mixins,
            _new_future=lambda self, cls=cls: cls(loop=self.loop),
        )
    inheritance = test_futures.CFutureInheritanceTests if native else test_futures.PyFutureInheritanceTests
    yield _derived(inheritance, mixins, _get_future_cls=lambda self: future)


def _of_running_tasks(native, task, future, mixins):
    """Which task is running, and tasks whose first step is eager."""

    class LoopMakesFutures:
        def setUp(self):
            super().setUp()
            self.loop.create_future = lambda: future(loop=self.loop)

    mixins = (LoopMakesFutures, *mixins)
    current = test_tasks.CCurrentLoopTests if native else test_tasks.PyCurrentLoopTests
    yield _derived(current, mixins, new_task=lambda self, coro: task(coro, loop=self.loop))
    if TASK_FACTORIES_MAY_BE_EAGER:
        eager = importlib.import_module("test.test_asyncio.test_eager_task_factory")
        prefix = "C" if native else "Py"
        for name in (f"{prefix}EagerTaskFactoryLoopTests", f"NonEager{prefix}TaskTests", f"Eager{prefix}TaskTests"):
            yield _derived(getattr(eager, name), mixins, Task=task)


def _derived(original, mixins, **attributes):
    return type(original.__name__, (*mixins, original), {"__module__": original.__module__, **attributes})
