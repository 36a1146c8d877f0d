"""Times as people write and read them."""

import argparse


def parse_time(text):
    """A time as people write it, in seconds. Raises argparse.ArgumentTypeError."""
    for unit, scale in (("ms", 1e-3), ("us", 1e-6), ("µs", 1e-6), ("s", 1.0), ("", 1.0)):
        if text.endswith(unit):
            number = text[: len(text) - len(unit)] if unit else text
            try:
                seconds = float(number) * scale
            except ValueError:
                break
            if 0 < seconds < 1e6:
                return seconds
            break
    raise argparse.ArgumentTypeError(f"{text!r} is no time: write 50ms, 0.05s or 0.05")


def show_time(seconds):
    """A time as people read it."""
    if seconds >= 10:
        return f"{seconds:.0f} s"
    if seconds >= 1:
        return f"{seconds:.2f} s"
    if seconds >= 1e-3:
        return f"{seconds * 1e3:.0f} ms"
    return f"{seconds * 1e6:.0f} µs"
