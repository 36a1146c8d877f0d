"""Starting workers, and telling on standard error how far the run is."""

import json
import os
import select
import subprocess
import sys
from concurrent.futures import ThreadPoolExecutor, as_completed
from pathlib import Path

WORKER = Path(__file__).resolve().parent / "worker.py"

PATIENCE = 60
"""Seconds after which a worker has failed; more where it runs under something that makes it slow."""

PATIENCE_UNDER = 600


_running: "set[subprocess.Popen[str]]" = set()


class WorkerError(Exception):
    """A worker did not do its work. Its text is the last line that the worker said."""


def work(competitor, *arguments, under=(), **environment):
    """Runs a worker to its end and returns what it found. `under` is a command that runs it.

    It gets none of the variables that change how Python or boucle behave, but those of its loop.
    """
    patience = PATIENCE_UNDER if under else PATIENCE
    with subprocess.Popen(
        [*under, sys.executable, str(WORKER), *map(str, arguments)],
        env=clean_environment(competitor) | environment,
        stdin=subprocess.DEVNULL,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    ) as process:
        _running.add(process)
        try:
            output, said = process.communicate(timeout=patience)
        except subprocess.TimeoutExpired:
            raise WorkerError(f"did not end within {patience} s") from None
        finally:
            process.kill()
            _running.discard(process)
    if process.returncode:
        last = (said.splitlines() or ["it said nothing"])[-1]
        raise WorkerError(f"{last} (status {process.returncode})")
    return json.loads(output)


def clean_environment(competitor):
    """The variables of a process that is measured: those of its loop, and none other that changes how Python or a loop
    behave. Where modules are found may be told, so that another build can be measured."""
    hidden = ("BOUCLE_", "PYTHON", "UVLOOP_")
    kept = {name: text for name, text in os.environ.items() if name == "PYTHONPATH" or not name.startswith(hidden)}
    return kept | competitor.environment


def end(process):
    """Ends a process, whatever it does."""
    process.kill()
    process.wait()
    for pipe in process.stdin, process.stdout:
        if pipe:
            pipe.close()


def target_of(server, said, patience):
    """What a server says that it listens on, once it does. Ends one that does not."""
    ready, _, _ = select.select([server.stdout], [], [], patience)
    word, _, where = (server.stdout.readline() if ready else "").strip().partition(" ")
    if word != "ready":
        end(server)
        raise WorkerError(f"does not listen: {last_line(said)}")
    return where


def last_line(said):
    """What a process said last, of the file that holds it."""
    said.seek(0)
    return (said.read().splitlines() or ["it said nothing"])[-1]


def end_all():
    """Ends the workers that other threads wait for. An interrupt alone does not: rloop goes on after one."""
    for process in list(_running):
        process.kill()


def side_by_side(jobs):
    """Does jobs, {name: function}, on all cores: for counts, which do not mind company. Returns what each found,
    {name: result}, and what failed, {name: why}."""
    progress = Progress(len(jobs))
    results, failures = {}, {}
    with ThreadPoolExecutor(os.cpu_count()) as pool:
        futures = {pool.submit(job): name for name, job in jobs.items()}
        try:
            for future in as_completed(futures):
                name = futures[future]
                progress.says(name if isinstance(name, str) else " on ".join(name))
                try:
                    results[name] = future.result()
                except WorkerError as error:
                    failures[name] = str(error)
        except KeyboardInterrupt:
            # Or the pool would first do what is left.
            pool.shutdown(wait=False, cancel_futures=True)
            end_all()
            raise
    progress.ends()
    return results, failures


class Progress:
    """How far the run is: a line on standard error that changes, or, where that is no terminal, a line each tenth."""

    def __init__(self, total):
        self._total = total
        self._done = 0
        self._terminal = sys.stderr.isatty()

    def says(self, what):
        """Begins the next of the parts."""
        before, after = (10 * count // self._total for count in (self._done, self._done + 1))
        self._done += 1
        if self._terminal:
            print(f"\r\x1b[K{self._done}/{self._total} {what}", end="", file=sys.stderr, flush=True)
        elif before != after:
            print(f"bench: {self._done} of {self._total} measurements", file=sys.stderr, flush=True)

    def ends(self):
        """Leaves the line."""
        if self._terminal:
            print("\r\x1b[K", end="", file=sys.stderr, flush=True)


def warn(text):
    """Says something that the reader of the figures must know."""
    print(f"bench: {text}", file=sys.stderr, flush=True)
