"""A boucle loop in debug mode, for CPython's tests: their harness lets PYTHONASYNCIODEBUG through to none of them."""

import boucle


def new_event_loop():
    """A new loop, in debug mode."""
    loop = boucle.new_event_loop()
    loop.set_debug(True)
    return loop
