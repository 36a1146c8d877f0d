"""TLS: what a loop does to put our protocol, ``_boucle.SSLProtocol``, on top of a transport.

asyncio does the same in two places: where a connection begins with TLS (``_make_ssl_transport``), and where one goes
over to it (``start_tls``). Both take ``ssl_shutdown_timeout`` on every Python; asyncio's know it from 3.11 on.
"""

import functools
import ssl
from asyncio import streams

from . import _versions
from ._boucle import SSLProtocol


def _take_what_was_read(protocol, ssl_protocol):
    reader = isinstance(protocol, streams.StreamReaderProtocol) and getattr(protocol, "_stream_reader", None)
    if reader and (buffer := reader._buffer):
        ssl_protocol._incoming.write(buffer)
        buffer.clear()


class TLS:
    """The part of a loop that makes TLS connections."""

    def _make_ssl_transport(
        self,
        rawsock,
        protocol,
        sslcontext,
        waiter=None,
        *,
        server_side=False,
        server_hostname=None,
        extra=None,
        server=None,
        ssl_handshake_timeout=None,
        ssl_shutdown_timeout=None,
        context=None,
    ):
        self._ensure_fd_no_transport(rawsock)
        make = functools.partial(
            SSLProtocol,
            self,
            protocol,
            sslcontext,
            waiter,
            server_side,
            server_hostname,
            ssl_handshake_timeout=ssl_handshake_timeout,
            ssl_shutdown_timeout=ssl_shutdown_timeout,
        )
        # From 3.15 on asyncio says in which context. The protocol has a copy: it is entered inside of the transport's.
        ssl_protocol = make() if context is None else context.copy().run(make)
        transport = ssl_protocol._app_transport
        given = {} if context is None else {"context": context}
        self._make_socket_transport(rawsock, ssl_protocol, extra=extra, server=server, **given)
        return transport

    async def start_tls(
        self,
        transport,
        protocol,
        sslcontext,
        *,
        server_side=False,
        server_hostname=None,
        ssl_handshake_timeout=None,
        ssl_shutdown_timeout=None,
    ):
        """Go over to TLS. Returns the transport that the protocol uses from now on; the old one must not be used."""
        if not isinstance(sslcontext, ssl.SSLContext):
            raise TypeError(f"sslcontext is expected to be an instance of ssl.SSLContext, got {sslcontext!r}")
        if not getattr(transport, "_start_tls_compatible", False):
            raise TypeError(f"transport {transport!r} is not supported by start_tls()")

        waiter = self.create_future()
        ssl_protocol = SSLProtocol(
            self,
            protocol,
            sslcontext,
            waiter,
            server_side,
            server_hostname,
            ssl_handshake_timeout=ssl_handshake_timeout,
            ssl_shutdown_timeout=ssl_shutdown_timeout,
            call_connection_made=False,
        )
        # Nothing may be read before the protocol knows its transport.
        transport.pause_reading()
        if server_side and _versions.TAKES_WHAT_WAS_READ:
            _take_what_was_read(protocol, ssl_protocol)
        transport.set_protocol(ssl_protocol)
        made = self.call_soon(ssl_protocol.connection_made, transport)
        resumed = self.call_soon(transport.resume_reading)
        try:
            await waiter
        except BaseException:
            transport.close()
            made.cancel()
            resumed.cancel()
            # Its exception's traceback has this frame: they would keep each other, and the transport.
            waiter = None
            raise
        return ssl_protocol._app_transport
