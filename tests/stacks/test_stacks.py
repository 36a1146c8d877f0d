"""The frames of a thread, read without asking the interpreter, are those that the interpreter tells."""

import asyncio
import ctypes
import dis
import gc
import importlib.util
import itertools
import os
import platform
import re
import shutil
import subprocess
import sys
import sysconfig
import threading
import time
from pathlib import Path

import pytest

import boucle
from boucle import _boucle
from conftest import run_python

STRESS = Path(__file__).with_name("stack_stress.py")
PACKAGE = {"PYTHONPATH": str(Path(boucle.__file__).parent.parent)}
PATIENCE = 60  # seconds for something that takes milliseconds on a quiet machine


def told():
    """The frames of the caller, as the interpreter says."""
    frame, stack = sys._getframe(1), []
    while frame is not None:
        code = frame.f_code
        name = code.co_qualname if sys.version_info >= (3, 11) else code.co_name
        stack.append((name, code.co_filename, frame.f_lineno, code.co_firstlineno))
        frame = frame.f_back
    return stack


def check():
    # On one line, so that both see the same.
    read, expected = _boucle._stack(), told()
    assert read == expected


def test_plain_functions():
    check()


def test_recursion_over_several_blocks_of_frames():
    def recurse(depth):
        return recurse(depth - 1) if depth else check()

    recurse(300)


def test_a_stack_is_cut_where_it_is_too_deep():
    def recurse(depth):
        return recurse(depth - 1) if depth else _boucle._stack()

    stack = recurse(600)
    assert 500 <= len(stack) <= 512
    assert {frame[0].rpartition(".")[2] for frame in stack} == {"recurse"}


def test_generators_comprehensions_and_constructors():
    def generate():
        yield from (check() for _ in range(3))

    class Made:
        def __init__(self):
            self.seen = [check() for _ in range(3)] + list(generate())

    for _ in range(30):  # often enough for the interpreter to specialise the calls
        Made()


def test_coroutines_on_a_loop(loop):
    async def inner():
        check()
        await asyncio.sleep(0)
        check()

    async def outer():
        await inner()
        async for _ in counting():
            check()

    async def counting():
        check()
        yield 1

    loop.run_until_complete(outer())


def test_calls_through_c_code():
    sorted([1, 2], key=lambda _: check() or 0)
    re.sub("x", lambda _: check() or "", "xx")


def test_another_thread():
    raised = []

    def run():
        try:
            check()
        except BaseException as error:
            raised.append(error)

    thread = threading.Thread(target=run)
    thread.start()
    thread.join()
    assert not raised


@pytest.mark.parametrize("name", ["plain", "é", "жизнь", "𐐀", "long" * 500, "ж" * 3000])
def test_names_of_every_width_and_length(name):
    scope = {"check": check}
    exec(compile(f"def {name}():\n    check()", f"<{name}>", "exec"), scope)
    scope[name]()


def test_an_undecodable_file_name():
    scope = {"_stack": _boucle._stack}
    exec(compile("def function():\n    return _stack()", os.fsdecode(b"<\xff>"), "exec"), scope)
    assert scope["function"]()[0] == ("function", "<\ufffd>", 2, 1)


def code_objects(code):
    yield code
    for constant in code.co_consts:
        if isinstance(constant, type(code)):
            yield from code_objects(constant)


