"""Writes the tables of docs/performance.md from a run that was kept.

python3 bench/report.py [FILE]      default: the newest of bench/results

Below them stands the newest count of instructions that was kept.
"""

import argparse
import sys
from pathlib import Path

import preface
import results
import table
import tables
from catalogue import WORKLOADS

ROOT = Path(__file__).resolve().parent.parent
PAGE = ROOT / "docs" / "performance.md"
BEGIN, END = "<!-- begin of the tables: bench/report.py writes them -->", "<!-- end of the tables -->"


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("file", nargs="?", type=Path, help="a JSON file of bench/run.py")
    path = parser.parse_args().file or results.newest()
    if path is None:
        sys.exit("report: no run is kept in bench/results; bench/run.py --keep makes one")
    before, _, rest = PAGE.read_text().partition(BEGIN)
    _, end, after = rest.partition(END)
    if not end:
        sys.exit(f"report: {PAGE.name} does not have the lines between which the tables stand")
    PAGE.write_text(f"{before}{BEGIN}\n\n{text(path)}\n\n{END}{after}")


def text(path):
    """A run as Markdown."""
    about, timings, loops, share = results.read(path)
    parts = [_source(path), preface.text(about, as_markdown=True)]
    for each in tables.tables(timings, loops):
        parts.append(table.markdown(each.head, each.rows))
    parts.append(tables.legend(timings.rounds, share))
    count, missed = tables.short_of_goals(timings)
    if count:
        reached = f"Of {count} goals {count - len(missed)} are reached."
        parts.append("\n".join([reached + (" Short are:\n" if missed else ""), *(f"* {line}" for line in missed)]))
    for (benchmark, loop), why in timings.failures.items():
        parts.append(f"{benchmark} failed on {loop}: {why}.")
    if (counted := results.newest_instructions()) is not None:
        parts += ["### Instructions", _instructions(counted)]
    return "\n\n".join(part.strip() for part in parts)


def _instructions(path):
    counts, loops = results.read_instructions(path)
    return table.markdown(*tables.of_instructions(counts, WORKLOADS.values(), loops))


def _source(path):
    path = path.resolve()
    if not path.is_relative_to(ROOT):
        return f"The run {path.name}, which is not kept."
    return f"The run [{path.name}](../{path.relative_to(ROOT)}), which holds what each round measured."


if __name__ == "__main__":
    main()
