"""Children: processes that the loop starts and waits for.

asyncio's transport of a process and ``subprocess.Popen`` stay, so every argument means what it means there. How the
end of a child is noticed is ours: the kernel gives a descriptor for each (a pidfd), which the loop watches as any
other. No thread, no handler of SIGCHLD, and none of the child watchers that asyncio had until 3.13; so any loop in
any thread can start some. Where there are no such descriptors, a thread waits for each child.
"""

import errno
import os
import subprocess
import threading
from asyncio import unix_events
from asyncio.log import logger

# What asyncio reports of a child whose status somebody else has taken.
_UNKNOWN = 255


class Children:
    """The part of the loop that starts processes."""

    async def _make_subprocess_transport(
        self, protocol, args, shell, stdin, stdout, stderr, bufsize, extra=None, **options
    ):
        # Starting a process takes milliseconds.
        self._send_unsent()
        waiter = self.create_future()
        transport = SubprocessTransport(
            self, protocol, args, shell, stdin, stdout, stderr, bufsize, waiter=waiter, extra=extra, **options
        )
        self._watch_child(transport)
        try:
            await waiter
        except (SystemExit, KeyboardInterrupt):
            raise
        except BaseException:
            transport.close()
            await transport._wait()
            raise
        return transport

    def _watch_child(self, transport):
        try:
            fd = os.pidfd_open(transport.get_pid())
        except (AttributeError, OSError) as error:
            if getattr(error, "errno", None) == errno.ESRCH:
                self._child_exited(transport, None)
            else:
                _wait_in_thread(self, transport)
        else:
            child = _Child(self, transport, fd)
            self._add_reader(fd, child.exited)

    def _child_exited(self, transport, returncode):
        """A child has ended. Its status is None where somebody else has taken it."""
        if returncode is None:
            # Most likely it was Popen, asked by transport.close() or by the program.
            returncode = transport._proc.returncode
        if returncode is None:
            returncode = _UNKNOWN
            logger.warning(
                "child process pid %d exit status already read:  will report returncode 255", transport.get_pid()
            )
        self.call_soon(transport._process_exited, returncode)


class SubprocessTransport(unix_events._UnixSubprocessTransport):
    """The transport of a process."""

    def _start(self, args, shell, stdin, stdout, stderr, bufsize, **options):
        # Real pipes, also for stdin, where some versions of asyncio use sockets: a child can open /dev/stdin anew.
        self._proc = subprocess.Popen(
            args,
            shell=shell,
            stdin=stdin,
            stdout=stdout,
            stderr=stderr,
            universal_newlines=False,
            bufsize=bufsize,
            **options,
        )


class _Child:
    """Waits for the end of a child. The descriptor is closed with the object: at that end, or with the loop."""

    def __init__(self, loop, transport, fd):
        self._loop = loop
        self._transport = transport
        self._fd = fd

    def exited(self):
        try:
            # The descriptor stands for this child and no other, also if its number is used again.
            result = os.waitid(os.P_PIDFD, self._fd, os.WEXITED | os.WNOHANG)
        except ChildProcessError:
            returncode = None
        else:
            if result is None:
                return
            returncode = result.si_status if result.si_code == os.CLD_EXITED else -result.si_status
        self._loop._remove_reader(self._fd)
        self._close()
        self._loop._child_exited(self._transport, returncode)

    def _close(self):
        fd, self._fd = self._fd, None
        if fd is not None:
            os.close(fd)

    def __del__(self):
        self._close()


def _wait_in_thread(loop, transport):
    """Wait for the end of a child where the kernel has no descriptors for that."""
    pid = transport.get_pid()

    def wait():
        try:
            returncode = os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1])
        except ChildProcessError:
            returncode = None
        try:
            loop.call_soon_threadsafe(loop._child_exited, transport, returncode)
        except RuntimeError:
            logger.warning("Loop %r that handles pid %r is closed", loop, pid)

    threading.Thread(target=wait, name=f"boucle-waitpid-{pid}", daemon=True).start()
