"""A starvation in words, for people who read a log: who held the processor, where, how long, and who had to wait."""

import linecache
import os

from ._quantities import show_time

SHOWN_VICTIMS = 3


def title(starvation):
    """What happened, in a few words."""
    return f"event loop blocked {show_time(starvation.duration)}"


def sentence(starvation, limit, folder):
    """What happened, who had to wait, and what helps, each on its line. A file in the folder is named from there."""
    file, line = starvation.file, starvation.line
    at = f"at {_short(file, folder)}:{line}" if file else "at an unknown place"
    source = linecache.getline(file, line).strip() if file and line else ""
    parts = [f"{title(starvation)} (at most {show_time(limit)}): {starvation.task} ({starvation.coroutine}) {at}"]
    parts += [source] if source else []
    parts += [f"[{starvation.cause}]"] if starvation.cause else []
    return "  ".join(parts) + _victims(starvation.victims) + (f"\n{starvation.advice}" if starvation.advice else "")


def _victims(victims):
    if not victims:
        return ""
    shown = ", ".join(f"{victim.task} {show_time(victim.waited)}" for victim in victims[:SHOWN_VICTIMS])
    more = len(victims) - SHOWN_VICTIMS
    return f"\nhad to wait: {shown}" + (f", and {more} more" if more > 0 else "")


def _short(file, folder):
    return os.path.relpath(file, folder) if is_inside(file, folder) else file


def is_inside(file, folder):
    """Whether a file lies in a folder, or below it."""
    return os.path.commonpath([os.path.abspath(file), os.path.abspath(folder)]) == os.path.abspath(folder)
