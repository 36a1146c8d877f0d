"""Work in threads where somebody has replaced a piece of it: asyncio's own way is taken."""

import asyncio
import concurrent.futures
import threading
import types
from concurrent.futures import ThreadPoolExecutor, thread
from pathlib import Path

import pytest

import boucle
from conftest import run_python
from work_in_threads import HAS_NATIVE, is_native, let_finish, occupied, wrapped

pytestmark = pytest.mark.skipif(not HAS_NATIVE, reason="from 3.14 on asyncio's own way is taken always")


def fallback(replace):
    """A test that a call is seen by what was replaced, and works."""

    def test(own_loop, executor, monkeypatch):
        own_loop.run_until_complete(own_loop.run_in_executor(executor, int))
        executor = replace(own_loop, executor, monkeypatch) or executor
        with occupied(executor):
            future = own_loop.run_in_executor(executor, str, "done")
            assert not is_native(future)
        monkeypatch.undo()
        assert own_loop.run_until_complete(future) == "done"

    return test


class Submits(ThreadPoolExecutor):
    """An executor of one's own."""


def of_a_subclass(loop, executor, monkeypatch):
    executor.shutdown()
    mine = Submits(1)
    mine.submit(int).result()
    return mine


def another_queue(loop, executor, monkeypatch):
    executor.shutdown()
    mine = ThreadPoolExecutor(1)
    mine._work_queue = thread.queue.Queue()
    mine.submit(int).result()
    return mine


def replaced_in(owner, name):
    return lambda loop, executor, monkeypatch: monkeypatch.setattr(owner, name, wrapped(getattr(owner, name)))


def other_code(owner, name):
    def replace(loop, executor, monkeypatch):
        function = getattr(owner, name)
        monkeypatch.setattr(function, "__code__", function.__code__.replace(co_name="other"))

    return replace


class Described:
    """An attribute that is kept where it was."""

    def __init__(self, name):
        self.name = name

    def __get__(self, instance, owner):
        return vars(instance)[self.name] if instance else self

    def __set__(self, instance, value):
        vars(instance)[self.name] = value


def described(owner, name):
    return lambda loop, executor, monkeypatch: monkeypatch.setattr(owner, name, Described(name), raising=False)


def finding(owner):
    def find(self, name):
        return object.__getattribute__(self, name)

    return lambda loop, executor, monkeypatch: monkeypatch.setattr(owner, "__getattribute__", find)


class OtherItem(thread._WorkItem):
    """An item of one's own."""


class OtherFuture(concurrent.futures.Future):
    """A future of one's own."""


REASONS = {
    "debug mode": lambda loop, executor, monkeypatch: loop.set_debug(True),
    "a subclass": of_a_subclass,
    "another queue": another_queue,
    "submit of the class": replaced_in(ThreadPoolExecutor, "submit"),
    "submit of the instance": lambda loop, executor, monkeypatch: monkeypatch.setattr(
        executor, "submit", wrapped(executor.submit)
    ),
    "code of submit": other_code(ThreadPoolExecutor, "submit"),
    "_adjust_thread_count of the class": replaced_in(ThreadPoolExecutor, "_adjust_thread_count"),
    "_adjust_thread_count of the instance": lambda loop, executor, monkeypatch: monkeypatch.setattr(
        executor, "_adjust_thread_count", wrapped(executor._adjust_thread_count)
    ),
    "the class of items": lambda loop, executor, monkeypatch: monkeypatch.setattr(thread, "_WorkItem", OtherItem),
    "run of items": replaced_in(thread._WorkItem, "run"),
    "the class of futures": lambda loop, executor, monkeypatch: monkeypatch.setattr(
        concurrent.futures._base, "Future", OtherFuture
    ),
    "set_result of futures": replaced_in(concurrent.futures.Future, "set_result"),
    "done of futures": replaced_in(concurrent.futures.Future, "done"),
    "cancelled of futures": replaced_in(concurrent.futures.Future, "cancelled"),
    "running of futures": replaced_in(concurrent.futures.Future, "running"),
    "what result of futures calls": replaced_in(concurrent.futures.Future, "_Future__get_result"),
    "code of cancel": other_code(concurrent.futures.Future, "cancel"),
    "the module of futures": lambda loop, executor, monkeypatch: monkeypatch.setattr(
        thread, "_base", types.SimpleNamespace(**vars(concurrent.futures._base))
    ),
    "wrap_future": replaced_in(asyncio.futures, "wrap_future"),
    "_chain_future": replaced_in(asyncio.futures, "_chain_future"),
    "code of wrap_future": other_code(asyncio.futures, "wrap_future"),
    "run_in_executor of asyncio": replaced_in(asyncio.BaseEventLoop, "run_in_executor"),
    "the question of the loop": lambda loop, executor, monkeypatch: monkeypatch.setattr(
        loop, "_check_default_executor", wrapped(loop._check_default_executor), raising=False
    ),
    "create_future": lambda loop, executor, monkeypatch: monkeypatch.setattr(
        loop, "create_future", wrapped(loop.create_future)
    ),
    "acquire of semaphores": replaced_in(threading.Semaphore, "acquire"),
    "acquire of the semaphore": lambda loop, executor, monkeypatch: monkeypatch.setattr(
        executor._idle_semaphore, "acquire", wrapped(executor._idle_semaphore.acquire)
    ),
    "wait of conditions": replaced_in(threading.Condition, "wait"),
    **{
        f"{name} of {owner.__name__}": described(owner, name)
        for owner, name in [
            (ThreadPoolExecutor, "_shutdown"),
            (ThreadPoolExecutor, "_work_queue"),
            (threading.Semaphore, "_value"),
            (threading.Condition, "_lock"),
        ]
    },
    **{
        f"how attributes of {owner.__name__} are found": finding(owner)
        for owner in (ThreadPoolExecutor, threading.Semaphore, threading.Condition)
    },
    "defaults of acquire": lambda loop, executor, monkeypatch: monkeypatch.setattr(
        threading.Semaphore.acquire, "__defaults__", (*threading.Semaphore.acquire.__defaults__,)
    ),
}


