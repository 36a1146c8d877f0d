"""The command ``boucle``: run and record programs, look into running ones, show recordings, add a Jupyter kernel.

Data goes to stdout, talk to stderr. Exit status: that of the program for run and record; 2 for a wrong call; 1 for
anything else that failed.
"""

import argparse
import contextlib
import os
import shutil
import signal
import sys
import sysconfig

from . import __version__, _annotations
from ._quantities import parse_time
from ._recording import DEFAULT_THRESHOLD, check_can_save, load, record, snapshot
from ._watching import watch

_ANY_KIND = "a name in .html, .svg, .txt, .json, .pftrace or .boucle"


def main(arguments=None):
    arguments = sys.argv[1:] if arguments is None else arguments
    if arguments[:1] == ["top"]:
        return _top(arguments[1:])
    parser = _parser()
    try:
        options = parser.parse_args(_spelt_out(arguments))
    except SystemExit:  # It has helped, or complained.
        _print(end="")
        raise
    if options.command is None:
        _print(parser.format_help(), end="")
        return 2
    try:
        return options.run(options)
    except (OSError, ValueError) as error:
        _say(f"error: {error}")
        return 1


class _Parser(argparse.ArgumentParser):
    """A parser whose help may find no reader any more. Newer Pythons' may anyway."""

    def _print_message(self, message, file=None):
        with contextlib.suppress(BrokenPipeError):
            super()._print_message(message, file)


def _parser():
    parser = _Parser(
        prog="boucle",
        description="asyncio's event loop in Rust, which shows what it did.",
        epilog="python -m boucle without arguments starts a REPL in which await works at the top level.",
    )
    parser.add_argument("--version", action="version", version=f"boucle {__version__}")
    commands = parser.add_subparsers(dest="command", metavar="COMMAND", title="commands")

    run = commands.add_parser("run", help="run an unmodified program on boucle", description="Run a program on boucle.")
    run.add_argument(
        "--watch",
        type=parse_time,
        nargs="?",
        const=DEFAULT_THRESHOLD,
        metavar="TIME",
        help="report whoever blocks the loop for longer, while it does: --watch=50ms (the default)",
    )
    _add_program(run)
    run.set_defaults(run=_run)

    record = commands.add_parser(
        "record",
        help="the same, and keep its chronology",
        description="Run a program on boucle and keep its chronology: who ran, when, and who had to wait.",
    )
    record.add_argument("-o", "--output", required=True, metavar="FILE", help=_ANY_KIND)
    _add_annotate(record)
    _add_threshold(record)
    _add_program(record)
    record.set_defaults(run=_record)

    dump = commands.add_parser(
        "dump",
        help="save the last seconds of a program that runs, or is stuck",
        description="Save the last seconds of a program that runs on boucle, without its help: it may be stuck or "
        "stopped. A step that has not returned is shown from its beginning, as if it ended now.",
    )
    dump.add_argument("pid", type=_pid, metavar="PID", help="its process, of the same user")
    dump.add_argument("-o", "--output", required=True, metavar="FILE", help=_ANY_KIND)
    dump.add_argument("--last", type=parse_time, default=10.0, metavar="TIME", help="how far back (default 10s)")
    _add_threshold(dump)
    dump.set_defaults(run=_dump)

    show = commands.add_parser(
        "show",
        help="print a recording",
        description="Print a recording as text, or convert it.",
    )
    show.add_argument("file", metavar="FILE", help="a recording, as record -o NAME.boucle writes it")
    output = show.add_mutually_exclusive_group()
    output.add_argument(
        "-o", "--output", metavar="FILE", help="convert to a name in .html, .svg, .txt, .json or .pftrace"
    )
    output.add_argument("--json", action="store_true", help="print the analysis as JSON, times in seconds")
    show.add_argument("--width", type=int, metavar="COLUMNS", help="width of the text (default: the terminal's)")
    _add_annotate(show)
    _add_threshold(show)
    show.set_defaults(run=_show)

    # Only listed here: its arguments are the viewer's own.
    commands.add_parser("top", help="the live view of another process, also while it is frozen", add_help=False)

    kernel = commands.add_parser("kernel", help="add a Jupyter kernel whose loop is boucle's")
    actions = kernel.add_subparsers(dest="action", metavar="ACTION", required=True)
    install = actions.add_parser("install", help='add the kernel "Python (boucle)"')
    where = install.add_mutually_exclusive_group()
    where.add_argument("--user", action="store_true", help="for this user (default: for this Python environment)")
    where.add_argument("--prefix", metavar="DIR", help="under this folder")
    install.set_defaults(run=_kernel_install)
    return parser


def _spelt_out(arguments):
    """The same with a time after each --watch of run: else the parser takes the program for one."""
    spelt_out = list(arguments)
    for index, argument in enumerate(spelt_out):
        if (index and not argument.startswith("-")) or argument == "--":
            break
        if index and argument == "--watch":
            spelt_out[index] = f"--watch={DEFAULT_THRESHOLD}"
    return spelt_out


