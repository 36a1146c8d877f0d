"""Runs an unmodified program on boucle: a file or a module, as python would run it."""

import asyncio
import os
import runpy
import signal
import sys

from ._launch import install
from ._loop import Loop


class LoopsSeen:
    """Which loops a program ran: boucle's, and the types of others."""

    def __init__(self):
        self.boucle = 0
        self.others = []

    def watch(self):
        """Look at each loop that announces itself as running. Loops look this function up when they are imported, so
        this must come before the program."""
        announce = asyncio.events._set_running_loop

        def _set_running_loop(loop):
            if loop is not None:
                self._note(loop)
            return announce(loop)

        asyncio._set_running_loop = asyncio.events._set_running_loop = _set_running_loop

    def _note(self, loop):
        if isinstance(loop, Loop):
            self.boucle += 1
            return
        name = f"{type(loop).__module__}.{type(loop).__qualname__}"
        if name not in self.others:
            self.others.append(name)

    def complaint(self):
        """What to tell a user whose program did not run on boucle; None where it did."""
        if self.boucle:
            return None
        if self.others:
            return (
                f"the program never ran a boucle loop: it ran {', '.join(self.others)}. It names its loop itself; "
                f"tell it to use boucle:new_event_loop (uvicorn: --loop boucle:new_event_loop)"
            )
        return "the program never ran an event loop"


def run_program(program, is_module, arguments):
    """Run a file or a module as ``__main__`` with boucle installed. Returns the exit status, and the loops it ran."""
    install()
    loops = LoopsSeen()
    loops.watch()
    sys.argv = [program, *arguments]
    try:
        if is_module:
            sys.path[0] = os.getcwd()
            runpy.run_module(program, run_name="__main__", alter_sys=True)
        else:
            sys.path[0] = os.path.dirname(os.path.abspath(program))
            runpy.run_path(program, run_name="__main__")
        status = 0
    except SystemExit as exit:
        status = _exit_status(exit)
    except KeyboardInterrupt as interrupt:
        _print_traceback(interrupt)
        status = 128 + signal.SIGINT
    except BaseException as exception:
        _print_traceback(exception)
        status = 1
    return status, loops


def _exit_status(exit):
    if exit.code is None:
        return 0
    if isinstance(exit.code, int):
        return exit.code
    print(exit.code, file=sys.stderr)
    return 1


def _print_traceback(exception):
    """Show the exception as python would, from the program's first frame on."""
    traceback = exception.__traceback__
    ours = (__file__, runpy.__file__, "<frozen runpy>")
    while traceback is not None and traceback.tb_frame.f_code.co_filename in ours:
        traceback = traceback.tb_next
    sys.excepthook(type(exception), exception.with_traceback(traceback), traceback)
