"""Stand-ins for structures of asyncio's loop that inherited code and other people's tools reach for.

Each is a view of what the native half holds; none holds anything itself.
"""

import selectors
from collections.abc import Mapping


class Ready:
    """``loop._ready``: the handles that are ready. Takes handles that others made."""

    def __init__(self, loop):
        self._loop = loop

    def append(self, handle):
        self._loop._ready_append(handle)

    def extend(self, handles):
        self._loop._ready_append(*handles)

    def clear(self):
        self._loop._ready_clear()

    def __len__(self):
        return len(self._loop._ready_handles())

    def __iter__(self):
        return iter(self._loop._ready_handles())

    def __repr__(self):
        return f"<ready {self._loop._ready_handles()!r}>"


class Scheduled:
    """``loop._scheduled``: the pending timer handles, earliest first."""

    def __init__(self, loop):
        self._loop = loop

    def clear(self):
        self._loop._scheduled_clear()

    def __len__(self):
        return len(self._loop._scheduled_handles())

    def __iter__(self):
        return iter(sorted(self._loop._scheduled_handles()))

    def __getitem__(self, index):
        return sorted(self._loop._scheduled_handles())[index]

    def __repr__(self):
        return f"<scheduled {list(self)!r}>"


class Selector(selectors.BaseSelector):
    """``loop._selector``: what is watched. It can be looked at, not waited on: the loop waits natively."""

    def __init__(self, loop):
        self._loop = loop

    def get_map(self):
        return _Map(self._loop)

    def get_key(self, fileobj):
        return self.get_map()[fileobj]

    def close(self):
        """Called by close(), last: gives the reactor's descriptors back."""
        self._loop._release()

    def register(self, fileobj, events, data=None):
        raise self._refusal("register")

    def unregister(self, fileobj):
        raise self._refusal("unregister")

    def select(self, timeout=None):
        raise self._refusal("select")

    @staticmethod
    def _refusal(method):
        return RuntimeError(
            f"loop._selector.{method}() is not available: boucle waits natively; use loop.add_reader and "
            f"loop.add_writer (nest_asyncio, which runs turns of its own, does not work on this loop)"
        )


class _Map(Mapping):
    """What a selector's get_map() returns: keys by descriptor."""

    def __init__(self, loop):
        self._keys = {}
        for fd, fileobj, reader, writer in loop._watches():
            events = (selectors.EVENT_READ if reader else 0) | (selectors.EVENT_WRITE if writer else 0)
            self._keys[fd] = selectors.SelectorKey(fileobj, fd, events, (reader, writer))

    def __getitem__(self, fileobj):
        # One that was closed has no number any more, and is still known.
        known = (key for key in self._keys.values() if key.fileobj is fileobj)
        return next(known, None) or self._keys[fileobj if isinstance(fileobj, int) else fileobj.fileno()]

    def __len__(self):
        return len(self._keys)

    def __iter__(self):
        return iter(self._keys)
