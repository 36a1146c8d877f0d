"""Forks: what becomes of a loop in a child that inherits it.

A child shares the parent's open files, the kernel's table of what is watched among them: whoever takes something out
there takes it from the parent. So a loop does not survive a fork. In the child it lets go of the shared table at
once, and every use of it but closing it raises an error that says what to do; the parent notices nothing. The child
can make a loop of its own.
"""

import asyncio
import os
import signal
import weakref
from asyncio import events

from . import _boucle

_loops: weakref.WeakSet[asyncio.AbstractEventLoop] = weakref.WeakSet()


def remember(loop):
    """Take a new loop in."""
    _loops.add(loop)


def _before():
    """What a step has written leaves before the fork: the child may live long, or speak to the same peer."""
    loop = events._get_running_loop()
    if loop in _loops:
        loop._send_unsent()


def _after_in_child():
    sockets = set()
    for loop in list(_loops):
        loop._leave_to_parent()
        if loop._csock is not None:
            sockets.add(loop._csock.fileno())
    # A signal that comes to the child would be told to the parent.
    former = signal.set_wakeup_fd(-1)
    if former not in sockets and former != -1:
        signal.set_wakeup_fd(former, warn_on_full_buffer=False)


os.register_at_fork(before=_before, after_in_child=_after_in_child)
# The watchdog's threads end before a fork, and start again with a later step.
os.register_at_fork(
    before=_boucle._suspend_watchdog,
    after_in_parent=lambda: _boucle._resume_watchdog(False),
    after_in_child=lambda: _boucle._resume_watchdog(True),
)
