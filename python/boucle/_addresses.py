"""Addresses: names that are resolved in a thread, and what needs no resolving.

``socket.getaddrinfo`` blocks, so it runs in the loop's default executor, as on asyncio. Numbers it only takes apart,
without asking anybody: those it answers at once, without a thread. A function that somebody has put in its place is
asked in the thread, whatever the question is: it may block, or count.

``socket.getaddrinfo`` itself spends more than half of its time on turning numbers into members of enumerations, one
call of a class for each. Where nobody has changed it, a function that looks them up in a dictionary runs in its place.
"""

import _socket
import asyncio
import socket
import types

from . import _boucle

_getaddrinfo = socket.getaddrinfo
# Somebody may have put a function in its place before this module was imported.
_is_original = type(_getaddrinfo) is types.FunctionType and _getaddrinfo.__globals__ is vars(socket)

_FAMILIES = {int(family): family for family in socket.AddressFamily}
_KINDS = {int(kind): kind for kind in socket.SocketKind}

# With these a number stays a number: no canonical name, no look at which addresses this machine has.
_PLAIN_FLAGS = (
    socket.AI_PASSIVE
    | socket.AI_NUMERICHOST
    | socket.AI_NUMERICSERV
    | socket.AI_V4MAPPED
    | getattr(socket, "AI_ALL", 0)
)


class Addresses:
    """The part of the loop that knows addresses."""

    async def getaddrinfo(self, host, port, *, family=0, type=0, proto=0, flags=0):
        """What socket.getaddrinfo() says, without blocking the loop."""
        if self._answers_at_once(host, port, flags):
            return _getaddrinfo(host, port, family, type, proto, flags)
        return await asyncio.BaseEventLoop.getaddrinfo(
            self, host, port, family=family, type=type, proto=proto, flags=flags
        )

    def _answers_at_once(self, host, port, flags):
        """Whether socket.getaddrinfo() has only numbers to take apart, and nobody could see that no thread does it."""
        return (
            _is_original
            and socket.getaddrinfo is _getaddrinfo
            and _is_number(host)
            and (
                port is None or isinstance(port, int) or (isinstance(port, str) and port.isascii() and port.isdecimal())
            )
            and isinstance(flags, int)
            and not flags & ~_PLAIN_FLAGS
            # Debug mode logs each question; an executor that was shut down refuses it.
            and not (self._debug or self._executor_shutdown_called)
        )

    async def _resolve_for(self, sock, address):
        """The address to connect a socket of the internet to.

        A name with more than a port keeps what resolving does not know: the flow, and the zone unless it says one.
        """
        options = {"family": sock.family, "type": sock.type, "proto": sock.proto, "loop": self}
        resolved = (await self._ensure_resolved(address, **options))[0][4]
        if len(address) > 2 and len(resolved) == 4:
            given = (*address[2:4], 0)[:2]
            return (*resolved[:2], *(ours or theirs for ours, theirs in zip(resolved[2:], given, strict=True)))
        return resolved


def getaddrinfo(host, port, family=0, type=0, proto=0, flags=0):
    """What socket.getaddrinfo() says."""
    return [
        (_FAMILIES.get(family, family), _KINDS.get(kind, kind), proto, name, address)
        for family, kind, proto, name, address in _socket.getaddrinfo(host, port, family, type, proto, flags)
    ]


if _is_original:
    _boucle._learn_resolver(socket, getaddrinfo)


def _is_number(host):
    """Whether a host is an address of either family, with or without a zone."""
    if type(host) is not str or not (":" in host or host[-1:].isdecimal()):
        return False
    family = socket.AF_INET6 if ":" in host else socket.AF_INET
    try:
        socket.inet_pton(family, host.partition("%")[0] if family == socket.AF_INET6 else host)
    except (OSError, ValueError):
        return False
    return True
