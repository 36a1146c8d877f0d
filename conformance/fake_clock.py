"""Which of CPython's tests need its test loop, whose clock the test moves, and so cannot run on a real one.

The rule reads a test's source, and that of the methods of its class which it calls. A test needs CPython's test loop if
it

* gives `new_test_loop` a generator, which is the clock, or
* names an attribute that the test loop adds to asyncio's loops (`advance_time`), or a private method of which it has
  its own (`_run_once`).

Nobody decides about a single test. That the rule leaves out enough is shown by asyncio's own tasks and futures, which
pass every test that is left on boucle: `matrix.py --oracle`.
"""

import ast
import asyncio
import inspect
import textwrap

from test.test_asyncio import utils


def needs_fake_clock(case, name):
    """Whether the test of this name of a test class needs CPython's test loop."""
    return _any_method(case, name, seen=set())


def _any_method(case, name, seen):
    if name in seen:
        return False
    seen.add(name)
    for node in ast.walk(ast.parse(_source(getattr(case, name)))):
        if isinstance(node, ast.Attribute) and node.attr in _OF_THE_TEST_LOOP:
            return True
        if isinstance(node, ast.Call) and _name(node.func) == "new_test_loop" and (node.args or node.keywords):
            return True
        # Other tests are named nowhere; what CPython's helper for all tests does with a loop, it does with any.
        if _is_of_self(node) and inspect.isfunction(method := getattr(case, node.attr, None)):
            of_the_tests = method.__module__.startswith("test.test_asyncio.test_")
            if of_the_tests and _any_method(case, node.attr, seen):
                return True
    return False


def _source(method):
    return textwrap.dedent(inspect.getsource(inspect.unwrap(method)))


def _is_of_self(node):
    return isinstance(node, ast.Attribute) and _name(node.value) == "self"


def _name(node):
    return getattr(node, "attr", getattr(node, "id", None))


def _of_the_test_loop():
    """The names that a test cannot use on another loop."""
    test_loop, plain = utils.TestLoop(), asyncio.SelectorEventLoop()
    try:
        own = {*vars(utils.TestLoop)} | {*vars(test_loop)} - {*vars(plain)}
        return {name for name in own if _is_private(name) or not hasattr(plain, name)}
    finally:
        test_loop.close()
        plain.close()


def _is_private(name):
    return name.startswith("_") and not name.endswith("__")


_OF_THE_TEST_LOOP = _of_the_test_loop()
