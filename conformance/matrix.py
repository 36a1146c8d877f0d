"""CPython's own tests of tasks and futures, with boucle's classes beside asyncio's, on asyncio's loop and on boucle's.

    python conformance/matrix.py                      every combination, on both loops
    python conformance/matrix.py --oracle             asyncio's own classes: must pass wholly
    python conformance/matrix.py --only 'ours, C\\).*test_cancel' -v

A combination says of which kind the tasks and the futures are: (ours, C) are tasks of boucle that await asyncio's
native futures. The loop "cpython" is the one that CPython's tests bring, "boucle" a boucle loop in its place;
fake_clock.py says which tests cannot move. Runs in the Python that is to be tested, with boucle installed.

A run fails if a test fails that differences.json does not list, if a test that it lists passes, and if a class has
another number of tests than expected_counts.json says: a class that tests nothing would pass. A test that crashes or
hangs the interpreter has failed; the others run. BOUCLE_BLESS=1 with --oracle writes the numbers anew.
"""

import argparse
import collections
import concurrent.futures
import json
import os
import platform
import re
import signal
import subprocess
import sys
import tempfile
import time
from dataclasses import dataclass, field
from pathlib import Path

HERE = Path(__file__).resolve().parent
COUNTS = HERE / "expected_counts.json"
DIFFERENCES = HERE / "differences.json"
MINOR = "{}.{}".format(*sys.version_info)
RELEASE = platform.python_version()
MOST_CRASHES = 20  # of one combination on one loop; then the rest of it is given up
SECONDS_FOR_ALL = 1800
LINES_OF_A_TRACEBACK = 14


@dataclass
class Cell:
    """One combination on one loop, and what came out."""

    combination: tuple
    loop: str
    plan: dict = field(default_factory=dict)
    outcomes: dict = field(default_factory=dict)  # of each test: (how it ended, text)
    accident: str = ""  # what happened to the process outside of any test
    seconds: float = 0.0

    @property
    def title(self):
        return f"({', '.join(self.combination)}) on {self.loop}"

    def count(self, outcome):
        return sum(how == outcome for how, _ in self.outcomes.values())


def main():
    options = arguments()
    try:
        import classes
    except ImportError as error:
        sys.exit(f"matrix: {error}: boucle and CPython's `test` package must be installed in {sys.executable}")
    lacking = None if options.oracle else classes.missing()
    if lacking:
        sys.exit(f"matrix: {lacking}")
    loops = classes.LOOPS if options.loop == "both" else [options.loop]
    combinations = classes.ORACLE if options.oracle else classes.COMBINATIONS
    cells = [Cell(combination, loop) for combination in combinations for loop in loops]
    print(f"CPython {RELEASE}'s tests of tasks and futures, boucle {version_of_boucle()}", flush=True)
    with concurrent.futures.ThreadPoolExecutor(options.jobs) as pool:
        list(pool.map(lambda cell: run(cell, options.only), cells))
    complete = not options.only and options.loop == "both"
    if os.environ.get("BOUCLE_BLESS") == "1" and options.oracle and complete:
        bless(cells)
    differences = [] if options.oracle else json.loads(DIFFERENCES.read_text())
    failures, listed = compare_with_differences(cells, differences)
    problems = [*accidents(cells), *unused(differences, listed, complete), *wrong_counts(cells, complete)]
    print_table(cells, failures, options.verbose)
    print_failures(failures, options.verbose)
    for problem in problems:
        print(f"matrix: {problem}")
    if options.json:
        Path(options.json).write_text(json.dumps(as_json(cells, failures, listed, problems), indent=1) + "\n")
    print("matrix: " + ", ".join(f"{count} {name}" for name, count in totals(cells, failures, listed).items()))
    sys.exit(1 if failures or problems else 0)


def arguments():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--oracle", action="store_true", help="asyncio's own classes in the place of ours")
    parser.add_argument("--loop", choices=["cpython", "boucle", "both"], default="both")
    parser.add_argument("--only", default="", metavar="REGEX", help="of '(ours, C) boucle CFutureTests.test_cancel'")
    parser.add_argument("--jobs", type=int, default=os.cpu_count(), help="processes at a time (default: one per core)")
    parser.add_argument("--json", metavar="FILE", help="write the results there")
    parser.add_argument("-v", "--verbose", action="store_true", help="also each class, and whole tracebacks")
    return parser.parse_args()


def version_of_boucle():
    import boucle

    return boucle.__version__


# Running.


