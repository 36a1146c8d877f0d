"""Connecting: ``create_connection`` to an address that is a number is done natively, everything else by asyncio's own.

What a program sees is a coroutine of a Python function either way.
"""

import asyncio
import functools
import inspect


class Connecting:
    """The part of the loop that connects."""

    # Before 3.12 nothing could tell that a function which is no `async def` returns a coroutine.
    if hasattr(inspect, "markcoroutinefunction"):

        @inspect.markcoroutinefunction
        @functools.wraps(asyncio.BaseEventLoop.create_connection)
        def create_connection(self, *args, **options):
            if options or len(args) != 3 or not self._may_connect_natively(*args):
                return asyncio.BaseEventLoop.create_connection(self, *args, **options)
            return create_connection(self, *args)


@functools.wraps(asyncio.BaseEventLoop.create_connection)
async def create_connection(loop, protocol_factory, host, port):
    connecting = loop._connecting(protocol_factory, host, port)
    if connecting is None:  # Since the call somebody has replaced a piece of it.
        return await asyncio.BaseEventLoop.create_connection(loop, protocol_factory, host, port)
    return await connecting
