"""Recordings: ``with boucle.record() as chronology``, and what can be done with one."""

import dataclasses
import json
import os
import shutil

from . import _boucle, _sources
from ._launch import running_program
from ._watching import DEFAULT_THRESHOLD, sampling


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
    """Seconds of the culprit's step; in a congestion, of all its steps."""


@dataclasses.dataclass(frozen=True)
class HeldPlace:
    """A line at which a step held the processor: the innermost of the user's own code, or the innermost where there is
    none.
    """

    file: "str | None"
    """None where the stack could not be read."""
    line: "int | None"
    held: float
    """Seconds, all visits together. A watchdog looks now and then: the time between two looks is halved."""
    cause: "str | None"
    """What the step did there: "sleep", "socket", "file", "lock", "child process", "system call", "Python code",
    "C code holding the GIL", "waiting for the GIL", "garbage collector", "no processor" (nobody's fault) or "unknown".
    None where no watchdog saw it.
    """
    stack: "tuple[str, ...]"
    """The frames from the outermost to the innermost, each "function (file:line)"; empty where no watchdog saw it."""
    detail: "str | None" = None
    """What it waited for where that is known, such as the address of a socket."""
    seen: bool = True
    """Whether a watchdog saw it there. If not, file and line are only where the step resumed."""


@dataclasses.dataclass(frozen=True)
class Starvation:
    """A step longer than the threshold, and those who had to wait for it."""

    task: str
    coroutine: str
    file: "str | None"
    """Where it held the processor for longest; where no watchdog saw it, where it resumed."""
    line: "int | None"
    start: float
    duration: float
    victims: "tuple[Victim, ...]"
    """The longest wait first; of very many only those that waited longest."""
    cause: "str | None" = None
    """What it did there, see HeldPlace; None where no watchdog saw it."""
    places: "tuple[HeldPlace, ...]" = ()
    """Where it spent its time, the longest first."""
    advice: "str | None" = None
    """What to do about it, where something is known that helps."""


@dataclasses.dataclass(frozen=True)
class Share:
    """What one task or callback did in a congestion."""

    task: str
    coroutine: str
    steps: int
    busy: float
    """Seconds for which these steps held the processor."""


@dataclasses.dataclass(frozen=True)
class Congestion:
    """Steps within the threshold that together kept others waiting for longer than it.

    Ten callbacks of 10 ms hurt as much as one of 100 ms.
    """

    start: float
    duration: float
    steps: int
    busy: float
    """Seconds for which these steps held the processor."""
    shares: "tuple[Share, ...]"
    """Whose steps they were, the longest time first; of very many the first hundred."""
    victims: "tuple[Victim, ...]"
    """The longest wait first; of very many the first hundred."""


@dataclasses.dataclass(frozen=True)
class Lint:
    """What a program does that it hardly means to do."""

    kind: str
    """One of "busy loop" (a task yields with sleep(0) over and over while nothing else happens), "pile-up" (each turn
    makes more callbacks ready than it runs) and "late timers" (they were late although no step held the processor).
    """
    sentence: str
    advice: str
    task: "str | None"
    file: "str | None"
    line: "int | None"
    start: float
    duration: float
    count: int
    """How many steps the busy loop made, callbacks were ready at once in the end, or timers were late."""


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
        """The steps longer than the threshold, a list of Starvation ordered by start.

        A step that a watchdog only saw without a processor is none: see stalls.
        """
        return [_starvation(row) for row in self._analysis()["starvations"]]

    @property
    def stalls(self):
        """The steps longer than the threshold only because the operating system gave them no processor.

        A list of Starvation whose cause is "no processor": nobody is to blame. A watchdog tells them from starvations.
        """
        return [_starvation(row) for row in self._analysis()["stalls"]]

    @property
    def congestions(self):
        """Where small steps together kept others waiting for longer than the threshold, a list of Congestion."""
        return [_congestion(row) for row in self._analysis()["congestions"]]

    @property
    def lints(self):
        """What the program does that it hardly means to do, a list of Lint ordered by start."""
        return [_lint(row) for row in self._analysis()["lints"]]

    def _analysis(self):
        return json.loads(self.json())

    def text(self, width=None, colour=False):
        """The picture as text. Width in columns: the terminal's if not given."""
        if width is None:
            width = shutil.get_terminal_size((100, 24)).columns
        return self._source().text(self.threshold, width, colour)

    def svg(self):
        """The picture as SVG."""
        return self._source().svg(self.threshold)

    def html(self):
        """The picture as one HTML page that works without a network, with the source lines that can be read here."""
        native = self._source()
        return native.html(self.threshold, _sources.read(native.source_lines(self.threshold)))

    def json(self):
        """The analysis as JSON: starvations, congestions, lints, tasks, utilisation; times in seconds."""
        return self._source().json(self.threshold)

    def save(self, path):
        """Write a file whose kind its name says: .html, .svg, .txt, .pftrace (for Perfetto), .json (the analysis) or
        .boucle (the recording itself).

        Raises ValueError for any other name and OSError where the file cannot be written.
        """
        path = os.fspath(path)
        content = _kind(path)(self)
        with open(path, "wb") as file:
            file.write(content if isinstance(content, bytes) else content.encode())

    def __str__(self):
        return self.text()

    def __repr__(self):
        return f"<Chronology of {self.program}: {self.duration:.3f} s, {len(self.steps)} steps>"

    def _repr_mimebundle_(self, include=None, exclude=None):
        from ._magics import bundle

        return bundle(self)


