"""Mistakes that an implementation of transports or loops could make, as subclasses of asyncio's own.

The test of the tester looks for each of them.
"""

import asyncio
import contextlib
from asyncio import constants
from asyncio.selector_events import _SelectorSocketTransport as Right


class ConnectionLostTwice(Right):
    """connection_lost is called twice after abort()."""

    def abort(self):
        if not self._conn_lost:
            self._loop.call_soon(self._protocol.connection_lost, None)
        super().abort()


class LosesDataOnResume(Right):
    """What came while reading was paused is thrown away."""

    def resume_reading(self):
        if self._paused and not self._closing:
            with contextlib.suppress(OSError):
                self._sock.recv(1)
        super().resume_reading()


class SkipsEofAfterPause(Right):
    """An end that was there before reading was resumed is not reported."""

    _resumed = False

    def resume_reading(self):
        self._resumed = self._resumed or self._paused
        super().resume_reading()

    def _read_ready__on_eof(self):
        if self._resumed:
            self._loop._remove_reader(self._sock_fd)
        else:
            super()._read_ready__on_eof()


class WriteAfterCloseRaises(Right):
    """write() on a transport that closes raises."""

    def write(self, data):
        if self._closing and data:
            raise RuntimeError("the transport is closed")
        super().write(data)


class NeverResumesWriting(Right):
    """resume_writing is not called where everything was written at once."""

    def _maybe_resume_protocol(self):
        if self._buffer:
            super()._maybe_resume_protocol()


class CloseDropsTheBuffer(Right):
    """close() forgets what was not written yet."""

    def close(self):
        if self._buffer and not self._closing:
            self._buffer.clear()
            self._loop._remove_writer(self._sock_fd)
        super().close()


class AbortFlushes(Right):
    """abort() writes what waits, as close() does."""

    def abort(self):
        self.close()


class CloseReportsAnError(Right):
    """connection_lost gets an exception after close()."""

    def close(self):
        if not self._closing and not self._buffer:
            self._force_close(ConnectionAbortedError())
        super().close()


class ClosesAtEof(Right):
    """The transport closes at the end of the data, whatever eof_received returns."""

    def _read_ready__on_eof(self):
        super()._read_ready__on_eof()
        if not self._closing:
            self.close()


class EofBeforeTheBuffer(Right):
    """write_eof() ends the connection before what waits was written."""

    def write_eof(self):
        if self._buffer and not self._eof and not self._closing:
            self._buffer.clear()
            self._loop._remove_writer(self._sock_fd)
        super().write_eof()


class CallsConnectionLostAtOnce(Right):
    """connection_lost is called inside of abort()."""

    def _force_close(self, exc):
        if not self._conn_lost and not self._closing:
            self._buffer.clear()
            self._loop._remove_writer(self._sock_fd)
            self._loop._remove_reader(self._sock_fd)
            self._closing = True
            self._conn_lost += 1
            loop, sock = self._loop, self._sock
            self._protocol.connection_lost(exc)
            loop.call_soon(sock.close)
        else:
            super()._force_close(exc)


class HidesErrorsOfProtocols(Right):
    """An exception of data_received ends the connection, but nobody is told."""

    def _fatal_error(self, exc, message="Fatal error on transport"):
        self._force_close(exc)


class KeepsTheFirstProtocol(Right):
    """set_protocol() has no effect on the way in which data is given: the way stays the first one's."""

    _way = None

    def set_protocol(self, protocol):
        super().set_protocol(protocol)
        self._way = self._way or self._read_ready_cb
        self._read_ready_cb = self._way


class PausesAtTheMark(Right):
    """pause_writing is called where the buffer is as large as the mark, not larger."""

    def _maybe_pause_protocol(self):
        if self.get_write_buffer_size() == self._high_water and not self._protocol_paused:
            self._high_water -= 1
            super()._maybe_pause_protocol()
            self._high_water += 1
        else:
            super()._maybe_pause_protocol()


class ReadsWhilePaused(Right):
    """pause_reading() in a callback still lets the next data through."""

    def pause_reading(self):
        if self.is_reading():
            self._paused = True
            self._loop.call_soon(self._loop.call_soon, self._stop)

    def _stop(self):
        if self._paused and not self._closing:
            self._loop._remove_reader(self._sock_fd)


class LeaksTheSocket(Right):
    """After an error the socket is not closed."""

    def _call_connection_lost(self, exc):
        if exc is not None:
            _LEAKED.append(self._sock.dup())
        super()._call_connection_lost(exc)


class ForgetsTheLimit(Right):
    """The fifth write after the connection was lost warns, not the sixth."""

    def write(self, data):
        if self._conn_lost == constants.LOG_THRESHOLD_FOR_CONNLOST_WRITES - 1 and data and not self._eof:
            self._conn_lost += 1
        super().write(data)


class CancelledReadsStay(asyncio.SelectorEventLoop):
    """A cancelled sock_recv leaves its socket registered."""

    def _sock_read_done(self, fd, fut, handle=None):
        if not fut.cancelled():
            super()._sock_read_done(fd, fut, handle=handle)


class SendsNotEverything(asyncio.SelectorEventLoop):
    """sock_sendall sends as much as is taken at once."""

    async def sock_sendall(self, sock, data):
        with contextlib.suppress(BlockingIOError):
            sock.send(data)


class CancelledConnectsLeak(asyncio.SelectorEventLoop):
    """A connection attempt that is cancelled leaves its socket open."""

    async def sock_connect(self, sock, address):
        try:
            return await super().sock_connect(sock, address)
        except asyncio.CancelledError:
            _LEAKED.append(sock.dup())
            raise


class ServersCloseConnections(asyncio.SelectorEventLoop):
    """A server that closes ends the connections that it has accepted."""

    def _stop_serving(self, sock):
        super()._stop_serving(sock)
        for transport in list(self._transports.values()):
            transport.close()


_LEAKED = []
_TRANSPORTS = {mutation.__name__: mutation for mutation in Right.__subclasses__() if mutation.__module__ == __name__}
_LOOPS = {
    "CancelledReadsStay": ("sockets", CancelledReadsStay),
    "SendsNotEverything": ("sockets", SendsNotEverything),
    "CancelledConnectsLeak": ("connections", CancelledConnectsLeak),
    "ServersCloseConnections": ("connections", ServersCloseConnections),
}
# Which programs find them.
MUTATIONS = dict.fromkeys(_TRANSPORTS, "transports") | {name: family for name, (family, _) in _LOOPS.items()}


def loop(name):
    """A loop with the mutation of this name."""
    while _LEAKED:
        _LEAKED.pop().close()
    if name in _LOOPS:
        return _LOOPS[name][1]()
    wrong = _TRANSPORTS[name]

    class Loop(asyncio.SelectorEventLoop):
        def _make_socket_transport(self, sock, protocol, waiter=None, *, extra=None, server=None):
            return wrong(self, sock, protocol, waiter, extra, server)

    return Loop()