def _add_program(parser):
    parser.add_argument("-m", dest="module", action="store_true", help="PROGRAM is a module, as in python -m")
    parser.add_argument("program", metavar="PROGRAM", help="a file, or with -m a module")
    parser.add_argument("arguments", nargs=argparse.REMAINDER, metavar="...", help="the program's own arguments")


def _add_annotate(parser):
    parser.add_argument(
        "--annotate",
        action="store_true",
        help="print a line for each starvation that makes GitHub put a warning next to the code",
    )


def _add_threshold(parser):
    parser.add_argument(
        "--threshold",
        type=parse_time,
        default=DEFAULT_THRESHOLD,
        metavar="TIME",
        help="a step longer than this starves the others: 50ms, 0.05s or 0.05 (default 50ms)",
    )


def _pid(text):
    """The number of a process."""
    # The kernel's limit is 4,194,304.
    if text.isascii() and text.isdigit() and 0 < int(text) < 1 << 31:
        return int(text)
    raise argparse.ArgumentTypeError(f"{text!r} is no process: write its number, as ps and pgrep show it")


def _run(options):
    from ._program import run_program

    if options.watch is not None:
        watch(options.watch)
    status, loops = run_program(options.program, options.module, options.arguments)
    _complain(loops)
    return status


def _record(options):
    from ._program import run_program

    check_can_save(options.output)
    # A server that is asked to end re-raises the signal when it is done; by default that would kill us before we saved.
    signal.signal(signal.SIGTERM, _end)
    program = " ".join((["-m"] if options.module else []) + [os.path.basename(options.program), *options.arguments])
    with record(threshold=options.threshold, program=program) as chronology:
        status, loops = run_program(options.program, options.module, options.arguments)
    _complain(loops)
    chronology.save(options.output)
    _annotate(options, chronology)
    steps = len(chronology.steps)
    _say(f"recorded {chronology.duration:.2f} s, {steps} steps: {options.output}")
    return status


def _end(number, frame):
    raise SystemExit(128 + number)


def _complain(loops):
    complaint = loops.complaint()
    if complaint:
        _say(complaint)


def _dump(options):
    check_can_save(options.output)
    chronology = snapshot(options.pid, last=options.last, threshold=options.threshold)
    chronology.save(options.output)
    steps = len(chronology.steps)
    program = chronology.program or "process"
    _say(f"{program} ({options.pid}), its last {chronology.duration:.2f} s, {steps} steps: {options.output}")
    return 0


def _show(options):
    chronology = load(options.file, threshold=options.threshold)
    if options.output:
        chronology.save(options.output)
    elif options.json:
        _print(chronology.json())
    else:
        _print(chronology.text(width=options.width, colour=_colour()))
    _annotate(options, chronology)
    return 0


def _annotate(options, chronology):
    if options.annotate:
        for line in _annotations.of_chronology(chronology):
            _print(line)


def _colour():
    """Whether stdout shows colours and the user wants them."""
    return sys.stdout.isatty() and not os.environ.get("NO_COLOR") and os.environ.get("TERM") != "dumb"


def _top(arguments):
    """Become the viewer, a program of its own: so the extension module stays lean."""
    viewer = _viewer()
    if viewer is None:
        _say("error: the viewer is not installed: pip install 'boucle[top]' adds it")
        return 1
    sys.stdout.flush()
    try:
        os.execv(viewer, ["boucle-top", *arguments])
    except OSError as error:
        _say(f"error: {viewer} cannot be started: {error.strerror}")
        return 1


def _viewer():
    """The path of the viewer: beside this Python, where its packages put programs, or on PATH."""
    folders = [os.path.dirname(sys.executable), sysconfig.get_path("scripts")]
    folders.append(sysconfig.get_path("scripts", sysconfig.get_preferred_scheme("user")))
    for folder in folders:
        viewer = os.path.join(folder, "boucle-top")
        if os.access(viewer, os.X_OK):
            return viewer
    return shutil.which("boucle-top")


def _kernel_install(options):
    from .kernel import install_spec

    folder = install_spec(user=options.user, prefix=options.prefix)
    _print(folder)
    _say('added the Jupyter kernel "Python (boucle)"')
    return 0


def _print(text="", end="\n"):
    """Print for a reader, which may have read enough and gone: `boucle show run.boucle | head`."""
    try:
        print(text, end=end, flush=True)
    except BrokenPipeError:
        # What is left in the buffer would be written at the end, and fail again.
        nowhere = os.open(os.devnull, os.O_WRONLY)
        os.dup2(nowhere, sys.stdout.fileno())
        os.close(nowhere)


def _say(message):
    print(f"boucle: {message}", file=sys.stderr)
