"""Virtual time: a loop's timers wait until nothing else is ready, so no program depends on how fast it runs.

The loop's own ``time``, ``call_at`` and ``call_later`` are hidden behind attributes of the instance. So
``asyncio.sleep``, ``wait_for`` and ``timeout`` use this clock too, and the loop keeps its exact class. A callback
that is scheduled anew each turn looks whether anything else is queued. If nothing is, the clock moves to the next
deadline, and everything that is due then is queued in the order of its scheduling. With nothing left to wait for, the
run ends.

Real timers are used through ``call_at_past``, with deadlines that have passed long ago: they are due in the next turn
on every machine.
"""

import asyncio
import heapq
import itertools

START = 1.0
MOST_TURNS = 300


class VirtualTime:
    """The clock and the timers of one loop, and the number of the turn."""

    def __init__(self, loop):
        self.now = START
        # Turns since the clock moved. asyncio may need one more to see that nothing is ready, if its own pipe woke it.
        self.turn = 0
        self._turns = 0
        self._quiet = 0
        self._loop = loop
        self._timers = []
        self._serial = itertools.count()
        self._finished = False
        loop.time = self.time
        loop.call_at = self.call_at
        loop.call_later = self.call_later

    def uninstall(self):
        """Give the loop its own clock back."""
        del self._loop.time, self._loop.call_at, self._loop.call_later

    def time(self):
        return self.now

    def call_later(self, delay, callback, *args, context=None):
        return self.call_at(self.now + delay, callback, *args, context=context)

    def call_at(self, when, callback, *args, context=None):
        timer = asyncio.TimerHandle(when, callback, args, self._loop, context)
        heapq.heappush(self._timers, (when, next(self._serial), timer))
        return timer

    def call_at_past(self, rank, callback, *args, context=None):
        """A timer of the loop itself that is due in the next turn. Among such timers, lower ranks fire first."""
        when = rank / 10 + next(self._serial) * 1e-6
        return type(self._loop).call_at(self._loop, when, callback, *args, context=context)

    def run(self, interrupted):
        """Run until nothing can happen any more. Whether that was reached within the bound.

        `interrupted` is called with each KeyboardInterrupt and SystemExit that leaves the loop; the run then goes on.
        """
        self._finished = False
        self._loop.call_soon(self._look)
        while not self._finished:
            try:
                self._loop.run_forever()
            except (KeyboardInterrupt, SystemExit) as error:
                interrupted(error)
        return self._turns < MOST_TURNS

    def _look(self):
        self.turn += 1
        self._turns += 1
        self._quiet = 0 if len(self._loop._ready) else self._quiet + 1
        if self._turns >= MOST_TURNS or (self._quiet >= 2 and not self._advance()):
            self._finished = True
            self._loop.stop()
        else:
            self._loop.call_soon(self._look)

    def _advance(self):
        """Queue what is due next. Whether there was anything."""
        while self._timers and self._timers[0][2].cancelled():
            heapq.heappop(self._timers)
        if not self._timers:
            return False
        self.now = max(self.now, self._timers[0][0])
        self.turn = 0
        self._quiet = 0
        while self._timers and self._timers[0][0] <= self.now:
            self._loop.call_soon(_fire, heapq.heappop(self._timers)[2])
        return True


def _fire(timer):
    # It may have been cancelled by a callback of this turn.
    if not timer.cancelled():
        timer._run()
