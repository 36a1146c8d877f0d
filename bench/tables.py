"""What was measured, as tables: of a run that has just ended, or of one whose JSON file was kept."""

import dataclasses

import goals
from catalogue import WORKLOADS
from instructions import OWN, WHOLE
from network import FLOOR, ROWS

NO_FIGURE = "-"
FAILED = "failed"
THOUSAND = 1000

RIVALS = ["uvloop", "rloop", "blazio"]
"""Those that get a column with their ratio to boucle, where they take part."""


@dataclasses.dataclass(frozen=True)
class Table:
    """A table with what it says of itself."""

    title: str
    head: list
    rows: list
    """Of cells as table.py takes them."""


def tables(timings, loops):
    """The tables that have rows."""
    for section, title, rivals in (
        ("loop", "ns per operation", RIVALS),
        ("process", "in one process", [*RIVALS, "asyncio"]),
    ):
        workloads = [workload for workload in WORKLOADS.values() if workload.section == section]
        columns = _columns(loops, rivals)
        rows = [_row(timings, each, each.label, columns) for each in workloads if _took_part(timings, each)]
        if rows:
            yield Table(title, _head(title, columns), rows)
    network = [row for row in ROWS.values() if _took_part(timings, row)]
    if network:
        columns = _columns([FLOOR.name, *loops], RIVALS)
        title = "µs of the server's CPU for a message"
        rows = [_row(timings, row, row.title, columns, scale=THOUSAND) for row in network]
        yield Table(title, _head(title, columns), rows)
        title = "thousand messages a second, median and 99th percentile of the latency in µs"
        names = [FLOOR.name, *loops]
        yield Table(title, [title, *names], [[row.title, *_speeds(timings, row, names)] for row in network])


def of_instructions(counts, workloads, names):
    """Head and rows of the table of instructions.

    The last columns say what a loop could reach that costs nothing: what is not boucle's own is Python's.
    """
    columns = _columns(names, RIVALS)
    rows = []
    for workload in workloads:
        if (counted := counts.get(workload.name)) is None:
            continue
        numbers = {name: each[WHOLE] for name, each in counted.items()}
        best = min(numbers.values(), default=None)
        row = [workload.title]
        row += [(f"{numbers[name]:,.0f}", numbers[name] == best) if name in numbers else FAILED for name in names]
        ours, own = numbers.get("boucle"), counted.get("boucle", {}).get(OWN)
        row += [_ratio(numbers[rival] / ours if ours and rival in numbers else None) for rival in columns.rivals]
        if columns.rivals:
            row.append(f"{own:,.0f}" if own else FAILED)
        row += [_ratio(numbers[rival] / (ours - own) if own and rival in numbers else None) for rival in columns.rivals]
        rows.append(row)
    head = _head("instructions per operation", columns)
    if columns.rivals:
        head += ["boucle's own", *(f"{rival}/the rest" for rival in columns.rivals)]
    return head, rows


def short_of_goals(timings):
    """The goals that were measured: how many, and of each that was missed what the row, the figure and the goal are."""
    titles = {each.name: each.title for each in [*WORKLOADS.values(), *ROWS.values()]}
    count, missed = 0, []
    for name, against, value, goal, is_limit in goals.measured(timings, FLOOR.name):
        count += 1
        if not goals.is_ahead(value, goal, is_limit):
            missed.append(f"{titles[name]}: {against} {goals.judged(_number(value), value, goal, is_limit)}")
    return count, missed


def legend(rounds, share):
    """How to read the tables."""
    return (
        f"Median [smallest-largest] of {rounds} rounds; a ratio is the median of the rounds' ratios. Behind some\n"
        "stands the goal: 1.3x ≥ 1.2 is ahead of it, 1.1x < 1.2 short. Figures are CPU of the whole process, or\n"
        f"wall time where it says so. Others used {share:.0%} of the processors meanwhile."
    )


def _took_part(timings, benchmark):
    return timings.has(benchmark.name)


@dataclasses.dataclass(frozen=True)
class _Columns:
    names: list
    rivals: list
    has_floor: bool


def _columns(names, rivals):
    """The columns of figures, those with the ratio to boucle, and whether there is one with the floor's."""
    with_boucle = "boucle" in names
    rivals = [name for name in rivals if name in names and with_boucle]
    return _Columns(names, rivals, with_boucle and FLOOR.name in names)


def _head(title, columns):
    ratios = [f"{name}/boucle" for name in columns.rivals]
    return [title, *columns.names, *ratios, *["boucle/floor"] * columns.has_floor]


def _row(timings, benchmark, title, columns, scale=1):
    name = benchmark.name
    medians = {loop: timings.median(name, loop) for loop in columns.names}
    known = [median for loop, median in medians.items() if median is not None and loop != FLOOR.name]
    best = min(known, default=None)
    cells = [title]
    for loop in columns.names:
        text = _figure(timings, name, loop, scale)
        if loop == "boucle":
            text = goals.judged(text, medians[loop], goals.LIMITS.get(name), is_limit=True)
        cells.append((text, medians[loop] is not None and medians[loop] == best and loop != FLOOR.name))
    for rival in columns.rivals:
        ratio = timings.ratio(name, "boucle", rival) if benchmark.has_ratio else None
        cells.append(goals.judged(_ratio(ratio), ratio, goals.RATIOS.get(name, {}).get(rival)))
    if columns.has_floor:
        ratio = timings.ratio(name, FLOOR.name, "boucle")
        cells.append(goals.judged(_ratio(ratio), ratio, goals.FLOOR.get(name), is_limit=True))
    return cells


def _figure(timings, benchmark, loop, scale):
    median = timings.median(benchmark, loop)
    if median is None:
        return FAILED if (benchmark, loop) in timings.failures else NO_FIGURE
    smallest, largest = timings.range(benchmark, loop)
    return f"{_number(median / scale)} [{_number(smallest / scale)}-{_number(largest / scale)}]"


def _speeds(timings, row, names):
    for name in names:
        rate = timings.median(row.name, name, lambda sample: sample["messages"] / sample["seconds"] / THOUSAND)
        if rate is None:
            yield FAILED if (row.name, name) in timings.failures else NO_FIGURE
            continue
        middle, most = (
            timings.median(row.name, name, lambda sample, which=which: sample["latency_us"][which])
            for which in ("p50", "p99")
        )
        yield f"{_number(rate)} ({middle:,.0f}, {most:,.0f})"


def _number(value):
    """Three digits, or all of a larger one."""
    if value >= 100 or value == int(value):
        return f"{value:,.0f}"
    return f"{value:.1f}" if value >= 10 else f"{value:.2f}"


def _ratio(ratio):
    return f"{ratio:.2f}x" if ratio else NO_FIGURE
