"""Lines of source code, for the pictures that show them."""

import linecache


def read(wanted):
    """The lines that can be read of those that are wanted: {file: {number: line}} of {file: numbers}, from 1."""
    sources = {}
    for file, numbers in wanted.items():
        lines = linecache.getlines(file)
        found = {number: lines[number - 1] for number in sorted(numbers) if number <= len(lines)}
        if found:
            sources[file] = found
    return sources
