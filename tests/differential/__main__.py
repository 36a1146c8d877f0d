"""Searches from the command line, or runs one program: python -m differential --help."""

import argparse
import ast
import faulthandler
import os
import random
import sys
import time

from .io.families import FAMILIES
from .search import TASKS, amount, explain, find
from .subjects import ORACLE, subject

REPORT_EVERY = 10


class Notebook:
    """A file with the program that runs: after a crash or a hang it is the one to look at."""

    def __init__(self, path):
        self._file = (
            os.open(path, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, 0o644) if path else os.memfd_create("notebook")
        )

    def write(self, program):
        text = repr(program).encode()
        os.pwrite(self._file, text, 0)
        os.ftruncate(self._file, len(text))

    def clear(self):
        """The search ended by itself."""
        os.ftruncate(self._file, 0)


class Progress:
    """Says on stderr how far the search is."""

    def __init__(self, name):
        self._name = name
        self._next = time.monotonic() + REPORT_EVERY

    def __call__(self, programs, seconds):
        # A program that hangs ends the process, and says where it hung.
        faulthandler.dump_traceback_later(300, exit=True)
        if time.monotonic() >= self._next:
            self._next += REPORT_EVERY
            print(f"{self._name}: {programs:,} programs in {seconds:.0f} s", file=sys.stderr, flush=True)


def show(program, name, family):
    """Print both traces of a program, and what differs."""
    tested = subject(name)
    for title, loop in ("asyncio", ORACLE), (name, tested):
        print(f"{title}:")
        observed = family.run(program, loop, tested.exact)
        for entry in [*observed.trace, *observed.reports]:
            print(f"    {entry!r}")
    print(explain(program, name, family))


def main():
    parser = argparse.ArgumentParser(prog="python -m differential", description=__doc__)
    parser.add_argument("--subject", default="boucle", help="what is compared with asyncio: see subjects.py")
    parser.add_argument("--io", choices=FAMILIES, help="programs with sockets, of this kind, instead of tasks")
    parser.add_argument("--amount", default="60s", help="how many programs, or for how long: 2000, 30s, 10m (60s)")
    parser.add_argument("--seed", type=int, default=random.randrange(10**9), help="random if it is not given")
    parser.add_argument("--title", help="the beginning of the lines of progress (the subject's name)")
    parser.add_argument("--notebook", help="a file that gets each program before it runs")
    parser.add_argument("--program", type=ast.literal_eval, help="run this program, and nothing else")
    options = parser.parse_args()
    family = FAMILIES[options.io] if options.io else TASKS
    if options.program:
        show(options.program, options.subject, family)
        return
    faulthandler.enable()
    title = options.title or options.subject
    notebook = Notebook(options.notebook)
    progress = Progress(title)
    progress(0, 0)
    found = find(
        options.subject,
        family,
        **amount(options.amount),
        first_seed=options.seed,
        running=notebook.write,
        progress=progress,
    )
    notebook.clear()
    outcome = "no difference" if found.program is None else "a difference"
    print(f"{title}: {found.programs:,} programs in {found.seconds:.0f} s, seed {options.seed}: {outcome}")
    if found.program is not None:
        print(explain(found.program, options.subject, family))
        sys.exit(1)


if __name__ == "__main__":
    main()
