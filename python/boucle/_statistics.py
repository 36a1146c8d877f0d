"""``BOUCLE_STATS=FILE``: what ran on boucle in this process, appended to the file as a line of JSON when it ends.

    {"pid": 4711, "loops": 3, "turns": 1204, "steps": 5310, "native_tasks": 410}

It proves that a program, or a whole test suite with its processes, ran on boucle. Counted are all loops that were made,
those that are closed and gone too; a process that made none writes a line as well. A child that was forked and did not
execute a program writes nothing: its counts would begin with its parent's. Where the variable is not set, nothing is
counted and nothing costs anything.
"""

import atexit
import json
import os
import weakref

from . import _boucle


class Statistics:
    """Sums up the loops of this process."""

    def __init__(self, path):
        self._path = os.path.abspath(path)
        self._pid = os.getpid()
        self._open: weakref.WeakSet = weakref.WeakSet()
        self._loops = self._turns = self._steps = 0

    def follow(self, loop_class):
        """Count the loops of this class from here on."""
        initialise, close = loop_class.__init__, loop_class.close

        def __init__(loop):  # noqa: N807, it becomes one
            initialise(loop)
            self._loops += 1
            self._open.add(loop)

        def counted(loop):
            # A loop closes before it goes, at the latest in its finalizer; one that closes twice counts once.
            was_closed = loop.is_closed()
            close(loop)
            if not was_closed:
                self._open.discard(loop)
                self._add(loop)

        counted.__name__, counted.__doc__ = close.__name__, close.__doc__
        loop_class.__init__, loop_class.close = __init__, counted
        atexit.register(self.write)

    def _add(self, loop):
        turns, steps, _, _ = loop._counts()
        self._turns += turns
        self._steps += steps

    def write(self):
        """Append the line."""
        if os.getpid() != self._pid:
            return
        for loop in list(self._open):
            self._open.discard(loop)
            self._add(loop)
        counts = {
            "pid": self._pid,
            "loops": self._loops,
            "turns": self._turns,
            "steps": self._steps,
            "native_tasks": _boucle._tasks_made(),
        }
        # In one write to a file opened for appending: lines of several processes do not mix.
        with open(self._path, "a") as file:
            file.write(json.dumps(counts) + "\n")


def follow(loop_class):
    """Count the loops of this class: BOUCLE_STATS asks for it."""
    Statistics(os.environ["BOUCLE_STATS"]).follow(loop_class)
