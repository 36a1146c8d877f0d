"""boucle: asyncio's event loop in Rust, which shows what it did.

To run a program on it, and to see what ran:

    asyncio.run(main(), loop_factory=boucle.new_event_loop)     one loop (Python 3.12 and newer)
    boucle.run(main())                                          the same, on any Python
    boucle.install()                                            every new loop of this process

    with boucle.record() as chronology: ...                     what ran, and who had to wait
    boucle.watch()                                              who blocks the loop, while it does

PYTEST_DONT_REWRITE: there is a pytest plugin beside it, and pytest would warn where this was imported before pytest.
"""

import atexit
import importlib
import os

from . import _boucle
from ._boucle import Future, Task, __version__
from ._frames import try_reading
from ._loop import Loop, new_event_loop
from ._tasks import make_visible

TYPE_CHECKING = False  # for type checkers it is true: typing itself would take longer to import than all of this
if TYPE_CHECKING:
    from . import asgi
    from . import metrics as metrics
    from ._launch import EventLoopPolicy, install, run
    from ._recording import (
        Chronology,
        Congestion,
        HeldPlace,
        Lint,
        Place,
        Share,
        Starvation,
        Step,
        Victim,
        load,
        record,
    )
    from ._streams import (
        StreamReader,
        StreamReaderProtocol,
        StreamWriter,
        open_connection,
        open_unix_connection,
        start_server,
        start_unix_server,
    )
    from ._watching import Incident, annotate, watch

_IMPORTED_LATER = {
    "Chronology": "_recording",
    "Congestion": "_recording",
    "EventLoopPolicy": "_launch",
    "HeldPlace": "_recording",
    "Incident": "_watching",
    "Lint": "_recording",
    "Place": "_recording",
    "Share": "_recording",
    "Starvation": "_recording",
    "Step": "_recording",
    "StreamReader": "_streams",
    "StreamReaderProtocol": "_streams",
    "StreamWriter": "_streams",
    "Victim": "_recording",
    "annotate": "_watching",
    "asgi": None,
    "install": "_launch",
    "load": "_recording",
    "metrics": None,
    "open_connection": "_streams",
    "open_unix_connection": "_streams",
    "record": "_recording",
    "run": "_launch",
    "start_server": "_streams",
    "start_unix_server": "_streams",
    "watch": "_watching",
}
"""What a program that only makes a loop does without, and the module that has it; None for a module.

It is imported when somebody asks for it: this took as long as the start of the interpreter.
"""

__all__ = [
    "Chronology",
    "Congestion",
    "EventLoopPolicy",
    "Future",
    "HeldPlace",
    "Incident",
    "Lint",
    "Loop",
    "Place",
    "Share",
    "Starvation",
    "Step",
    "StreamReader",
    "StreamReaderProtocol",
    "StreamWriter",
    "Task",
    "Victim",
    "__version__",
    "annotate",
    "asgi",
    "install",
    "load",
    "new_event_loop",
    "open_connection",
    "open_unix_connection",
    "record",
    "run",
    "start_server",
    "start_unix_server",
    "watch",
]


def load_ipython_extension(shell):
    """Add the cell magic %%chronology: ``%load_ext boucle`` calls this."""
    from ._magics import load

    load(shell)


def unload_ipython_extension(shell):
    """Take it out again."""
    from ._magics import unload

    unload(shell)


def __getattr__(name):
    if name not in _IMPORTED_LATER:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    module = _IMPORTED_LATER[name]
    imported = importlib.import_module(f".{module or name}", __name__)
    value = globals()[name] = getattr(imported, name) if module else imported
    return value


def __dir__():
    return sorted({*globals(), *_IMPORTED_LATER})


make_visible()
try_reading()
if os.environ.get("BOUCLE_STATS"):
    from ._statistics import follow

    follow(Loop)
    del follow
# A thread that wants the GIL must not be left when the interpreter ends.
atexit.register(_boucle._suspend_watchdog)
if _boucle.watch_threshold is not None:
    __getattr__("watch")(_boucle.watch_threshold)
del atexit, make_visible, try_reading
