"""Measuring time: the rounds, in which the loops take turns, and the figures made of them.

A figure is the median over the rounds. A ratio is the median of the ratios of each round, not the ratio of two medians:
within a round the machine is in about the same state, while it drifts by a quarter between minutes.
"""

import dataclasses
import operator
import statistics
from collections.abc import Callable

from processes import Progress, WorkerError, warn


@dataclasses.dataclass(frozen=True)
class Benchmark:
    """A row: its name, who takes part, and how it is measured."""

    name: str
    competitors: list
    take: Callable
    """Takes a competitor and the number of the round. Returns a dictionary: `figure`, and what it was made of."""


def measure(benchmarks, rounds):
    """Runs so many rounds after one that warms up: for each benchmark all loops, one after the other."""
    timings = Timings()
    progress = Progress((rounds + 1) * sum(len(benchmark.competitors) for benchmark in benchmarks))
    try:
        for number in range(rounds + 1):
            for benchmark in benchmarks:
                # Whoever comes second finds the machine as the first has left it.
                for competitor in benchmark.competitors if number % 2 else benchmark.competitors[::-1]:
                    progress.says(f"round {number} of {rounds}: {benchmark.name} on {competitor.name}")
                    timings.take(number, benchmark, competitor)
            timings.rounds = number
    except KeyboardInterrupt:
        progress.ends()
        if not timings.rounds:
            raise
        warn(f"interrupted: {timings.rounds} of {rounds} rounds were measured")
        timings.forget_after(timings.rounds)
    progress.ends()
    return timings


class Timings:
    """What was measured. Round 0 is the warm-up, and counts for nothing."""

    def __init__(self, rounds=0, samples=(), failures=None):
        self.rounds = rounds
        """How many are complete, without the warm-up."""
        self.samples = list(samples)
        """Dictionaries, as they go into the JSON file."""
        self.failures = failures or {}
        """{(benchmark, loop): why}"""

    def take(self, number, benchmark, competitor):
        """Measures a benchmark on a loop, unless it has failed before."""
        where = (benchmark.name, competitor.name)
        if where in self.failures:
            return
        try:
            sample = benchmark.take(competitor, number)
        except WorkerError as error:
            self.failures[where] = str(error)
        else:
            self.samples.append({"round": number, "benchmark": benchmark.name, "loop": competitor.name, **sample})

    def forget_after(self, number):
        """Drops what was measured after a round."""
        self.samples = [sample for sample in self.samples if sample["round"] <= number]

    def as_json(self):
        """All of it."""
        failures = [[benchmark, loop, why] for (benchmark, loop), why in self.failures.items()]
        return {"rounds": self.rounds, "failures": failures, "samples": self.samples}

    @classmethod
    def from_json(cls, run):
        """The timings of a run that was kept."""
        failures = {(benchmark, loop): why for benchmark, loop, why in run["failures"]}
        return cls(run["rounds"], run["samples"], failures)

    def has(self, benchmark):
        """Whether somebody took part in it."""
        names = {sample["benchmark"] for sample in self.samples} | {name for name, _ in self.failures}
        return benchmark in names

    def figures(self, benchmark, loop, of=operator.itemgetter("figure")):
        """The figure of each round, {number: figure}, or another value of its sample."""
        return {
            sample["round"]: of(sample)
            for sample in self.samples
            if sample["round"] and (sample["benchmark"], sample["loop"]) == (benchmark, loop)
        }

    def median(self, benchmark, loop, of=operator.itemgetter("figure")):
        """The figure of a loop, None where there is none."""
        figures = self.figures(benchmark, loop, of).values()
        return statistics.median(figures) if figures else None

    def range(self, benchmark, loop):
        """The smallest and the largest figure of a loop."""
        figures = self.figures(benchmark, loop).values()
        return min(figures), max(figures)

    def ratio(self, benchmark, loop, other):
        """How many times the figure of `loop` that of `other` is; None where one of them has none, or ours is 0."""
        ours, theirs = self.figures(benchmark, loop), self.figures(benchmark, other)
        ratios = [theirs[number] / ours[number] for number in ours if number in theirs and ours[number]]
        return statistics.median(ratios) if ratios else None
