"""Compares boucle with other event loops.

    .venv/3.13/bin/python bench/run.py [--only REGEX] [--rounds N] [--loops boucle,uvloop] [--markdown] [--json FILE]
    .venv/3.13/bin/python bench/run.py --instructions

Prints a table; README.md says how far to trust it. Nothing here fails because something was slow.
"""

import argparse
import contextlib
import json
import re
import sys

import instructions
import machine
import table
import timing
from loops import COMPETITORS, USUAL
from processes import WorkerError, warn, work
from workloads import WORKLOADS

RATIOS_TO = ["uvloop", "rloop"]
NO_FIGURE = "-"
FAILED = "failed"


def main():
    options = _options()
    workloads = [
        workload
        for workload in WORKLOADS.values()
        if options.only.search(workload.name) or options.only.search(workload.title)
    ]
    if not workloads:
        sys.exit(f"bench: --only {options.only.pattern!r} matches none of {', '.join(WORKLOADS)}")
    if options.list:
        for workload in workloads:
            print(f"{workload.name}: {workload.title}\n    {workload.run.__doc__}\n")
        return
    if options.instructions and not instructions.is_possible():
        sys.exit("bench: --instructions needs valgrind, which is not on PATH")
    competitors = _competitors(options)
    with contextlib.ExitStack() as stack:
        # Opened first: a wrong path should be known before the minutes of measuring.
        file = stack.enter_context(_output(options.json)) if options.json else None
        about, loops = _preface(competitors, options)
        compare = _count if options.instructions else _measure
        measured, failures = compare(competitors, workloads, options)
        if file:
            json.dump({"about": about, "loops": loops, **measured}, file, indent=1)
            file.write("\n")
    for (benchmark, loop), why in failures.items():
        warn(f"{benchmark} failed on {loop}: {why}")
    sys.exit(1 if failures else 0)


def _options():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--only", type=_pattern, default="", metavar="REGEX", help="only benchmarks that it matches")
    parser.add_argument("--loops", metavar="LIST", help=f"which loops (known: {', '.join(COMPETITORS)})")
    parser.add_argument("--rounds", type=int, default=7, metavar="N", help="after a warm-up round (default: 7)")
    parser.add_argument("--json", metavar="FILE", help="write what each round measured to this file")
    parser.add_argument("--markdown", action="store_true", help="print the table as Markdown")
    parser.add_argument("--instructions", action="store_true", help="count instructions under valgrind instead")
    parser.add_argument("--list", action="store_true", help="say what each benchmark does")
    options = parser.parse_args()
    if options.rounds < 1:
        parser.error("--rounds: at least 1")
    return options


def _pattern(text):
    try:
        return re.compile(text, re.IGNORECASE)
    except re.error as error:
        raise argparse.ArgumentTypeError(f"not a regular expression: {error}") from None


def _competitors(options):
    usual = instructions.RIVALS if options.instructions else USUAL
    names = options.loops.replace(",", " ").split() if options.loops else usual
    unknown = [name for name in names if name not in COMPETITORS]
    if unknown:
        sys.exit(f"bench: no such loop: {', '.join(unknown)} (known: {', '.join(COMPETITORS)})")
    absent = [name for name in names if not COMPETITORS[name].is_installed()]
    if absent and (options.loops or "boucle" in absent):
        sys.exit(f"bench: not installed here: {', '.join(absent)}; see bench/README.md for the environment")
    if absent:
        warn(f"not installed here, left out: {', '.join(absent)}")
    return [COMPETITORS[name] for name in names if name not in absent]


def _output(path):
    try:
        return open(path, "w")
    except OSError as error:
        sys.exit(f"bench: cannot write {path}: {error.strerror}")


