"""Recordings: ``with boucle.record() as chronology``, and what can be done with one."""

import dataclasses
import json
import os
import shutil
import sys

from . import _boucle
from ._watching import DEFAULT_THRESHOLD, sampling

_EXTENSIONS = ".svg, .txt, .json and .boucle"


@dataclasses.dataclass(frozen=True)
class Place:
    """A line of code."""

    file: str
    line: int
    """From 1; 0 where it is unknown."""


@dataclasses.dataclass(frozen=True)
class Step:
    """One uninterrupted run of a task between two awaits, or of a callback.

    Times in seconds since the recording began.
    """

    task: "str | None"
    """The task's name; None for a callback that belongs to no task."""
    function: str
    """The coroutine's qualified name, or the callback's."""
    thread: str
    start: float
    duration: float
    waited: float
    """How long it had been ready before."""
    resumed: "Place | None"
    """Where the code went on."""
    awaited: "Place | None"
    """Where it awaited; None where it returned or nothing is known."""
    returned: bool


@dataclasses.dataclass(frozen=True)
class Victim:
    """A task or callback that was ready and had to wait."""

    task: str
    waited: float
    """Seconds of the culprit's step."""


@dataclasses.dataclass(frozen=True)
class Starvation:
    """A step longer than the threshold, and those who had to wait for it."""

    task: str
    coroutine: str
    file: "str | None"
    line: "int | None"
    start: float
    duration: float
    victims: "tuple[Victim, ...]"


class Chronology:
    """A recorded run, made by :func:`record` and :func:`load`.

    ``threshold``, in seconds, decides what a starvation is.
    """

    def __init__(self, native, threshold=DEFAULT_THRESHOLD):
        self._native = native
        self.threshold = threshold

    def _source(self):
        return self._native

    @property
    def program(self):
        """What ran, as a person would name it."""
        return self._source().program

    @property
    def duration(self):
        """Seconds from the beginning of the recording to its end."""
        return self._source().duration

    @property
    def lost(self):
        """How many older steps the recorder had to overwrite."""
        return self._source().lost

    @property
    def steps(self):
        """The steps of all threads, a list of Step ordered by start."""
        return [_step(row) for row in self._source().steps()]

    @property
    def starvations(self):
        """The steps longer than the threshold, a list of Starvation ordered by start."""
        return [
            Starvation(
                row["task"],
                row["coroutine"],
                row["file"],
                row["line"],
                row["start"],
                row["duration"],
                tuple(Victim(victim["task"], victim["waited"]) for victim in row["victims"]),
            )
            for row in json.loads(self.json())["starvations"]
        ]

    def text(self, width=None, colour=False):
        """The picture as text. Width in columns: the terminal's if not given."""
        if width is None:
            width = shutil.get_terminal_size((100, 24)).columns
        return self._source().text(self.threshold, width, colour)

    def svg(self):
        """The picture as SVG."""
        return self._source().svg(self.threshold)

    def json(self):
        """The analysis as JSON: starvations, tasks, utilisation; times in seconds."""
        return self._source().json(self.threshold)

    def save(self, path):
        """Write a file whose kind its name says: .svg, .txt, .json (the analysis) or .boucle (the recording itself).

        Raises ValueError for any other name and OSError where the file cannot be written.
        """
        path = os.fspath(path)
        content = self._content(os.path.splitext(path)[1], path)
        with open(path, "wb") as file:
            file.write(content if isinstance(content, bytes) else content.encode())

    def _content(self, extension, path):
        if extension == ".svg":
            return self.svg()
        if extension == ".txt":
            return self.text(width=100)
        if extension == ".json":
            return self.json() + "\n"
        if extension == ".boucle":
            return self._source().encode()
        raise ValueError(f"cannot save a chronology as {path!r}: the known endings are {_EXTENSIONS}")

    def __str__(self):
        return self.text()

    def __repr__(self):
        return f"<Chronology of {self.program}: {self.duration:.3f} s, {len(self.steps)} steps>"

    def _repr_mimebundle_(self, include=None, exclude=None):
        return {"image/svg+xml": self.svg(), "text/plain": self.text(width=100)}


def check_can_save(path):
    """Raise ValueError now if save(path) would later, after the run."""
    extension = os.path.splitext(os.fspath(path))[1]
    if extension not in (".svg", ".txt", ".json", ".boucle"):
        raise ValueError(f"cannot save a chronology as {path!r}: the known endings are {_EXTENSIONS}")


class record(Chronology):  # noqa: N801, used like a function
    """Record what the loops of all threads run inside of a ``with`` block.

        with boucle.record() as chronology:
            asyncio.run(main())
        chronology.save("run.svg")

    Inside of the block it shows what ran so far, after it what ran in it. Raises ValueError if the recorder was turned
    off with BOUCLE_RECORD=0.
    """

    def __init__(self, *, threshold=DEFAULT_THRESHOLD, program=None):
        super().__init__(None, threshold)
        self._program = program
        self._recording = None
        self._sampling = sampling(threshold)

    def __enter__(self):
        self._native = None
        self._recording = _boucle.Recording()
        self._sampling.start()
        return self

    def __exit__(self, *exception):
        self._sampling.stop()
        self._native = self._source()
        self._recording = None

    def _source(self):
        if self._native is not None:
            return self._native
        if self._recording is None:
            raise RuntimeError("nothing was recorded yet: use `with boucle.record() as chronology`")
        return self._recording.chronology(self._program or _running_program())


def load(path, *, threshold=DEFAULT_THRESHOLD):
    """Read a recording that save("name.boucle") wrote.

    Raises OSError where the file cannot be read, ValueError naming the file and the byte where it is no recording.
    """
    path = os.fspath(path)
    with open(path, "rb") as file:
        return Chronology(_boucle.Chronology.decode(file.read(), path), threshold)


def _running_program():
    """What runs, as a person would name it."""
    main = sys.modules.get("__main__")
    spec = getattr(main, "__spec__", None)
    if spec is not None:
        return f"-m {spec.name.removesuffix('.__main__')}"
    return os.path.basename(sys.argv[0]) if sys.argv and sys.argv[0] else "interactive"


def _step(row):
    return Step(
        task=row["name"] if row["is_task"] else None,
        function=row["function"],
        thread=row["thread"],
        start=row["start"],
        duration=row["duration"],
        waited=row["waited"],
        resumed=Place(*row["resumed"]) if row["resumed"] else None,
        awaited=Place(*row["awaited"]) if row["awaited"] else None,
        returned=row["returned"],
    )
