"""``%%chronology`` in Jupyter and IPython: runs the cell, then shows who ran and who had to wait.

    %load_ext boucle                   # the kernel "Python (boucle)" does this by itself

    %%chronology
    await asyncio.gather(one(), two())

A cell with this first line stays an ordinary cell: ``await`` works at its top level, its last value is shown, its
names stay. The line is replaced by one that begins a recording, and steps aside once, so that what follows is a step of
its own; the recording ends with the cell, also with one that raises.

# What notebooks show

JupyterLab takes ``text/html`` first, in a notebook that is not trusted too, and then lets only harmless markup through.
It shows ``image/svg+xml`` in a trusted notebook only, since such a picture could contain a script. A picture in an
<img> can run none, and passes: so that is what our HTML is.
"""

import argparse
import asyncio
import base64
import html
import re
import shlex
import sys

from ._loop import Loop
from ._quantities import parse_time
from ._recording import DEFAULT_THRESHOLD, Chronology, check_can_save, record

# Those of ipykernel: what they run is not the cell's.
_KERNEL_THREADS = ["IOPub", "Control", "Heartbeat"]

_FIRST_LINE = re.compile(r"%%chronology(?:[ \t]+(?P<options>.*?))?\s*$")

ADVICE = (
    "boucle: nothing was recorded, since this kernel's loop is not boucle's. `boucle kernel install` adds the kernel "
    '"Python (boucle)": choose it and run the notebook again.'
)


def load(shell):
    """Add the magic to an IPython shell."""
    if _begin_with_recording not in shell.input_transformers_cleanup:
        shell.input_transformers_cleanup.append(_begin_with_recording)
        shell.register_magic_function(chronology, "cell", "chronology")


def unload(shell):
    """Take it out again."""
    shell.input_transformers_cleanup.remove(_begin_with_recording)
    shell.magics_manager.magics["cell"].pop("chronology", None)


def _begin_with_recording(lines):
    """The lines of a cell, without our first line."""
    found = _FIRST_LINE.match(lines[0]) if lines else None
    if found is None:
        return lines
    options = found["options"] or ""
    return [f"await __import__('boucle._magics')._magics.begin(get_ipython(), {options!r})\n", *lines[1:]]


def chronology(line, cell):
    """Run the cell on boucle, then show its chronology: who ran, when, and who had to wait.

    %%chronology [--threshold TIME] [-o FILE]

    TIME, such as 50ms (the default): a step that is longer starves the others. FILE: where to save the chronology, as
    Chronology.save does.
    """
    # The cell as it is written never comes here; what calls run_cell_magic does, and cannot await.
    from IPython import get_ipython

    get_ipython().run_cell(f"%%chronology {line}\n{cell}")


async def begin(shell, options):
    """Begin the recording of the cell that runs."""
    options = _parse(options)
    number = len(shell.user_ns["In"]) - 1  # Versions differ in when they count execution_count up.
    recording = record(threshold=options.threshold, program=f"cell {number}")
    is_ours = isinstance(asyncio.get_running_loop(), Loop)

    def end():
        shell.events.unregister("post_execute", end)
        recording.__exit__(None, None, None)
        of_cell = Chronology(recording._source().without_threads(_KERNEL_THREADS), options.threshold)
        if of_cell.steps:
            _show(of_cell)
        elif not is_ours:
            print(ADVICE, file=sys.stderr)
        if options.output:
            of_cell.save(options.output)

    shell.events.register("post_execute", end)
    recording.__enter__()
    await asyncio.sleep(0)


class _Parser(argparse.ArgumentParser):
    def error(self, message):
        # Not IPython's UsageError: where that is a kernel's first error, ipykernel 7.4 never answers.
        raise ValueError(f"%%chronology: {message}")


def _parse(options):
    parser = _Parser(prog="%%chronology", add_help=False)
    parser.add_argument("--threshold", type=parse_time, default=DEFAULT_THRESHOLD)
    parser.add_argument("-o", "--output", type=_file)
    try:
        return parser.parse_args(shlex.split(options))
    except ValueError as error:
        parser.error(str(error))


def _file(path):
    try:
        check_can_save(path)
    except ValueError as error:
        raise argparse.ArgumentTypeError(str(error)) from None
    return path


def _show(of_cell):
    from IPython.display import display

    display(bundle(of_cell), raw=True)


def bundle(recording):
    """A chronology by MIME type, for a notebook."""
    picture, text = recording.svg(), recording.text(width=100)
    data = base64.b64encode(picture.encode()).decode()
    return {
        "text/html": f'<img src="data:image/svg+xml;base64,{data}" alt="{html.escape(text)}">',
        "image/svg+xml": picture,
        "text/plain": text,
    }
