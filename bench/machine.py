"""The machine under the figures: what it is, and what else it was doing."""

import os
import platform
import subprocess
import sysconfig
from pathlib import Path

LOAD = 0.2
"""Of each core. With more at the start, figures are not to be trusted."""

OTHERS = 0.05
"""Share of the processors. With more used by others meanwhile, figures are not to be trusted."""


def describe():
    """The machine and the software that do not belong to a loop, as {name: text}."""
    load = ", ".join(f"{value:.2f}" for value in os.getloadavg())
    return {
        "machine": f"{_processor()}, {_cores()} cores",
        "kernel": f"{platform.system()} {platform.release()}",
        "python": f"{platform.python_implementation()} {platform.python_version()}, {_build_of_python()}",
        "mitigations": _mitigations(),
        "commit": _commit(),
        "load at the start": f"{load} (1, 5, 15 minutes)",
    }


def is_busy():
    """Whether something else has kept the machine busy for the last minute."""
    return os.getloadavg()[0] > LOAD * _cores()


def _cores():
    return len(os.sched_getaffinity(0))


def _processor():
    for line in Path("/proc/cpuinfo").read_text().splitlines():
        name, _, value = line.partition(":")
        if name.strip() == "model name":
            return value.strip()
    return platform.machine()


def _mitigations():
    """What the kernel does against flaws of the processor: some of it makes each system call slower."""
    found = []
    for path in sorted(Path("/sys/devices/system/cpu/vulnerabilities").glob("*")):
        text = path.read_text().strip()
        if not text.startswith("Not affected"):
            found.append(f"{path.name} {text.removeprefix('Mitigation: ').split(';')[0].split(',')[0]}")
    return ", ".join(found) or "none needed, or unknown"


def _build_of_python():
    """What makes one build of a Python faster than another of the same version."""
    options = sysconfig.get_config_var("CONFIG_ARGS") or ""
    profiled = "with" if "--enable-optimizations" in options else "without"
    linked = "shared" if sysconfig.get_config_var("Py_ENABLE_SHARED") else "static"
    return f"configured {profiled} --enable-optimizations, {linked}, by {platform.python_compiler()}"


def _commit():
    """The commit of this clone, and whether there are changes since."""
    here = Path(__file__).resolve().parent

    def git(*arguments):
        return subprocess.run(["git", *arguments], cwd=here, capture_output=True, text=True, check=True).stdout.strip()

    try:
        commit = git("rev-parse", "--short", "HEAD")
        return f"{commit}, with changes" if git("status", "--porcelain") else commit
    except (OSError, subprocess.CalledProcessError):
        return "unknown"


class Bystanders:
    """How much of the processors others used, from when this was made until it is asked: other processes, and other
    guests of the same host."""

    def __init__(self):
        self._before = self._now()

    def share(self):
        """Between 0 and 1."""
        busy, total, own = (now - before for now, before in zip(self._now(), self._before, strict=True))
        return max(0.0, busy - own) / total if total else 0.0

    @staticmethod
    def _now():
        """Seconds that all processors were busy or stolen, seconds that passed on them, seconds of this process and its
        children that have ended."""
        with open("/proc/stat") as file:
            ticks = [int(field) for field in file.readline().split()[1:9]]
        _user, _nice, _system, idle, waiting, *_ = ticks
        second = os.sysconf("SC_CLK_TCK")
        return (sum(ticks) - idle - waiting) / second, sum(ticks) / second, sum(os.times()[:4])
