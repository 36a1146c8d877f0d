"""Fixtures: every test of behaviour runs on asyncio's loop too, which is the oracle."""

import asyncio
import contextvars
import fcntl
import os
import subprocess
import sys
import threading
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest

import boucle
from boucle import _boucle

ROOT = Path(__file__).resolve().parent.parent
EXAMPLES = ROOT / "examples"

needs_eager_tasks = pytest.mark.skipif(sys.version_info < (3, 12), reason="eager tasks are new in 3.12")

FACTORIES = {"asyncio": asyncio.SelectorEventLoop, "boucle": boucle.new_event_loop}


@pytest.hookimpl(hookwrapper=True, tryfirst=True)
def pytest_runtest_protocol(item):
    """Two Pythons may be tested at once. Tests that measure, or take every processor, take turns; the rest only waits
    and has patience, so that it goes on beside them."""
    if item.get_closest_marker("measures") is None:
        yield
        return
    with open(__file__) as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        try:
            yield
        finally:
            # Closing would not do: a child that the test has forked may still have the file.
            fcntl.flock(lock, fcntl.LOCK_UN)


@pytest.fixture(params=FACTORIES)
def factory(request):
    """Makes a loop: asyncio's or ours."""
    return FACTORIES[request.param]


@pytest.fixture
def loop(factory):
    """A loop. A report to its exception handler that the test did not ask for fails the test."""
    loop = factory()
    reports = []
    loop.set_exception_handler(lambda loop, context: reports.append(context))
    yield loop
    loop.close()
    assert not reports


@pytest.fixture(params=["asyncio", "boucle", "boucle without knowledge of the interpreter"])
def loop_with_contexts(request):
    """A loop of asyncio's, of ours, and of ours as on an interpreter whose contexts it does not know."""
    is_boucle = request.param == "boucle"
    known, by_hand = _boucle._use_knowledge_of_contexts(is_boucle)
    assert known == is_boucle, "this interpreter keeps contexts otherwise than is known"
    assert by_hand == (is_boucle and sys.version_info < (3, 14)), "it enters them otherwise than is known"
    loop = FACTORIES[request.param.split()[0]]()
    reports = []
    loop.set_exception_handler(lambda loop, context: reports.append(context))
    yield loop
    loop.close()
    _boucle._use_knowledge_of_contexts(True)
    assert not reports


@pytest.fixture
def reports(loop):
    """The exceptions that the loop reports, which are expected."""
    former = loop._exception_handler
    reports = []
    loop.set_exception_handler(lambda loop, context: reports.append(context["exception"]))
    yield reports
    loop.set_exception_handler(former)


@pytest.fixture
def comparable_tls(request):
    """Leaves asyncio out before 3.11: its TLS was another one then, which loses data and callbacks."""
    parameters = getattr(request.node, "callspec", None) and request.node.callspec.params
    if sys.version_info < (3, 11) and parameters and parameters.get("factory") == "asyncio":
        pytest.skip("asyncio's TLS before 3.11 behaves otherwise")


@pytest.fixture
def classes(factory):
    """The classes of a loop's futures and tasks."""
    return (boucle.Future, boucle.Task) if factory is boucle.new_event_loop else (asyncio.Future, asyncio.Task)


@pytest.fixture
def own_loop():
    """A loop of ours, for what asyncio does not have."""
    loop = boucle.new_event_loop()
    yield loop
    loop.close()


@pytest.fixture
def executor():
    """An executor of one thread, which has been started: so the next call need not start one."""
    with ThreadPoolExecutor(1) as executor:
        executor.submit(int).result()
        yield executor


def run_in_new_context(loop, function, *args):
    """Runs a coroutine function in a context of its own, as a program's first task."""
    return contextvars.Context().run(loop.run_until_complete, function(*args))


def run_turns(loop, turns=3):
    """Run so many turns."""
    for _ in range(turns):
        loop.call_soon(loop.stop)
        loop.run_forever()


def on_each_loop(observe):
    """What observe(loop, future class, task class) returns on asyncio's loop and on ours."""
    observed = []
    for new_loop, future, task in (
        (asyncio.SelectorEventLoop, asyncio.Future, asyncio.Task),
        (boucle.new_event_loop, boucle.Future, boucle.Task),
    ):
        loop = new_loop()
        try:
            observed.append(observe(loop, future, task))
        finally:
            loop._ready.clear()
            loop.close()
    return observed


def in_a_thread(function, *args):
    """What a function returns in a thread of its own."""
    results = []
    thread = threading.Thread(target=lambda: results.append(function(*args)))
    thread.start()
    thread.join()
    return results[0]


def run_python(*arguments, stdin="", timeout=120, **environment):
    """Run this Python in a process of its own. Returns the finished process, with text in stdout and stderr."""
    clean = {name: value for name, value in os.environ.items() if not name.startswith(("BOUCLE_", "PYTHON"))}
    return subprocess.run(
        [sys.executable, *map(str, arguments)],
        input=stdin,
        capture_output=True,
        text=True,
        timeout=timeout,
        env=clean | environment,
        cwd=ROOT,
    )


def run_boucle(*arguments, **options):
    """Run the command boucle."""
    return run_python("-c", "import sys; from boucle._cli import main; sys.exit(main())", *arguments, **options)


class FailureError(Exception):
    """What fail() raises, and nothing else."""


async def succeed():
    pass


async def wait(future):
    await future


async def fail():
    raise FailureError
