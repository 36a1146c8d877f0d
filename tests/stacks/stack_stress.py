"""A program: a thread whose frames are read while it does all it can to make that go wrong. Every answer is compared.

    python stack_stress.py --minutes 30 [--seed 1] [--lie]

The thread runs functions that it has just made, each with a name and a line of its own, and destroys them at once.
Inside of each it says its number (StackOracle.enter, whose documentation says what a number stands for), and then calls
helpers that recurse, compile, raise, await, collect garbage and start threads. A native thread reads its frames
meanwhile.

The result is good if at most 0.5 % of the readings were rejected and 99.9 % of the comparable ones were equal. With
--lie one number in five is another function's, and the result must not be good.
"""

import argparse
import contextlib
import gc
import itertools
import random
import sys
import threading
import time

from boucle._boucle import StackOracle

FILE = "<stressed ж>"
FIRST_LINES = 30000
DEEPEST = 40
MOST_REJECTED = 0.005
LEAST_EQUAL = 0.999
PROGRESS = 10  # seconds between two lines

# What a number stands for: two lines below the first the innermost frame, one line below those that call it.
PLAIN = """def name(oracle, number, depth, left, work):
    if left: return name(oracle, number, depth, left - 1, work)
    oracle.enter(number, depth); work(); oracle.leave()
"""
GENERATOR = """def name(oracle, number, depth, left, work):
    if left: yield from name(oracle, number, depth, left - 1, work)
    else: oracle.enter(number, depth); work(); oracle.leave(); yield
"""
COROUTINE = """async def name(oracle, number, depth, left, work):
    if left: return await name(oracle, number, depth, left - 1, work)
    oracle.enter(number, depth); work(); oracle.leave()
"""
RAISING = """def name(oracle, number, depth, left, work):
    if left: return name(oracle, number, depth, left - 1, work)
    oracle.enter(number, depth); work(); oracle.leave(); raise KeyError(number)
"""


def compiled(source, number):
    """A function of this number, compiled from its source."""
    scope = {}
    text = source.replace("name", f"f{number}")
    exec(compile("\n" * (number % FIRST_LINES) + text, FILE, "exec"), scope)
    return scope[f"f{number}"]


def recurse(depth):
    return depth and recurse(depth - 1)


def recurse_and_raise(depth):
    if not depth:
        raise ValueError
    recurse_and_raise(depth - 1)


def nested(depth):
    yield depth
    if depth:
        yield from nested(depth - 1)


async def awaiting(depth):
    return await awaiting(depth - 1) if depth else [value async for value in counting()]


async def counting():
    for value in range(3):
        yield value


class Cyclic:
    """A class whose constructor is Python code, and which the garbage collector has to find."""

    def __init__(self):
        self.me = self


class Work:
    """What the functions call: one of several helpers, at random."""

    def __init__(self, rng):
        self.rng = rng
        self.kinds = [
            self.compute,
            self.recurse,
            self.raise_,
            self.generate,
            self.await_,
            self.compile_,
            self.collect,
            self.sort,
            self.start_thread,
        ]

    def __call__(self):
        for _ in range(self.rng.randrange(1, 4)):
            self.rng.choice(self.kinds)()

    def compute(self):
        total = 0
        for value in range(self.rng.randrange(300)):
            total += value

    def recurse(self):
        for _ in range(self.rng.randrange(1, 10)):
            recurse(self.rng.choice([1, 3, 10, 60, 300, 900]))

    def raise_(self):
        try:
            recurse_and_raise(self.rng.randrange(30))
        except ValueError as error:
            error.__traceback__ = None

    def generate(self):
        for _ in nested(self.rng.randrange(20)):
            pass

    def await_(self):
        with contextlib.suppress(StopIteration):
            awaiting(self.rng.randrange(20)).send(None)

    def compile_(self):
        for number in range(self.rng.randrange(1, 4)):
            scope = {}
            exec(f"def g{number}(x):\n    return x + {number}\ny = g{number}(1)", scope)

    def collect(self):
        for _ in range(10):
            Cyclic()
        # The young ones nearly always: a full collection takes longer than all else together.
        gc.collect(0 if self.rng.randrange(50) else 2)

    def sort(self):
        sorted(range(50), key=lambda value: -value)

    def start_thread(self):
        if not self.rng.randrange(10):
            thread = threading.Thread(target=recurse, args=(20,))
            thread.start()
            if self.rng.randrange(2):
                thread.join()


