"""A wrong call of a future, a task or an await raises what asyncio raises, mostly with its text."""

import asyncio
import re
import sys

import pytest

import boucle
from conftest import on_each_loop

# What each call is made on, and the call. An iterator is that of an await.
WRONG_CALLS = {
    "a future of something": ("class", lambda future_class, task_class: future_class(1)),
    "a future with an unknown keyword": ("class", lambda future_class, task_class: future_class(nonsense=1)),
    "a future of a loop that is none": ("class", lambda future_class, task_class: future_class(loop=1)),
    "a task of nothing": ("class", lambda future_class, task_class: task_class()),
    "a task of two things": ("class", lambda future_class, task_class: task_class(1, 2)),
    "a task of a function": ("future", lambda future: type(future)._task_class(print, loop=future._loop)),
    "a task of a number": ("future", lambda future: type(future)._task_class(1, loop=future._loop)),
    "set_result of nothing": ("future", lambda future: future.set_result()),
    "set_result of two things": ("future", lambda future: future.set_result(1, 2)),
    "set_result again": ("future", lambda future: (future.set_result(1), future.set_result(2))),
    "set_result after a cancellation": ("future", lambda future: (future.cancel(), future.set_result(2))),
    "set_exception of nothing": ("future", lambda future: future.set_exception()),
    "set_exception of a number": ("future", lambda future: future.set_exception(1)),
    "set_exception of None": ("future", lambda future: future.set_exception(None)),
    "set_exception of a class that is none": ("future", lambda future: future.set_exception(int)),
    "set_exception again": ("future", lambda future: (future.set_result(1), future.set_exception(KeyError()))),
    "result while it is pending": ("future", lambda future: future.result()),
    "result of something": ("future", lambda future: future.result(1)),
    "exception while it is pending": ("future", lambda future: future.exception()),
    "exception of something": ("future", lambda future: future.exception(1)),
    "result after a cancellation": ("future", lambda future: (future.cancel("message"), future.result())),
    "exception after a cancellation": ("future", lambda future: (future.cancel("message"), future.exception())),
    "add_done_callback of nothing": ("future", lambda future: future.add_done_callback()),
    "add_done_callback of two things": ("future", lambda future: future.add_done_callback(1, 2)),
    "add_done_callback with an unknown keyword": ("future", lambda future: future.add_done_callback(1, nonsense=1)),
    "remove_done_callback of nothing": ("future", lambda future: future.remove_done_callback()),
    "cancel with two things": ("future", lambda future: future.cancel(1, 2)),
    "cancel with an unknown keyword": ("future", lambda future: future.cancel(nonsense=1)),
    "_log_traceback of true": ("future", lambda future: setattr(future, "_log_traceback", True)),
    "deleting _log_traceback": ("future", lambda future: delattr(future, "_log_traceback")),
    "deleting _cancel_message": ("future", lambda future: delattr(future, "_cancel_message")),
    "setting _state": ("future", lambda future: setattr(future, "_state", "FINISHED")),
    "comparing": ("future", lambda future: future < future),
    "set_result of a task": ("task", lambda task: task.set_result(1)),
    "set_exception of a task": ("task", lambda task: task.set_exception(KeyError())),
    "set_name of nothing": ("task", lambda task: task.set_name()),
    "set_name of two things": ("task", lambda task: task.set_name(1, 2)),
    "set_name with a keyword": ("task", lambda task: task.set_name(1, nonsense=1)),
    "get_stack of something": ("task", lambda task: task.get_stack(1)),
    "get_stack with an unknown keyword": ("task", lambda task: task.get_stack(nonsense=1)),
    "deleting _log_destroy_pending": ("task", lambda task: delattr(task, "_log_destroy_pending")),
    "next again": ("iterator", lambda iterator: (next(iterator), next(iterator))),
    "next after close": ("iterator", lambda iterator: (iterator.close(), next(iterator))),
    "send of nothing": ("iterator", lambda iterator: iterator.send()),
    "throw of nothing": ("iterator", lambda iterator: iterator.throw()),
    "throw of a number": ("iterator", lambda iterator: iterator.throw(1)),
    "throw of a class": ("iterator", lambda iterator: iterator.throw(KeyError)),
    "throw of an instance": ("iterator", lambda iterator: iterator.throw(KeyError("key"))),
}
# Only the exception is asyncio's here, and not the text.
OTHER_TEXT = {
    "a future of something",
    "a future with an unknown keyword",
    "a task of two things",
    "set_name with a keyword",
    "set_result of nothing",
    "set_result of two things",
    "set_exception of nothing",
    "exception of something",
    "add_done_callback of nothing",
    "add_done_callback of two things",
    "add_done_callback with an unknown keyword",
    "remove_done_callback of nothing",
    "cancel with two things",
    "cancel with an unknown keyword",
    "get_stack of something",
    "get_stack with an unknown keyword",
    "throw of nothing",
    "throw of a number",
}
if sys.version_info >= (3, 15):
    WRONG_CALLS |= {
        "a future again": ("future", lambda future: future.__init__(loop=future._loop)),
        "a task again": ("task", lambda task: task.__init__(task.get_coro(), loop=task._loop)),
        "a task in a context that is none": (
            "task",
            lambda task: type(task)(task.get_coro(), loop=task._loop, context=1),
        ),
        "a task in a context that is none, of the loop": (
            "task",
            lambda task: task._loop.create_task(task.get_coro(), context=1),
        ),
    }
if sys.version_info >= (3, 14):
    OTHER_TEXT |= {"deleting _log_traceback", "deleting _cancel_message", "deleting _log_destroy_pending"}


@pytest.mark.parametrize("what", WRONG_CALLS)
def test_a_wrong_call_raises_what_asyncio_raises(what):
    kind, call = WRONG_CALLS[what]

    def observe(loop, future_class, task_class):
        class Future(future_class):
            _task_class = task_class

        async def nothing():
            pass

        future = Future(loop=loop) if what.startswith("a task of a") else future_class(loop=loop)
        task = task_class(nothing(), loop=loop)
        arguments = {
            "class": (future_class, task_class),
            "future": (future,),
            "task": (task,),
            "iterator": (iter(future),),
        }
        try:
            call(*arguments[kind])
        except BaseException as error:
            return type(error), re.sub(r"\b(_asyncio|boucle)\.(Future|Task)", r"\2", str(error))
        finally:
            loop.run_until_complete(task)
        return None

    theirs, ours = on_each_loop(observe)
    assert theirs is not None
    assert ours is not None
    assert ours[0] is theirs[0]
    if what not in OTHER_TEXT:
        assert ours[1] == theirs[1]


def test_a_future_that_was_never_initialised_says_so(classes):
    bare = classes[0].__new__(classes[0])
    for use in (
        lambda: bare.set_result(1),
        lambda: bare.set_exception(KeyError()),
        lambda: bare.add_done_callback(print),
        lambda: bare.remove_done_callback(print),
        lambda: bare.cancel(),
        lambda: bare.get_loop(),
        lambda: repr(bare),
        lambda: iter(bare),
    ):
        with pytest.raises(RuntimeError):
            use()
    for use in (bare.result, bare.exception):
        with pytest.raises(asyncio.InvalidStateError):
            use()
    assert not bare.done()


def test_a_task_of_ours_that_was_never_initialised_does_not_crash():
    # asyncio's does.
    bare = boucle.Task.__new__(boucle.Task)
    for name in ("get_name", "get_coro", "get_context", "cancelling", "uncancel", "done", "cancelled"):
        getattr(bare, name, print)()
    bare._log_destroy_pending = True
    with pytest.raises(RuntimeError):
        bare.get_stack()
    del bare