@pytest.mark.parametrize("reason", REASONS)
def test_asyncios_own_way_is_taken(own_loop, executor, monkeypatch, reason):
    fallback(REASONS[reason])(own_loop, executor, monkeypatch)
    # And ours again, once all is as it was.
    own_loop.set_debug(False)
    if reason not in ("a subclass", "another queue"):
        with occupied(executor):
            future = own_loop.run_in_executor(executor, int)
            assert is_native(future)
        own_loop.run_until_complete(future)


@pytest.mark.parametrize("which", ["executor", "exit", "idle"])
def test_a_lock_that_somebody_has_is_waited_for(own_loop, executor, which):
    lock = {
        "executor": executor._shutdown_lock,
        "exit": thread._global_shutdown_lock,
        "idle": executor._idle_semaphore._cond,
    }[which]
    took, release = threading.Event(), threading.Event()

    def hold():
        with lock:
            took.set()
            release.wait(0.05)

    with occupied(executor):
        holder = threading.Thread(target=hold)
        holder.start()
        took.wait()
        future = own_loop.run_in_executor(executor, int)
        assert not is_native(future)
        holder.join()
    assert own_loop.run_until_complete(future) == 0


@pytest.mark.parametrize("name", ["_check_default_executor", "_check_closed"])
def test_a_loop_of_a_class_with_questions_of_its_own(executor, name):
    asked = []

    def ask(self):
        asked.append(self)
        getattr(boucle.Loop, name)(self)

    loop = type("Asking", (boucle.Loop,), {name: ask})()
    loop.set_default_executor(executor)
    asked.clear()
    loop.run_in_executor(None, int)
    let_finish(executor)
    assert asked == [loop]
    loop.close()


@pytest.mark.parametrize("says", ["its own name", "the name of the original"])
@pytest.mark.parametrize("kind", ["a function", "an object"])
@pytest.mark.parametrize(
    ("owner", "name"),
    [
        ("concurrent.futures:ThreadPoolExecutor", "submit"),
        ("concurrent.futures:Future", "set_result"),
        ("asyncio.futures", "wrap_future"),
        ("asyncio.futures", "_copy_future_state"),
    ],
)
def test_what_was_replaced_before_the_import_sees_each_call(owner, name, kind, says):
    program = f"""
import functools, pkgutil
owner = pkgutil.resolve_name({owner!r})
original = owner.{name}
def seeing(*args, **options):
    print("seen")
    return original(*args, **options)
class Wrapper:
    def __call__(self, *args, **options):
        return seeing(*args, **options)
    def __get__(self, instance, owner):
        return self if instance is None else seeing.__get__(instance, owner)
other = seeing if {kind!r} == "a function" else Wrapper()
owner.{name} = other if {says!r} == "its own name" else functools.update_wrapper(other, original)
import asyncio, boucle
async def main():
    for _ in range(3):
        await asyncio.to_thread(int)
boucle.run(main())
"""
    finished = run_python("-c", program, PYTHONPATH=str(Path(boucle.__file__).parent.parent))
    assert finished.stdout == "seen\n" * 3, finished.stderr


def test_a_call_imports_no_executor():
    program = """
import sys, boucle
loop = boucle.new_event_loop()
assert "concurrent.futures.thread" not in sys.modules
loop.close()
"""
    finished = run_python("-c", program, PYTHONPATH=str(Path(boucle.__file__).parent.parent))
    assert finished.returncode == 0, finished.stderr