_KINDS = {
    ".html": Chronology.html,
    ".svg": Chronology.svg,
    ".txt": lambda chronology: chronology.text(width=100),
    ".json": lambda chronology: chronology.json() + "\n",
    ".pftrace": lambda chronology: chronology._source().perfetto(chronology.threshold),
    ".boucle": lambda chronology: chronology._source().encode(),
}
"""By the ending of a file's name, what is written to it: text or bytes."""


def _kind(path):
    """What makes the content of a file of this name. Raises ValueError for a kind that is not known."""
    kind = _KINDS.get(os.path.splitext(path)[1])
    if kind is None:
        *others, last = _KINDS
        endings = f"{', '.join(others)} and {last}"
        raise ValueError(f"cannot save a chronology as {path!r}: the known endings are {endings}")
    return kind


def check_can_save(path):
    """Raise ValueError now if save(path) would later, after the run."""
    _kind(os.fspath(path))


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
        return self._recording.chronology(self._program or running_program())


def load(path, *, threshold=DEFAULT_THRESHOLD):
    """Read a recording that save("name.boucle") wrote.

    Raises OSError where the file cannot be read, ValueError naming the file and the byte where it is no recording.
    """
    path = os.fspath(path)
    with open(path, "rb") as file:
        return Chronology(_boucle.Chronology.decode(file.read(), path), threshold)


def snapshot(pid, *, last=10.0, threshold=DEFAULT_THRESHOLD):
    """What another process ran in its last seconds, without its help: it may be stuck or stopped.

    A step that has not returned is shown as if it ended now, with ``last`` seconds of what was before it. Raises
    ProcessLookupError where there is no such process, PermissionError where it is another user's, OSError where it has
    nothing to show.
    """
    return Chronology(_boucle.snapshot(pid, last), threshold)


def _starvation(row):
    places = (
        HeldPlace(
            place["file"],
            place["line"],
            place["held"],
            place["cause"],
            tuple(place["stack"]),
            place["detail"],
            place["seen"],
        )
        for place in row["places"]
    )
    return Starvation(
        task=row["task"],
        coroutine=row["coroutine"],
        file=row["file"],
        line=row["line"],
        start=row["start"],
        duration=row["duration"],
        victims=_victims(row),
        cause=row["cause"],
        places=tuple(places),
        advice=row["advice"],
    )


def _congestion(row):
    return Congestion(
        start=row["start"],
        duration=row["duration"],
        steps=row["steps"],
        busy=row["busy"],
        shares=tuple(Share(**share) for share in row["shares"]),
        victims=_victims(row),
    )


def _lint(row):
    return Lint(**{field.name: row[field.name] for field in dataclasses.fields(Lint)})


def _victims(row):
    return tuple(Victim(victim["task"], victim["waited"]) for victim in row["victims"])


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
