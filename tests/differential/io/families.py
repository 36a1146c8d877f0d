"""The kinds of programs with sockets, by name, as search.py takes them."""

import functools

from ..search import Family
from . import programs
from .connections import Connections
from .sockets import Sockets
from .streams import OwnStreams, Streams
from .transports import Transports
from .world import run

FAMILIES = {
    name: Family(strategy, functools.partial(run, world), f" --io {name}")
    for name, strategy, world in (
        ("transports", programs.transports, Transports),
        ("streams", programs.streams, Streams),
        ("own_streams", programs.streams, OwnStreams),
        ("sockets", programs.sockets, Sockets),
        ("connections", programs.connections, Connections),
    )
}
