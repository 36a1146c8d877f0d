"""Coroutines on which the native half tries whether it can read the frames of this version of Python.

They stand in a file of their own, which is compiled once; text that is compiled at each start costs a tenth of all that
``import boucle`` does.
"""

import types

from . import _boucle


@types.coroutine
def _leaf():
    yield


async def _inner(one, two):
    three = one + two  # noqa: F841, a local more
    await _leaf()


async def _middle():
    await _inner(1, 2)


async def _outer():
    for _ in range(2):
        await _middle()


def try_reading():
    """Switch reading on, if it works. Whether it does: if not, steps are recorded without their places."""
    chain, fresh = _outer(), _inner(1, 2)
    chain.send(None)
    try:
        return _boucle._try_frames(chain, fresh)
    finally:
        chain.close()
        fresh.close()
