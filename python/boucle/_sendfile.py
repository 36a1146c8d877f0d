"""Files sent by the kernel: ``loop.sock_sendfile`` and ``loop.sendfile``.

asyncio's methods check the arguments and fall back to reading and writing; what stands here is what they ask for. The
kernel sends one piece for each report that the socket takes more, as on asyncio: a large file leaves room for others.

A transport's descriptor is registered natively, so it is lent for the time of the call. A transport that is closed
meanwhile says so before the descriptor is closed: nothing is left registered under its number.
"""

import errno
import io
import os
import sys
from asyncio import base_events, exceptions

from ._versions import SEEKS_ALWAYS, WRITES_FIRST

# What one call can be asked for on a machine of 32 bits.
_LARGEST_PIECE = sys.maxsize // 2 + 1


class Sendfile:
    """The part of the loop that sends files."""

    async def _sock_sendfile_native(self, sock, file, offset, count, lost=None):
        """Send by os.sendfile, and leave the file behind what was sent.

        `lost` is a future that fails when the socket is about to be closed. Raises SendfileNotAvailableError where
        os.sendfile cannot be used.
        """
        try:
            fileno = file.fileno()
        except (AttributeError, io.UnsupportedOperation):
            raise exceptions.SendfileNotAvailableError("not a regular file") from None
        try:
            size = os.fstat(fileno).st_size
        except OSError:
            raise exceptions.SendfileNotAvailableError("not a regular file") from None
        total, waited = 0, False
        try:
            while size and (not count or total < count):
                wanted = min(count - total if count else size, _LARGEST_PIECE)
                try:
                    sent = os.sendfile(sock.fileno(), fileno, offset + total, wanted)
                except (BlockingIOError, InterruptedError):
                    pass
                except OSError as error:
                    if not total:
                        raise exceptions.SendfileNotAvailableError("os.sendfile call failed") from error
                    if waited and error.errno == errno.ENOTCONN:
                        raise ConnectionError("socket is not connected", errno.ENOTCONN) from error
                    raise
                else:
                    if not sent:
                        break
                    total += sent
                await self._until_writable(sock.fileno(), lost)
                waited = True
            return total
        finally:
            if total or (size and SEEKS_ALWAYS):
                os.lseek(fileno, offset + total, os.SEEK_SET)

    async def _until_writable(self, fd, lost):
        """Wait until the descriptor takes more. Raises what `lost` fails with."""
        self._ensure_fd_no_transport(fd)
        writable = self.create_future()

        def withdraw():
            # One that was cancelled has been replaced by somebody else's, or was withdrawn before.
            if not handle.cancelled():
                self._remove_writer(fd)

        def wake(_=None):
            withdraw()
            if not writable.done():
                writable.set_result(None)

        handle = self._add_writer(fd, wake)
        if lost is not None:
            lost.add_done_callback(wake)
        try:
            await writable
        finally:
            withdraw()
            if lost is not None:
                lost.remove_done_callback(wake)
        if lost is not None and lost.done():
            lost.result()

    async def _sendfile_native(self, transport, file, offset, count):
        """Send by os.sendfile through a transport. Raises SendfileNotAvailableError where that cannot be."""
        if not hasattr(transport, "_lend_descriptor"):
            raise exceptions.SendfileNotAvailableError("sendfile syscall is not supported")
        # Nobody else can write from here on.
        everything_sent = transport._make_empty_waiter()
        resume_reading = transport.is_reading()
        try:
            transport.pause_reading()
            await everything_sent
            sock, number = transport._sock, transport._sock_fd
            if sock is None:
                raise ConnectionError("Connection is closed by peer")
            base_events._check_ssl_socket(sock)
            self._check_sendfile_params(sock, file, offset, count)
            lost = transport._lend_descriptor()
            # Whoever sends may not wait when it fails: then nobody would have asked for the exception.
            lost.add_done_callback(lambda lost: lost.cancelled() or lost.exception())
            del self._transports[number]
            try:
                return await self._sock_sendfile_native(sock, file, offset, count, lost)
            finally:
                transport._take_descriptor_back()
                if transport._sock is not None:
                    self._transports[number] = transport
        finally:
            transport._reset_empty_waiter()
            if resume_reading:
                transport.resume_reading()

    async def _sendfile_fallback(self, transport, file, offset, count):
        """Read and write."""
        if hasattr(file, "seek") if SEEKS_ALWAYS else offset:
            file.seek(offset)
        buffer = bytearray(min(count, 16384) if count else 16384)
        total = 0
        protocol = _Fallback(transport)
        try:
            while not count or total < count:
                view = memoryview(buffer)[: min(count - total, len(buffer)) if count else None]
                read = await self.run_in_executor(None, file.readinto, view)
                if not read:
                    break
                if not WRITES_FIRST:
                    await protocol.drain()
                transport.write(view[:read])
                if WRITES_FIRST:
                    await protocol.drain()
                total += read
            return total
        finally:
            if total > 0 and hasattr(file, "seek"):
                file.seek(offset + total)
            await protocol.restore()


class _Fallback(base_events._SendfileFallbackProtocol):
    """asyncio's protocol of the time in which a file is sent, for transports of either origin."""

    def __init__(self, transport):
        # asyncio's constructor takes transports of its own class only.
        self._transport = transport
        self._proto = transport.get_protocol()
        self._should_resume_reading = transport.is_reading()
        self._should_resume_writing = transport._protocol_paused
        self._write_ready_fut = transport._loop.create_future() if self._should_resume_writing else None
        transport.pause_reading()
        transport.set_protocol(self)
