"""Tables: rows of text as columns for a terminal, or as Markdown."""

import os
import sys


def text(head, rows):
    """Columns for a terminal: the first one flush left, the others flush right. A cell is a text, or (text, whether it
    stands out)."""
    plain = [[_text(cell) for cell in row] for row in [head, *rows]]
    widths = [max(map(len, column)) for column in zip(*plain, strict=True)]
    bold = sys.stdout.isatty() and not os.environ.get("NO_COLOR")
    lines = []
    for row in [head, *rows]:
        cells = []
        for index, (cell, width) in enumerate(zip(row, widths, strict=True)):
            padded = _text(cell).rjust(width) if index else _text(cell).ljust(width)
            cells.append(f"\x1b[1m{padded}\x1b[0m" if bold and (row is head or _stands_out(cell)) else padded)
        lines.append("  ".join(cells).rstrip())
    return "\n".join(lines)


def markdown(head, rows):
    """The same as Markdown."""
    lines = ["|".join(["", *(f" {_text(cell)} " for cell in head), ""])]
    lines.append("|".join(["", " --- ", *(" ---: " for _ in head[1:]), ""]))
    for row in rows:
        cells = (f" **{_text(cell)}** " if _stands_out(cell) else f" {_text(cell)} " for cell in row)
        lines.append("|".join(["", *cells, ""]))
    return "\n".join(lines)


def _text(cell):
    return cell if isinstance(cell, str) else cell[0]


def _stands_out(cell):
    return not isinstance(cell, str) and cell[1]
