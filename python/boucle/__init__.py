"""boucle: asyncio's event loop in Rust, which shows what it did.

To run a program on it, and to see what ran:

    asyncio.run(main(), loop_factory=boucle.new_event_loop)     one loop (Python 3.12 and newer)
    boucle.run(main())                                          the same, on any Python
    boucle.install()                                            every new loop of this process

    with boucle.record() as chronology: ...                     what ran, and who had to wait
    boucle.watch()                                              who blocks the loop, while it does
"""

from . import asgi
from ._boucle import Future, Task, __version__
from ._launch import EventLoopPolicy, install, run
from ._loop import Loop, new_event_loop
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
from ._statistics import follow
from ._streams import (
    StreamReader,
    StreamReaderProtocol,
    StreamWriter,
    open_connection,
    open_unix_connection,
    start_server,
    start_unix_server,
)
from ._tasks import make_visible
from ._watching import Incident, annotate, watch
from ._watching import start as _start_watching

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


make_visible()
follow(Loop)
_start_watching()
del make_visible, follow, _start_watching
