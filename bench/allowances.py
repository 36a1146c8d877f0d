"""The file of budgets: what each row may cost, for each version of Python and architecture, and how a count compares.

A row has numbers by the name of what was counted: for a workload `own`, the instructions in boucle's extension, and
`all`, those of the whole process; for a server `calls`, all its system calls, and those of each name.

`all` is mostly Python, and another build of the same Python has another number there: it is held against the budget
only where the budget was made by the very interpreter that runs. `own` needs no more than the same version.
"""

import dataclasses
import hashlib
import json
import platform
import subprocess
import sys
import sysconfig

from instructions import WHOLE

TOLERANCE = 0.05
"""By which share a count may be above its budget. A count that is lower by as much makes a lower budget worthwhile."""

ROUNDING = 0.01
"""The last digit of a count of calls, and what two counts of the same may differ by."""

OVER, BETTER, NEW, FINE = "over", "better", "no budget", ""


@dataclasses.dataclass(frozen=True)
class Comparison:
    """A number of a row next to its budget."""

    row: str
    what: str
    counted: float
    budget: "float | None"

    @property
    def difference(self):
        """By which share the count is above the budget; None where there is nothing to compare with."""
        return (self.counted - self.budget) / self.budget if self.budget else None

    @property
    def verdict(self):
        """OVER, BETTER, NEW or FINE."""
        if self.budget is None:
            return NEW
        if self.counted > self.budget * (1 + TOLERANCE) + ROUNDING:
            return OVER
        return BETTER if self.counted < self.budget * (1 - TOLERANCE) - ROUNDING else FINE


def compare(counted, budgets, is_same_python):
    """Each number of each row that was counted next to its budget."""
    comparisons = []
    for row, numbers in counted.items():
        allowed = budgets.get(row)
        for what in sorted({*numbers, *(allowed or {})}, key=[*numbers, *(allowed or {})].index):
            if what == WHOLE and not is_same_python:
                continue
            # A call that was never made before had 0; so has one that is no longer made.
            budget = None if allowed is None else allowed.get(what, 0)
            comparisons.append(Comparison(row, what, numbers.get(what, 0), budget))
    return comparisons


def python():
    """What budgets are kept by."""
    return f"{sys.version_info.major}.{sys.version_info.minor} {platform.machine()}"


def makers():
    """What the numbers depend on besides: {name: text}."""
    configured = sysconfig.get_config_var("CONFIG_ARGS") or ""
    return {
        "python": sys.version,
        "configured": hashlib.sha256(configured.encode()).hexdigest()[:12],
        "libc": " ".join(platform.libc_ver()),
        "rustc": _rustc(),
    }


def _rustc():
    try:
        return subprocess.run(["rustc", "--version"], capture_output=True, text=True, check=True).stdout.strip()
    except (OSError, subprocess.CalledProcessError):
        return "unknown"


def is_same_python(made_by, here):
    """Whether budgets were made by the interpreter that runs here."""
    return all(made_by[name] == here[name] for name in ("python", "configured", "libc"))


def read(path):
    """{Python and architecture: {"made by": ..., "rows": ...}}; nothing where there is no file yet."""
    return json.loads(path.read_text()) if path.exists() else {}


def write(path, budgets):
    """Writes all of it, a line for each row, so that a change shows which."""
    parts = []
    for key, part in sorted(budgets.items()):
        made_by = ",\n".join(f"   {_entry(*item)}" for item in part["made by"].items())
        rows = ",\n".join(f"   {_entry(*item)}" for item in part["rows"].items())
        parts.append(f' {json.dumps(key)}: {{\n  "made by": {{\n{made_by}\n  }},\n  "rows": {{\n{rows}\n  }}\n }}')
    path.parent.mkdir(exist_ok=True)
    path.write_text("{\n" + ",\n".join(parts) + "\n}\n")


def _entry(name, value):
    return f"{json.dumps(name)}: {json.dumps(value)}"