def module_sources():
    """Every fourth module of the standard library, and one with lines far from each other."""
    library = Path(sysconfig.get_path("stdlib"))
    paths = sorted(library.glob("*.py")) + sorted(library.glob("*/*.py"))
    for path in paths[:: max(len(paths) // 150, 1)]:
        if "site-packages" not in path.parts and "lib2to3" not in path.parts:
            yield path, importlib.util.decode_source(path.read_bytes())
    gaps = "".join(f"x = {number}\n" + "\n" * (7 * number) for number in range(120))
    backwards = "y = [\n" * 50 + "1" + "\n]" * 50 + "\nz = (" + "\n" * 400 + "x(1) +" + "\n" * 300 + "x(2))\n"
    yield "<lines far from each other>", f"def x():\n  try:\n    a\n  finally:\n    b\n{gaps}{backwards}"


@pytest.mark.filterwarnings("ignore::SyntaxWarning")
def test_line_tables():
    checked = 0
    for path, source in module_sources():
        try:
            module = compile(source, str(path), "exec")
        except SyntaxError:
            continue  # A test of the compiler.
        for code in code_objects(module):
            for start, end, line in code.co_lines():
                for offset in {start, end - 2} if end > start else ():
                    decoded = _boucle._line(code.co_linetable, code.co_firstlineno, offset)
                    assert decoded == (line or None), (path, code, offset)
                    checked += 1
            past = len(code.co_code)
            assert _boucle._line(code.co_linetable, code.co_firstlineno, past) is None
    assert checked > 10_000


def test_lines_are_those_of_the_instructions():
    code = test_line_tables.__code__
    for offset, line in dis.findlinestarts(code):
        assert _boucle._line(code.co_linetable, code.co_firstlineno, offset) == (line or None)


@pytest.fixture
def stopping():
    """Stops an oracle when the test is over. The test makes it: what is walked is inside of the frame that did."""
    oracles = []
    yield lambda oracle: oracles.append(oracle) or oracle
    for oracle in oracles:
        oracle.stop()


HOLDING = """def f7(oracle, number, depth, work):
    "The line below is two lines further down than the first."
    oracle.enter(number, 0); work(); oracle.leave()
"""


def watched():
    """The function that the number 7 stands for: its first line is 8."""
    scope = {}
    exec(compile("\n" * 7 + HOLDING, "<watched>", "exec"), scope)
    return scope["f7"]


def until(condition):
    """Repeat until a condition holds."""
    ends = time.monotonic() + PATIENCE
    for number in itertools.count():
        if condition():
            return number
        assert time.monotonic() < ends, "it took too long"
    return None


@pytest.mark.parametrize("work", ["sum(itertools.repeat(1, 3_000_000))", "time.sleep(0.05)", "gc.collect()"])
def test_frames_are_read_while_c_code_runs(stopping, work):
    oracle = stopping(_boucle.StackOracle("<watched>"))
    function, code = watched(), compile(work, "<work>", "eval")

    def seen():
        function(oracle, 7, 0, lambda: eval(code))
        return oracle.counts()[3] >= 20

    until(seen)
    walks, restless, inconsistent, comparable, equal, _, holding, collecting = oracle.counts()
    assert comparable == equal, oracle.wrong()
    assert restless + inconsistent <= walks / 10
    if "sleep" not in work:
        assert holding > 0
    if "gc" in work:
        assert collecting > 0


def test_who_sleeps_does_not_hold_the_gil_and_collects_nothing(stopping):
    oracle = stopping(_boucle.StackOracle("<watched>"))
    gc.collect()
    until(lambda: oracle.counts()[0] > 0)
    gc.disable()
    try:
        held = walked = 0
        before = oracle.counts()
        until(lambda: time.sleep(0.05) or oracle.counts()[0] - before[0] > 100)
        after = oracle.counts()
        walked, held = after[0] - before[0], after[6] - before[6]
    finally:
        gc.enable()
    # It holds it between two naps only.
    assert held < walked / 2
    assert after[7] == before[7]


def test_a_thread_that_has_ended_is_harmless(stopping):
    oracles = []
    thread = threading.Thread(target=lambda: oracles.append(_boucle.StackOracle("<ended>")))
    thread.start()
    thread.join()
    (oracle,) = map(stopping, oracles)
    before = oracle.counts()[0]
    until(lambda: oracle.counts()[0] > before + 100)
    oracle.stop()
    oracle.stop()
    assert oracle.counts()[3] == 0


def test_stress():
    # In so short a time a busy machine may interrupt many readings; what counts is that none is wrong.
    result = run_python(STRESS, "--minutes", 0.05, "--most-rejected", 0.1, **PACKAGE)
    assert result.returncode == 0, result.stdout + result.stderr
    assert "stack-stress: good" in result.stdout


def test_a_wrong_answer_is_noticed():
    result = run_python(STRESS, "--minutes", 0.03, "--lie", **PACKAGE)
    assert result.returncode == 1, result.stdout + result.stderr
    assert "wrong: f" in result.stdout
    assert "stack-stress: NOT GOOD" in result.stdout


# Walks a sleeping thread for a while: prints how often.
DEEP = """
import sys, time
from boucle import _boucle
source = "".join(f"def f{n}(x): return f{n + 1}(x)\\n" for n in range(int(sys.argv[1])))
def wait(walks):
    while oracle.counts()[0] < walks:
        time.sleep(0.05)
scope = {f"f{sys.argv[1]}": wait}
exec(source, scope)
oracle = _boucle.StackOracle("<watched>")
scope["f0"](200)
oracle.stop()
print(oracle.counts()[0])
"""


@pytest.mark.parametrize("depth", [3, 100])
def test_a_stack_takes_few_system_calls_however_deep_it_is(depth, tmp_path):
    if shutil.which("strace") is None:
        pytest.skip("strace is not installed: `make test` installs it where it may")
    log = tmp_path / "log"
    strace = ["strace", "-f", "-e", "trace=process_vm_readv", "-o", log]
    command = [*strace, sys.executable, "-c", DEEP, str(depth)]
    result = subprocess.run(command, capture_output=True, text=True, timeout=PATIENCE, env=os.environ | PACKAGE)
    if "ptrace" in result.stderr:
        pytest.skip(f"strace may not trace here: {result.stderr.strip()}")
    assert result.returncode == 0, result.stderr
    calls = log.read_text().count("process_vm_readv(")
    # Three of them for the GIL and the garbage collector; before 3.11 a frame is an object of its own, found by a call.
    frames = depth if sys.version_info < (3, 11) else depth // 20
    assert calls / int(result.stdout) < 20 + frames


# Forbids process_vm_readv by a seccomp filter; with an argument, also that files are opened.
SANDBOXED = """
import ctypes, errno, resource, struct, sys
from boucle import _boucle

call = int(sys.argv[1])
LOAD, EQUAL, RETURN, ALLOW, FAIL = 0x20, 0x15, 0x06, 0x7FFF0000, 0x00050000
program = [(LOAD, 0, 0, 0), (EQUAL, 0, 1, call), (RETURN, 0, 0, FAIL | errno.EPERM), (RETURN, 0, 0, ALLOW)]
packed = ctypes.create_string_buffer(b"".join(struct.pack("HBBI", *line) for line in program))
header = ctypes.create_string_buffer(struct.pack("HxxxxxxP", len(program), ctypes.addressof(packed)))
prctl = ctypes.CDLL(None, use_errno=True).prctl
prctl.argtypes = [ctypes.c_int] + [ctypes.c_ulong] * 4
if prctl(38, 1, 0, 0, 0) or prctl(22, 2, ctypes.addressof(header), 0, 0):
    sys.exit(77)
def function():
    return _boucle._stack()
if len(sys.argv) > 2:
    resource.setrlimit(resource.RLIMIT_NOFILE, (3, 3))
try:
    print(function())
except RuntimeError as error:
    print(error)
"""
CALLS = {"x86_64": 310, "aarch64": 270}


def sandboxed(*arguments):
    if platform.machine() not in CALLS or ctypes.sizeof(ctypes.c_void_p) != 8:
        pytest.skip("the number of the system call is not known here")
    result = run_python("-c", SANDBOXED, CALLS[platform.machine()], *arguments, **PACKAGE)
    if result.returncode == 77:
        pytest.skip("this machine lets nobody forbid a system call")
    assert result.returncode == 0, result.stderr
    return result.stdout.strip()


def test_where_the_system_call_is_forbidden_the_file_is_read():
    assert sandboxed() == "[('function', '<string>', 15, 14), ('<module>', '<string>', 19, 1)]"


def test_where_both_are_forbidden_it_is_refused_in_words():
    refusal = sandboxed("no files")
    assert "this process may not read its own memory" in refusal
    assert "process_vm_readv: Operation not permitted" in refusal
    assert "/proc/self/mem: Too many open files" in refusal
