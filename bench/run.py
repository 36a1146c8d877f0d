"""Compares boucle with other event loops.

    .venv/3.13/bin/python bench/run.py [--only REGEX] [--rounds N] [--loops boucle,uvloop] [--markdown] [--json FILE]
    .venv/3.13/bin/python bench/run.py --quick
    .venv/3.13/bin/python bench/run.py --instructions

Prints tables; README.md says how far to trust them. Nothing here fails because something was slow.
"""

import argparse
import contextlib
import functools
import resource
import signal
import sys
from pathlib import Path

import catalogue
import instructions
import machine
import preface
import results
import table
import tables
import timing
from loops import COMPETITORS, USUAL
from network import FLOOR, ROWS, Network
from processes import WorkerError, warn, work

ROUNDS, SECONDS = 7, 0.5
QUICK_ROUNDS, QUICK_SECONDS = 3, 0.3

DESCRIPTORS = 4096
"""At least so many for each process: some rows have 1,000 connections."""


def main():
    options = _options()
    workloads = [each for each in catalogue.WORKLOADS.values() if _is_wanted(each, options)]
    rows = [] if options.instructions else [each for each in ROWS.values() if _is_wanted(each, options)]
    if not workloads and not rows:
        sys.exit(f"bench: --only {options.only.pattern!r} matches none of {', '.join([*catalogue.WORKLOADS, *ROWS])}")
    if options.list:
        # Ended by the signal, without a word, where a reader has read enough: `bench/run.py --list | head`.
        signal.signal(signal.SIGPIPE, signal.SIG_DFL)
        for workload in workloads:
            print(f"{workload.name}: {workload.label}\n    {workload.run.__doc__}\n")
        for row in rows:
            print(f"{row.name}: {row.title}\n    Over the network, served by {row.kind} of servers.py.\n")
        return
    if options.instructions and not instructions.is_possible():
        sys.exit("bench: --instructions needs valgrind, which is not on PATH")
    competitors = _competitors(options)
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    resource.setrlimit(resource.RLIMIT_NOFILE, (max(soft, min(hard, DESCRIPTORS)), hard))
    with contextlib.ExitStack() as stack:
        network = _network(rows, options)
        about, loops = preface.ask(competitors, stack.enter_context(network) if network else None)
        print(preface.text(about, options.markdown), end="\n\n", flush=True)
        if options.instructions:
            measured, failures = _count(competitors, workloads, options)
        else:
            benchmarks = _benchmarks(competitors, workloads, rows if network else [], network)
            measured, failures = _measure(competitors, benchmarks, options)
        if options.json:
            results.write(options.json, about, loops, measured)
        if options.keep:
            results.write(results.name_of(about, options.instructions), about, loops, measured)
    for (benchmark, loop), why in failures.items():
        warn(f"{benchmark} failed on {loop}: {why}")
    sys.exit(1 if failures else 0)


def _options():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument(
        "--only", type=catalogue.pattern, default="", metavar="REGEX", help="only benchmarks that it matches"
    )
    parser.add_argument("--quick", action="store_true", help="a choice of rows, 3 rounds: about 5 minutes")
    parser.add_argument("--loops", metavar="LIST", help=f"which loops (known: {', '.join(COMPETITORS)})")
    parser.add_argument("--rounds", type=int, metavar="N", help=f"after a warm-up round (default: {ROUNDS})")
    parser.add_argument("--seconds", type=float, metavar="S", help=f"of a row over the network (default: {SECONDS})")
    parser.add_argument("--no-realtime", action="store_true", help="no SCHED_FIFO for server and client")
    parser.add_argument("--keep", action="store_true", help="write it under bench/results, for bench/report.py")
    parser.add_argument("--json", type=_output, metavar="FILE", help="write what each round measured to this file")
    parser.add_argument("--markdown", action="store_true", help="print the tables as Markdown")
    parser.add_argument("--instructions", action="store_true", help="count instructions under valgrind instead")
    parser.add_argument("--list", action="store_true", help="say what each benchmark does")
    options = parser.parse_args()
    options.rounds = options.rounds or (QUICK_ROUNDS if options.quick else ROUNDS)
    options.seconds = options.seconds or (QUICK_SECONDS if options.quick else SECONDS)
    if options.rounds < 1 or options.seconds < 0:
        parser.error("--rounds: at least 1; --seconds: more than 0")
    return options


def _is_wanted(benchmark, options):
    if options.quick and not benchmark.is_quick:
        return False
    return options.only.search(benchmark.name) or options.only.search(benchmark.title)


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


def _output(text):
    """A path that can be written: a wrong one should be known before the minutes of measuring."""
    path = Path(text)
    try:
        path.touch()
    except OSError as error:
        raise argparse.ArgumentTypeError(f"cannot write {path}: {error.strerror}") from None
    return path


def _network(rows, options):
    """Where the rows over the network are measured; None where there are none or it is not possible."""
    if not rows:
        return None
    try:
        return Network(options.seconds, realtime=not options.no_realtime)
    except WorkerError as error:
        warn(f"the rows over the network are left out: {error}")
        return None


def _benchmarks(competitors, workloads, rows, network):
    """All that is measured, with those who can take part."""
    for workload in workloads:
        able = [competitor for competitor in competitors if competitor.can(workload.needs)]
        yield timing.Benchmark(workload.name, able, functools.partial(_in_worker, workload))
    for row in rows:
        if network.can(row):
            able = [competitor for competitor in [FLOOR, *competitors] if competitor.can(row.needs)]
            yield timing.Benchmark(row.name, able, functools.partial(network.take, row))


def _in_worker(workload, competitor, _number):
    return work(competitor, "measure", competitor.name, workload.name, workload.operations)


def _measure(competitors, benchmarks, options):
    """Measures, and prints the tables. Returns what goes into the JSON file, and what failed."""
    if machine.is_busy():
        warn("the machine is busy: better measure when it is quiet")
    bystanders = machine.Bystanders()
    timings = timing.measure(list(benchmarks), options.rounds)
    share = bystanders.share()
    render = table.markdown if options.markdown else table.text
    for each in tables.tables(timings, [competitor.name for competitor in competitors]):
        print(render(each.head, each.rows), end="\n\n")
    print(tables.legend(timings.rounds, share))
    if share > machine.OTHERS:
        warn("others used the machine while this measured: trust the ratios only, or measure again")
    return {"share of others": share, **timings.as_json()}, timings.failures


def _count(competitors, workloads, options):
    """Counts instructions, and prints the table. Returns what goes into the JSON file, and what failed."""
    counts, failures = instructions.count(competitors, workloads)
    head, rows = tables.of_instructions(counts, workloads, [competitor.name for competitor in competitors])
    print((table.markdown if options.markdown else table.text)(head, rows))
    print("\nIn user space, counted by callgrind: what the kernel does is not in it.")
    return {"instructions": counts}, failures


if __name__ == "__main__":
    try:
        main()
    except KeyboardInterrupt:
        sys.exit("\nbench: interrupted")
