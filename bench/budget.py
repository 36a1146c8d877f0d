"""Whether boucle got more expensive: instructions and system calls, held against the budgets of bench/budget.json.

    .venv/3.13/bin/python bench/budget.py [--only REGEX] [--json FILE]     fails past 5 % above a budget
    .venv/3.13/bin/python bench/budget.py --update                         makes what was counted the budget

Counts repeat where times do not, so that this may run on a busy machine, and two cores are used. Needs valgrind for
the workloads and strace for the servers. Exit status: 0 within the budgets, 1 not, 2 nothing to compare with.
"""

import argparse
import functools
import json
import shutil
import sys
from pathlib import Path

import allowances
import calls
import catalogue
import instructions
import table
from loops import COMPETITORS
from processes import side_by_side, warn

FILE = Path(__file__).resolve().parent / "budget.json"

UNSTEADY = {"tcp_pieces"}
"""Rows that differ by more than 2 % from run to run. strace stops the step of this one when it receives, and may keep
it for longer than the millisecond in which boucle puts writes off. uvicorn writes in a later step, which is not stopped
before: its row shows that writes are put off."""

BOUCLE = COMPETITORS["boucle"]

FAILED, NOTHING_TO_COMPARE = 1, 2


def main():
    options = _options()
    jobs = _jobs(options.only)
    budgets = allowances.read(options.file)
    python, here = allowances.python(), allowances.makers()
    part = budgets.get(python, {"made by": here, "rows": {}})
    if python not in budgets and not options.update:
        _refuse(f"{options.file} has no budgets for {python}; to make them: {sys.executable} {sys.argv[0]} --update")
    same = allowances.is_same_python(part["made by"], here)
    if options.update and options.only.pattern and not same:
        _refuse("the other budgets were made by another Python or libc: update all, without --only")
    counted, failures = side_by_side(jobs)
    # In the order of the catalogue, not in that in which they were ready.
    counted = {row: counted[row] for row in jobs if row in counted}
    comparisons = allowances.compare(counted, part["rows"], same)
    print(_table(comparisons))
    for row, why in failures.items():
        warn(f"{row} was not counted: {why}")
    if options.json:
        options.json.write_text(json.dumps({"made by": here, "rows": counted}, indent=1) + "\n")
    if options.update:
        _update(options, budgets, python, here, part, counted, failures)
        sys.exit(FAILED if failures else 0)
    sys.exit(_conclude(comparisons, failures, part["made by"], here, same))


def _options():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument(
        "--only", type=catalogue.pattern, default="", metavar="REGEX", help="only rows whose name it matches"
    )
    parser.add_argument("--update", action="store_true", help="write what was counted as the new budgets")
    parser.add_argument("--json", type=Path, metavar="FILE", help="write what was counted to this file")
    parser.add_argument("--file", type=Path, default=FILE, help="of the budgets (default: bench/budget.json)")
    return parser.parse_args()


def _jobs(only):
    """What counts each row, {name: function}. Exits where a program is missing for it."""

    def is_wanted(name):
        return name not in UNSTEADY and only.search(name)

    workloads = [each for each in instructions.countable(catalogue.WORKLOADS.values()) if is_wanted(each.name)]
    kinds = [kind for kind in calls.kinds() if is_wanted(kind)]
    if not workloads and not kinds:
        _refuse(f"--only {only.pattern!r} matches no row")
    if not BOUCLE.is_installed():
        _refuse("boucle is not installed here; see bench/README.md for the environment")
    needed = {"valgrind": bool(workloads), "strace": bool(kinds), "openssl": "tls_protocol" in kinds}
    missing = [name for name, is_needed in needed.items() if is_needed and not shutil.which(name)]
    if missing:
        _refuse(f"not installed: {', '.join(missing)}; to install: apt-get install {' '.join(missing)}")
    counting = {workload.name: functools.partial(_instructions, workload) for workload in workloads}
    return counting | {kind: functools.partial(calls.per_message, BOUCLE, kind) for kind in kinds}


def _instructions(workload):
    counts = instructions.per_operation(BOUCLE, workload)
    return {what: round(counts[what]) for what in (instructions.OWN, instructions.WHOLE)}


def _table(comparisons):
    """Of a server, only the calls together, and those that are not as they should be."""
    always = (instructions.OWN, instructions.WHOLE, calls.TOTAL)
    telling = (allowances.OVER, allowances.BETTER)
    shown = [each for each in comparisons if each.what in always or each.verdict in telling]
    rows = []
    for each in shown:
        difference = "" if each.difference is None else f"{each.difference:+.1%}"
        numbers = ["" if number is None else f"{number:,}" for number in (each.counted, each.budget)]
        verdict = (each.verdict, each.verdict == allowances.OVER)
        rows.append([each.row, each.what, *numbers, difference, verdict])
    return table.text(["row", "what", "counted", "budget", "difference", ""], rows)


def _conclude(comparisons, failures, made_by, here, same):
    """Says how it went. Returns the exit status."""
    if not same:
        warn(
            "the budgets are of another build of this Python or libc: of instructions, only boucle's own were compared"
        )

    def rows_that_are(verdict):
        return list(dict.fromkeys(each.row for each in comparisons if each.verdict == verdict))

    if better := rows_that_are(allowances.BETTER):
        print(f"\n{allowances.TOLERANCE:.0%} better or more, so --update can lower the budget: {', '.join(better)}")
    if new := rows_that_are(allowances.NEW):
        print(f"\nwithout a budget, which --update makes: {', '.join(new)}")
    over = rows_that_are(allowances.OVER)
    if over:
        print(f"\nmore than {allowances.TOLERANCE:.0%} over the budget: {', '.join(over)}")
        if made_by["rustc"] != here["rustc"]:
            print(f"which may be the compiler: the budgets were made with {made_by['rustc']}, here is {here['rustc']}")
    return FAILED if over or new or failures else 0


def _update(options, budgets, python, here, part, counted, failures):
    """Writes the budgets. A row that could not be counted keeps its own; one that is gone loses it."""
    kept = part["rows"] if options.only.pattern else {row: part["rows"][row] for row in failures if row in part["rows"]}
    budgets[python] = {"made by": here, "rows": kept | counted}
    allowances.write(options.file, budgets)
    print(f"\nwritten: {options.file}")


def _refuse(why):
    print(f"budget: {why}", file=sys.stderr)
    sys.exit(NOTHING_TO_COMPARE)


if __name__ == "__main__":
    try:
        main()
    except KeyboardInterrupt:
        sys.exit("\nbudget: interrupted")