def run(cell, only):
    """Run a cell's tests, in as many processes as crashes make necessary."""
    began = time.monotonic()
    with tempfile.TemporaryDirectory() as folder:
        for _ in range(MOST_CRASHES):
            if run_process(cell, only, Path(folder)):
                break
        else:
            cell.accident = f"given up after {MOST_CRASHES} crashes"
    cell.seconds = time.monotonic() - began


def run_process(cell, only, folder):
    """Run what has not been run. Whether that was all; otherwise the test in which the process died has failed."""
    events, log = folder / "events", folder / "log"
    events.write_text("")
    order = {
        "combination": cell.combination,
        "loop": cell.loop,
        "only": only,
        "done": list(cell.outcomes),
        "events": str(events),
    }
    with open(log, "w") as output:
        worker = [sys.executable, "-X", "faulthandler", str(HERE / "worker.py")]
        try:
            status = subprocess.run(
                worker,
                input=json.dumps(order).encode(),
                stdout=output,
                stderr=subprocess.STDOUT,
                cwd=folder,
                timeout=SECONDS_FOR_ALL,
            ).returncode
        except subprocess.TimeoutExpired:
            status = None
    current, done = None, False
    for line in events.read_text().splitlines():
        event = json.loads(line)
        cell.plan = event.get("plan", cell.plan)
        current = event.get("start", current)
        done = done or "done" in event
        if "end" in event:
            cell.outcomes[event["end"]] = event["outcome"], event["detail"]
            current = None
    if status == 0 and done:
        return True
    death = f"{end_of(log)}\n{death_of(status, log)}"
    if current is None:
        cell.accident = f"outside of any test: {death}"
        return True
    cell.outcomes[current] = "failed", death
    return False


def death_of(status, log):
    text = log.read_text(errors="replace")
    if status is None:
        return f"the process was ended after {SECONDS_FOR_ALL} s"
    if status < 0:
        return f"the interpreter died of {signal.Signals(-status).name}"
    if "Timeout (" in text:
        return "the test hung"
    return f"the interpreter exited with status {status}"


def end_of(log, lines=40):
    """The end of what the process printed: where it died."""
    return "\n".join(log.read_text(errors="replace").splitlines()[-lines:])


# Judging.


def compare_with_differences(cells, differences):
    """The failures, {test: [(cell, text)]}; and for each listed difference how often it failed and passed as listed."""
    failures = collections.defaultdict(list)
    listed = [collections.Counter() for _ in differences]
    for cell in cells:
        for test, (how, text) in cell.outcomes.items():
            entries = [number for number, entry in enumerate(differences) if applies(entry, cell, test)]
            for number in entries:
                listed[number][how] += 1
                if how == "passed":
                    reason = "passes, and stands in differences.json: remove it, or say where it fails"
                    failures[test].append((cell, reason))
            if how == "failed" and not entries:
                failures[test].append((cell, text))
    return failures, listed


def applies(entry, cell, test):
    """Whether an entry of differences.json is about this test. What it does not say holds everywhere."""
    name_of_class, name = test.split(".")
    return (
        entry["test"] == name
        and name_of_class in entry.get("classes", [name_of_class])
        and list(cell.combination) in entry.get("combinations", [list(cell.combination)])
        and cell.loop in entry.get("loops", [cell.loop])
        and MINOR in entry.get("pythons", [MINOR])
    )


def unused(differences, listed, complete):
    """Entries of differences.json that are about no test, or do not give what an entry must."""
    documented = (HERE.parent / "docs" / "compatibility.md").read_text() if differences else ""
    for entry, counts in zip(differences, listed, strict=True):
        if not entry.get("reason"):
            yield f"differences.json gives no reason for {entry['test']}"
        if f"`{entry['test']}`" not in documented:
            yield f"docs/compatibility.md does not name {entry['test']}, which differences.json lists"
        if complete and not counts and MINOR in entry.get("pythons", [MINOR]):
            yield f"differences.json lists {entry['test']}, and no such test ran"


def accidents(cells):
    return [f"{cell.title}: {cell.accident}" for cell in cells if cell.accident]


def wrong_counts(cells, complete):
    """Where a class has not the number of tests that it should have."""
    if not complete:
        print("The numbers of tests are not compared: this is a part of the matrix.")
        return
    known = json.loads(COUNTS.read_text()).get(MINOR)
    if known is None:
        yield f"{COUNTS.name} knows nothing of Python {MINOR}: BOUCLE_BLESS=1 matrix.py --oracle writes the numbers"
        return
    never_run = set(known["classes"])
    for cell in cells:
        for name in cell.plan:
            never_run.discard(name)
            expected, found = known["classes"].get(name, {}), counts_of(cell, name)
            if not agrees(found["run"], expected.get(cell.loop, 0), known["release"]):
                yield f"{cell.title}, {name}: {found['run']} tests, expected {expected.get(cell.loop, 0)}"
            if found["skipped"] > expected.get("skipped", 0):
                yield f"{cell.title}, {name}: {found['skipped']} skipped, expected {expected.get('skipped', 0)}"
    yield from (f"{name} was not run at all" for name in sorted(never_run))


