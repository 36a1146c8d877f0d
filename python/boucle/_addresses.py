"""Addresses: names that are resolved in a thread, and what needs no resolving.

``socket.getaddrinfo`` blocks, so it runs in the loop's default executor, as on asyncio. What ``socket.getaddrinfo`` says is
what the program gets: a function that somebody has put in its place is asked like the original.
"""


class Addresses:
    """The part of the loop that knows addresses."""

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
