"""Measuring time: the rounds, in which the loops take turns, and the figures made of them.

A figure is the median over the rounds. A ratio is the median of the ratios of each round, not the ratio of two medians:
within a round the machine is in about the same state, while it drifts by a quarter between minutes.
"""

import statistics

from processes import Progress, WorkerError, warn, work


def measure(competitors, workloads, rounds):
    """Runs so many rounds after one that warms up: for each benchmark all loops, one after the other."""
    timings = Timings()
    progress = Progress((rounds + 1) * len(workloads) * len(competitors))
    try:
        for number in range(rounds + 1):
            for workload in workloads:
                # Whoever comes second finds the machine as the first has left it.
                for competitor in competitors if number % 2 else competitors[::-1]:
                    progress.says(f"round {number} of {rounds}: {workload.name} on {competitor.name}")
                    timings.take(number, workload, competitor)
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

    def __init__(self):
        self.rounds = 0
        """How many are complete, without the warm-up."""
        self.samples = []
        """Dictionaries, as they go into the JSON file."""
        self.failures = {}
        """{(benchmark, loop): why}"""

    def take(self, number, workload, competitor):
        """Measures a benchmark on a loop, unless it has failed before."""
        where = (workload.name, competitor.name)
        if where in self.failures:
            return
        try:
            sample = work(competitor, "measure", competitor.name, workload.name, workload.operations)
        except WorkerError as error:
            self.failures[where] = str(error)
        else:
            self.samples.append({"round": number, "benchmark": workload.name, "loop": competitor.name, **sample})

    def forget_after(self, number):
        """Drops what was measured after a round."""
        self.samples = [sample for sample in self.samples if sample["round"] <= number]

    def figures(self, benchmark, loop):
        """Nanoseconds per operation of each round, {number: figure}."""
        return {
            sample["round"]: sample["nanoseconds"] / sample["operations"]
            for sample in self.samples
            if sample["round"] and (sample["benchmark"], sample["loop"]) == (benchmark, loop)
        }

    def median(self, benchmark, loop):
        """The figure of a loop, None where there is none."""
        figures = self.figures(benchmark, loop).values()
        return statistics.median(figures) if figures else None

    def range(self, benchmark, loop):
        """The smallest and the largest figure of a loop."""
        figures = self.figures(benchmark, loop).values()
        return min(figures), max(figures)

    def ratio(self, benchmark, loop, other):
        """How many times the time of `loop` is what `other` takes; None where one of them has no figure."""
        ours, theirs = self.figures(benchmark, loop), self.figures(benchmark, other)
        ratios = [theirs[number] / ours[number] for number in ours if number in theirs]
        return statistics.median(ratios) if ratios else None
