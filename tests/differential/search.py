"""Looks for a program that tells a subject from asyncio.

A family is a kind of programs: TASKS here, those with sockets in io/families.py.

Programs are drawn in rounds, each with a seed of its own, counted up from the given one. So a search can be repeated,
and can end after a number of programs or a time. What is found is made smaller by Hypothesis.
"""

import contextlib
import itertools
import math
import time
from collections.abc import Callable
from typing import NamedTuple

from hypothesis import HealthCheck, Phase, Verbosity, given, seed, settings

from .interpreter import run
from .programs import programs
from .subjects import ORACLE, subject

ROUND = 250


class Family(NamedTuple):
    """A kind of programs."""

    programs: Callable
    """Returns the strategy that draws them."""
    run: Callable
    """Takes a program, a subject and whether it promises to be exact. Returns a Run."""
    options: str
    """What the command line needs to be told."""


TASKS = Family(programs, run, "")


class Found(NamedTuple):
    """The outcome of a search. `program` is None if nothing was found."""

    program: tuple | None
    programs: int
    seconds: float


class DifferenceError(AssertionError):
    """A program was observed to do something else than on asyncio."""


def amount(text):
    """How much to search, as `find` takes it: "2000" programs, "30s" or "10m"."""
    units = {"s": 1, "m": 60}
    return {"seconds": float(text[:-1]) * units[text[-1]]} if text[-1] in units else {"programs_at_most": int(text)}


def _differ(family, program, tested):
    """Whether the subject and asyncio observe different things in a program."""
    observed = _observed(family, program, tested, tested.exact)
    expected = _observed(family, program, ORACLE, tested.exact)
    if observed is None or expected is None:
        return observed is not expected
    return observed.differs_from(expected)


def _observed(family, program, tested, exact):
    """What a run observes; None where tasks of the program wait in a circle: to cancel it overflows the stack."""
    try:
        return family.run(program, tested, exact)
    except RecursionError:
        return None


def find(
    name, family=TASKS, *, programs_at_most=None, seconds=None, first_seed=0, shrink=True, running=None, progress=None
):
    """Search until a program is found, so many were run, or the time is over.

    `running` is called with each program before it runs, `progress` with the numbers of programs and seconds after each
    round.
    """
    began = time.monotonic()
    tested = subject(name)
    smallest = None
    count = 0

    def compare(program):
        nonlocal smallest, count
        count += 1
        if running:
            running(program)
        # What does not come again is the machine's: where a step is interrupted for long, its writes leave one by one.
        if _differ(family, program, tested) and _differ(family, program, tested):
            smallest = program
            raise DifferenceError

    rounds = itertools.count(first_seed)
    elapsed = 0
    while smallest is None and count < (programs_at_most or math.inf) and elapsed < (seconds or math.inf):
        # Hypothesis runs the last failing program, the smallest, once more at the end.
        _search(family, compare, next(rounds), min(ROUND, (programs_at_most or math.inf) - count), shrink)
        elapsed = time.monotonic() - began
        if progress:
            progress(count, elapsed)
    return Found(smallest, count, elapsed)


def _search(family, compare, number, examples, shrink):
    phases = [Phase.generate, Phase.shrink] if shrink else [Phase.generate]
    checks = [HealthCheck.too_slow, HealthCheck.data_too_large, HealthCheck.large_base_example]
    limits = settings(
        max_examples=examples,
        phases=phases,
        database=None,
        deadline=None,
        suppress_health_check=checks,
        report_multiple_bugs=False,
        print_blob=False,
        verbosity=Verbosity.quiet,
    )
    with contextlib.suppress(DifferenceError):
        seed(number)(limits(given(family.programs())(lambda program: compare(program))))()


def explain(program, name, family=TASKS):
    """What differs, and how to see it again."""
    tested = subject(name)
    expected, observed = (family.run(program, loop, tested.exact) for loop in (ORACLE, tested))
    lines = [f"{name} differs from asyncio in this program:", "", f"    {program!r}", ""]
    if not observed.differs_from(expected):
        lines.append("(but not when it ran again)")
    elif expected.trace != observed.trace:
        pairs = itertools.zip_longest(expected.trace, observed.trace)
        number = next(number for number, (theirs, ours) in enumerate(pairs) if theirs != ours)
        lines += [f"    {entry!r}" for entry in expected.trace[max(0, number - 3) : number]]
        for who, run_ in ("asyncio", expected), (name, observed):
            lines.append(f"{who}: {run_.trace[number] if number < len(run_.trace) else 'nothing more'!r}")
    else:
        for who, run_ in ("asyncio", expected), (name, observed):
            lines += [f"{who}: {report}" for report in run_.reports]
            lines += [f"{who}: something was not collected"] if run_.leaked else []
    lines += ["", "Run it again from the folder tests:"]
    lines.append(f'    python -m differential{family.options} --subject {name} --program "{program!r}"')
    return "\n".join(lines)
