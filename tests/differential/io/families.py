"""The kinds of programs with sockets, by name, as search.py takes them."""

import functools

from ..search import Family
from . import programs
from .connections import Connections
from .sockets import Sockets
from .streams import Streams
from .transports import Transports
from .world import run

FAMILIES = {
    name: Family(getattr(programs, name), functools.partial(run, world), f" --io {name}")
    for name, world in {
        "transports": Transports,
        "streams": Streams,
        "sockets": Sockets,
        "connections": Connections,
    }.items()
}