def _preface(competitors, options):
    """Prints what a reader of the table must know. Returns it: about the machine, and about each loop."""
    about = machine.describe()
    loops = {}
    for competitor in competitors:
        try:
            loops[competitor.name] = work(competitor, "describe", competitor.name)
        except WorkerError as error:
            sys.exit(f"bench: {competitor.name} cannot be measured: {error}")
    about["loops"] = ", ".join(f"{name} {facts['version']}" for name, facts in loops.items())
    seen = ", ".join(f"{name} {facts['turns_until_seen']}" for name, facts in loops.items())
    about["polling"] = f"turns of a busy loop until it runs the reader of a readable descriptor: {seen}"
    if "boucle" in loops:
        recorded = loops["boucle"]["recorded"]
        steps = f"{sum(recorded.values()):,} steps that {len(recorded)} small benchmarks ran"
        about["recorder"] = f"on: it wrote down each of the {steps}"
        about["extension"] = f"sha256 {loops['boucle']['extension']}..."
    for name, text in about.items():
        print(f"- {name}: {text}" if options.markdown else f"{name:18} {text}")
    print(flush=True)
    return about, loops


def _measure(competitors, workloads, options):
    """Measures time, and prints the table. Returns what goes into the JSON file, and what failed."""
    if machine.is_busy():
        warn("the machine is busy: better measure when it is quiet")
    bystanders = machine.Bystanders()
    timings = timing.measure(competitors, workloads, options.rounds)
    share = bystanders.share()
    names = [competitor.name for competitor in competitors]
    rivals = _rivals(names)
    rows = []
    for workload in workloads:
        medians = {name: timings.median(workload.name, name) for name in names}
        best = min(filter(None, medians.values()), default=None)
        row = [workload.title + (" (wall)" if workload.is_wall else "")]
        row += [(_time(timings, workload.name, name), best is not None and medians[name] == best) for name in names]
        row += [_ratio(timings.ratio(workload.name, "boucle", rival)) for rival in rivals]
        rows.append(row)
    print(_render(["ns per operation", *names, *(f"{name}/boucle" for name in rivals)], rows, options))
    print(f"\nMedian [smallest-largest] of {timings.rounds} rounds. CPU of the whole process; wall time if it says so.")
    print(f"Others used {share:.0%} of the processors meanwhile.")
    if share > machine.OTHERS:
        warn("others used the machine while this measured: trust the ratios only, or measure again")
    return {"share of others": share, "samples": timings.samples}, timings.failures


def _time(timings, benchmark, loop):
    median = timings.median(benchmark, loop)
    if median is None:
        return FAILED if (benchmark, loop) in timings.failures else NO_FIGURE
    smallest, largest = timings.range(benchmark, loop)
    return f"{median:,.0f} [{smallest:,.0f}-{largest:,.0f}]"


def _count(competitors, workloads, options):
    """Counts instructions, and prints the table. Returns what goes into the JSON file, and what failed."""
    counts, failures = instructions.count(competitors, workloads)
    names = [competitor.name for competitor in competitors]
    rivals = _rivals(names)
    rows = []
    for workload in workloads:
        numbers = counts.get(workload.name)
        if numbers is None:
            continue
        best = min(numbers.values(), default=None)
        row = [workload.title]
        row += [(f"{numbers[name]:,.0f}", numbers[name] == best) if name in numbers else FAILED for name in names]
        ours = numbers.get("boucle")
        row += [_ratio(numbers[rival] / ours if ours and rival in numbers else None) for rival in rivals]
        rows.append(row)
    print(_render(["instructions per operation", *names, *(f"{name}/boucle" for name in rivals)], rows, options))
    print("\nIn user space, counted by callgrind: what the kernel does is not in it.")
    return {"instructions": counts}, failures


def _rivals(names):
    """The loops that get a column with their ratio to boucle."""
    return [name for name in RATIOS_TO if name in names and "boucle" in names]


def _ratio(ratio):
    return f"{ratio:.2f}x" if ratio else NO_FIGURE


def _render(head, rows, options):
    return (table.markdown if options.markdown else table.text)(head, rows)


if __name__ == "__main__":
    try:
        main()
    except KeyboardInterrupt:
        sys.exit("\nbench: interrupted")
