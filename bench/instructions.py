"""Counting instructions: the evidence that a busy machine cannot touch.

A workload runs twice in a process under valgrind's callgrind: a small run, after which Python and the loop have
specialised what they specialise, and the one that is counted. Its stopwatch asks getppid() for the time, a call that
nobody else makes, and callgrind writes a profile before each: the fourth is what lies between start and end of the
second run, without the start of the process and without preparations. Divided by the operations, it is what one costs.

Counted is what runs in user space: a system call counts as nothing, however long the kernel takes, and so does a cache
miss. Repeated runs differ by some instructions, since timers depend on the time and hashes on addresses.
"""

import collections
import functools
import shutil
import tempfile
from pathlib import Path

from processes import WorkerError, side_by_side, work

RIVALS = ["boucle", "uvloop", "rloop"]

OWN, WHOLE = "own", "all"
"""What is counted: the instructions in boucle's extension, and those of the whole process."""

COUNTED_PROFILE = 4
"""The number of the profile that callgrind writes when the stopwatch of the second run stops."""


def is_possible():
    """Whether valgrind is there."""
    return shutil.which("valgrind") is not None


def countable(workloads):
    """Those whose instructions say something. What other processes and the kernel do is no part of a count."""
    return [workload for workload in workloads if workload.counted and workload.section == "loop"]


def count(competitors, workloads):
    """Instructions per operation, {benchmark: {loop: {WHOLE: number}}}, and what failed, {(benchmark, loop): why}."""
    workloads = countable(workloads)
    jobs = {
        (workload.name, competitor.name): functools.partial(per_operation, competitor, workload)
        for workload in workloads
        for competitor in competitors
    }
    numbers, failures = side_by_side(jobs)
    counts = {workload.name: {} for workload in workloads}
    for (workload, competitor), number in numbers.items():
        counts[workload][competitor] = number
    return counts, failures


def per_operation(competitor, workload):
    """All instructions of an operation, and for boucle those in its extension: {WHOLE: number, OWN: number}."""
    by_object = _by_object(competitor, workload)
    counts = {WHOLE: sum(by_object.values())}
    if competitor.module == "boucle":
        counts[OWN] = sum(number for path, number in by_object.items() if Path(path).name.startswith("_boucle."))
        if not counts[OWN]:
            raise WorkerError("callgrind saw nothing of boucle's extension")
    return counts


def _by_object(competitor, workload):
    """Instructions per operation in each program and library, {path: number}. A call into another counts there."""
    few, many = workload.counted
    with tempfile.TemporaryDirectory() as folder:
        out = Path(folder) / "counts"
        options = ["--dump-before=getppid", "--dump-line=no", "--compress-strings=no"]
        valgrind = ["valgrind", "--tool=callgrind", f"--callgrind-out-file={out}", *options]
        work(competitor, "count", competitor.name, workload.name, few, many, under=valgrind, PYTHONHASHSEED="0")
        try:
            profile = out.with_suffix(f".{COUNTED_PROFILE}").read_text(errors="replace")
        except FileNotFoundError:
            raise WorkerError("callgrind wrote no profile of what lies between two calls of getppid") from None
    return {path: number / many for path, number in self_costs(profile.splitlines()).items()}


def self_costs(lines):
    """What a profile of callgrind says of each object: the instructions in its own functions."""
    costs = collections.Counter()
    where, is_of_call = "???", False
    for line in lines:
        if line.startswith("ob="):
            where = line.removeprefix("ob=")
        elif line.startswith("calls="):
            # The next line is what the call cost, in whatever was called.
            is_of_call = True
        elif line[:1].isdigit() or line[:1] in ("+", "-", "*"):
            if not is_of_call:
                costs[where] += int(line.split()[1])
            is_of_call = False
    return costs
