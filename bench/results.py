"""Runs that are kept: a JSON file each under bench/results, with what every round measured."""

import datetime
import json
import platform
import re
from pathlib import Path

import timing

FOLDER = Path(__file__).resolve().parent / "results"

INSTRUCTIONS = "instructions-"
"""What the names of runs begin with that counted instructions. Others begin with their date."""


def name_of(about, counts_instructions=False):
    """A file for a run of today: the date, the machine, the Python."""
    machine = re.sub(r"[^a-z0-9]+", "-", re.sub(r"\(\w+\)", "", about["machine"].lower())).strip("-")
    kind = INSTRUCTIONS if counts_instructions else ""
    return FOLDER / f"{kind}{datetime.date.today()}-{machine}-{platform.python_version()}.json"


def write(path, about, loops, measured):
    """Writes a run; each sample has a line, so that two runs can be compared."""
    head = {"about": about, "loops": loops, **measured}
    samples = head.pop("samples", [])
    lines = ",\n".join(json.dumps(sample) for sample in samples)
    # In place of the closing brace.
    text = json.dumps(head, indent=1).removesuffix("\n}")
    path.parent.mkdir(exist_ok=True)
    path.write_text(f'{text},\n "samples": [\n{lines}\n]}}\n')


def read(path):
    """A run: what stood before its tables, its figures, the loops, and the share of the processors that others used."""
    run = json.loads(path.read_text())
    return run["about"], timing.Timings.from_json(run), list(run["loops"]), run["share of others"]


def read_instructions(path):
    """A run that counted instructions: {benchmark: {loop: {what: number}}}, and the loops."""
    run = json.loads(path.read_text())
    return run["instructions"], list(run["loops"])


def newest():
    """The run that was kept last; None where there is none."""
    return max(FOLDER.glob("[0-9]*.json"), default=None)


def newest_instructions():
    """The same of those that counted instructions."""
    return max(FOLDER.glob(f"{INSTRUCTIONS}*.json"), default=None)