def agrees(found, expected, release):
    """Another release of the same Python may have a few tests more or fewer; a tenth, and never none."""
    if release == RELEASE:
        return found == expected
    return found > 0 and abs(found - expected) <= max(1, expected // 10)


def counts_of(cell, name):
    outcomes = [how for test, (how, _) in cell.outcomes.items() if test.startswith(f"{name}.")]
    return {
        "run": len(outcomes),
        "failed": outcomes.count("failed"),
        "skipped": outcomes.count("skipped"),
        "fake_clock": len(cell.plan[name]["fake_clock"]),
    }


def bless(cells):
    counts = json.loads(COUNTS.read_text()) if COUNTS.exists() else {}
    of_classes = collections.defaultdict(dict)
    for cell in cells:
        for name in cell.plan:
            found = counts_of(cell, name)
            of_classes[name][cell.loop] = found["run"]
            if found["skipped"]:
                of_classes[name]["skipped"] = max(found["skipped"], of_classes[name].get("skipped", 0))
    counts[MINOR] = {"release": RELEASE, "classes": dict(sorted(of_classes.items()))}
    in_order = sorted(counts.items(), key=lambda item: [int(part) for part in item[0].split(".")])
    text = json.dumps(dict(in_order), indent=1)
    # A class on a line.
    text = re.sub(r"\{\s+([^{}]*?)\s+\}", lambda match: "{" + re.sub(r"\s+", " ", match.group(1)) + "}", text)
    COUNTS.write_text(text + "\n")
    print(f"wrote the numbers of Python {MINOR} to {COUNTS.name}")


# Telling.


def print_table(cells, failures, verbose):
    def row(name, *numbers):
        print(f"{name:<32}" + "".join(f"{number:>12}" for number in numbers))

    print()
    row("(task, future) on loop", "run", "failed", "listed", "skipped", "fake clock", "seconds")
    for cell in cells:
        if not cell.plan or (not cell.outcomes and not cell.accident):
            continue
        failed = len(of_cell(failures, cell))
        listed = cell.count("failed") - sum(cell.outcomes[test][0] == "failed" for test in of_cell(failures, cell))
        fake_clock = sum(len(of_class["fake_clock"]) for of_class in cell.plan.values())
        numbers = len(cell.outcomes), failed, listed, cell.count("skipped"), fake_clock
        row(cell.title, *numbers, f"{cell.seconds:.0f}")
        for name in cell.plan if verbose else ():
            found = counts_of(cell, name)
            row(f"  {name}", found["run"], found["failed"], "", found["skipped"], found["fake_clock"])
    print("listed: they fail, and differences.json says why")
    print("fake clock: they need CPython's test loop, so they run on that alone (not counted in run)\n")


def of_cell(failures, cell):
    """The tests that failed in a cell, or pass though they are listed."""
    return [test for test, places in failures.items() if any(cell is where for where, _ in places)]


def print_failures(failures, verbose):
    """Each failing test once, where it fails, and the end of its traceback in the first of these places."""
    for test, places in sorted(failures.items()):
        print(f"FAILED {test} {'; '.join(cell.title for cell, _ in places)}")
        lines = places[0][1].rstrip().splitlines()
        if not verbose:
            lines = lines[-LINES_OF_A_TRACEBACK:]
        print("\n".join(f"    {line}" for line in lines) + "\n", flush=True)


def as_json(cells, failures, listed, problems):
    return {
        "python": RELEASE,
        "boucle": version_of_boucle(),
        "total": totals(cells, failures, listed),
        "cells": [
            {
                "combination": cell.combination,
                "loop": cell.loop,
                "classes": {name: counts_of(cell, name) for name in cell.plan},
                "failures": {test: cell.outcomes[test][1] for test in of_cell(failures, cell)},
                "fake_clock": {name: of_class["fake_clock"] for name, of_class in cell.plan.items()},
                "seconds": round(cell.seconds, 1),
            }
            for cell in cells
        ],
        "problems": problems,
    }


def totals(cells, failures, listed):
    return {
        "passed": sum(cell.count("passed") for cell in cells),
        "failed": sum(map(len, failures.values())),
        "skipped": sum(cell.count("skipped") for cell in cells),
        "failed as listed": sum(counts["failed"] for counts in listed),
    }


if __name__ == "__main__":
    main()