def run_coroutine(coroutine):
    try:
        coroutine.send(None)
    except StopIteration:
        return
    raise AssertionError("it did not end")


def run_raising(function, *arguments):
    try:
        function(*arguments)
    except KeyError:
        return
    raise AssertionError("it did not raise")


def stress(oracle, rng, ends, lie=False):
    """Run functions until it is time, each once and under a number of its own."""
    work = Work(rng)
    kinds = [
        (PLAIN, lambda function, *arguments: function(*arguments)),
        (GENERATOR, lambda function, *arguments: list(function(*arguments))),
        (COROUTINE, lambda function, *arguments: run_coroutine(function(*arguments))),
        (RAISING, run_raising),
    ]
    templates = [(compiled(source, 0), run) for source, run in kinds]
    next_progress = time.monotonic() + PROGRESS
    for number in itertools.count(1):
        if rng.randrange(50) == 0:
            source, run = rng.choice(kinds)
            function = compiled(source, number)
        else:
            # A code object that is made and destroyed faster than the compiler could.
            template, run = rng.choice(templates)
            function = renamed(template, number)
        depth = rng.choice([0, 0, 1, 3, rng.randrange(DEEPEST)])
        said = number - 1 if lie and rng.randrange(5) == 0 else number
        run(function, oracle, said, depth, depth, work)
        function.__globals__.clear()
        del function
        now = time.monotonic()
        if now >= ends:
            return number
        if now >= next_progress:
            next_progress = now + PROGRESS
            print(f"{number} functions, {Outcome(oracle)}", flush=True)
    raise AssertionError("numbers do not end")


def renamed(template, number):
    """A copy of a function, with a code object of its own."""
    name = f"f{number}"
    code = template.__code__
    changes = {"co_name": name, "co_firstlineno": number % FIRST_LINES + 1}
    changes["co_names"] = tuple(name if one == "f0" else one for one in code.co_names)
    if sys.version_info >= (3, 11):
        changes["co_qualname"] = name
    scope = {"__builtins__": __builtins__}
    function = scope[name] = type(template)(code.replace(**changes), scope)
    return function


class Outcome:
    """The counts of an oracle."""

    def __init__(self, oracle):
        self.walks, self.restless, self.inconsistent, *rest = oracle.counts()
        self.comparable, self.equal, self.blurred, self.holding, self.collecting = rest
        self.rejected = (self.restless + self.inconsistent) / max(self.walks, 1)
        self.equality = self.equal / max(self.comparable, 1)

    def __str__(self):
        return (
            f"{self.walks} walks, {self.rejected:.4%} rejected ({self.restless} restless, "
            f"{self.inconsistent} inconsistent), {self.comparable} comparable, {self.equality:.4%} of them equal, "
            f"{self.blurred} without the innermost frames, "
            f"{self.holding} holding the GIL, {self.collecting} during a garbage collection"
        )

    def is_good(self, most_rejected):
        return self.comparable > 0 and self.rejected <= most_rejected and self.equality >= LEAST_EQUAL


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--minutes", type=float, default=30)
    parser.add_argument("--most-rejected", type=float, default=MOST_REJECTED, help="of the readings (default 0.005)")
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument("--lie", action="store_true")
    options = parser.parse_args()
    sys.setrecursionlimit(5000)
    began = time.monotonic()
    oracle = StackOracle(FILE)
    try:
        functions = stress(oracle, random.Random(options.seed), began + options.minutes * 60, options.lie)
    finally:
        oracle.stop()
    outcome = Outcome(oracle)
    for wrong in oracle.wrong():
        print("wrong:", wrong)
    good = outcome.is_good(options.most_rejected)
    verdict = "good" if good else "NOT GOOD"
    version = ".".join(map(str, sys.version_info[:3]))
    seconds = time.monotonic() - began
    print(f"stack-stress: {verdict}: Python {version}, {seconds:.0f} s, {functions} functions, {outcome}")
    sys.exit(not good)


if __name__ == "__main__":
    main()
