"""The REPL: asyncio's own, on a boucle loop, under boucle's name.

asyncio's REPL differs from version to version (history, tab completion, colours, multi-line editing) and is only a
module that is meant to be run. So we run it: with boucle installed, so that the loop it makes is ours, and with one
word of its banner changed.
"""

import importlib.util
import sys
import types

from ._launch import install


def main():
    install()
    spec = importlib.util.find_spec("asyncio.__main__")
    code = _renamed(spec.loader.get_code("asyncio.__main__"))
    module = types.ModuleType("__main__", spec.loader.get_source("asyncio.__main__"))
    module.__package__ = "asyncio"
    module.__file__ = spec.origin
    sys.modules["__main__"] = module
    if sys.version_info < (3, 13):
        _prepare_line_editing(module)
    sys.argv = [spec.origin]
    exec(code, module.__dict__)


def _prepare_line_editing(module):
    """Give the REPL history and completion, which asyncio's has had since 3.13: by the same hook of the site module."""
    try:
        import readline
        import rlcompleter
    except ImportError:
        return
    hook = getattr(sys, "__interactivehook__", None)
    if hook is not None:
        hook()

    def complete(text, state):
        if state == 0:
            # The names the user can type; the REPL makes this dict when it starts.
            complete.names = rlcompleter.Completer(module.__dict__.get("repl_locals", {}))
        return complete.names.complete(text, state)

    readline.set_completer(complete)


def _renamed(code):
    """The code with "boucle" for "asyncio" where it names the REPL."""

    def rename(constant):
        if isinstance(constant, types.CodeType):
            return _renamed(constant)
        if isinstance(constant, str):
            return constant.replace("asyncio REPL", "boucle REPL")
        return constant

    return code.replace(co_consts=tuple(map(rename, code.co_consts)))
