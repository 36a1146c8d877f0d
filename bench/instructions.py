"""Counting instructions: the evidence that a busy machine cannot touch.

A workload runs under valgrind's callgrind in two sizes; the difference, divided by the operations between them, is what
one operation costs without the start of the process and without its preparations. Counted is what runs in user space:
a system call counts as nothing, however long the kernel takes, and so does a cache miss. Repeated runs differ by some
instructions, since timers depend on the time and hashes on addresses.
"""

import os
import re
import shutil
import tempfile
from concurrent.futures import ThreadPoolExecutor, as_completed
from pathlib import Path

from processes import Progress, WorkerError, end_all, work

RIVALS = ["boucle", "uvloop", "rloop"]


def is_possible():
    """Whether valgrind is there."""
    return shutil.which("valgrind") is not None


def count(competitors, workloads):
    """Instructions per operation, {benchmark: {loop: number}}, and what failed, {(benchmark, loop): why}."""
    workloads = [workload for workload in workloads if workload.counted]
    jobs = [(competitor, workload) for workload in workloads for competitor in competitors]
    progress = Progress(len(jobs))
    counts = {workload.name: {} for workload in workloads}
    failures = {}
    # Counts do not mind company, so all cores are used.
    with ThreadPoolExecutor(os.cpu_count()) as pool:
        futures = {pool.submit(_per_operation, *job): job for job in jobs}
        try:
            for future in as_completed(futures):
                competitor, workload = futures[future]
                progress.says(f"{workload.name} on {competitor.name}")
                try:
                    counts[workload.name][competitor.name] = future.result()
                except WorkerError as error:
                    failures[workload.name, competitor.name] = str(error)
        except KeyboardInterrupt:
            # Or the pool would first do what is left.
            pool.shutdown(wait=False, cancel_futures=True)
            end_all()
            raise
    progress.ends()
    return counts, failures


def _per_operation(competitor, workload):
    few, many = workload.counted
    return (_total(competitor, workload, many) - _total(competitor, workload, few)) / (many - few)


def _total(competitor, workload, operations):
    """Instructions of a whole process."""
    with tempfile.TemporaryDirectory() as folder:
        out = Path(folder) / "counts"
        valgrind = ["valgrind", "--tool=callgrind", f"--callgrind-out-file={out}"]
        arguments = ["measure", competitor.name, workload.name, operations, "--cold"]
        work(competitor, *arguments, under=valgrind, PYTHONHASHSEED="0")
        total = re.search(r"^(?:totals|summary): (\d+)", out.read_text(), re.MULTILINE)
    if total is None:
        raise WorkerError("callgrind wrote no total")
    return int(total.group(1))
