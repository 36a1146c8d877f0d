"""Datagram endpoints for the tests, and a protocol that writes down what it is told."""

import asyncio


class Recorder(asyncio.DatagramProtocol):
    """Writes down what it is told, and does what a test wants on top."""

    def __init__(self, on_datagram=None):
        self.events = []
        self.on_datagram = on_datagram

    def connection_made(self, transport):
        self.transport = transport
        self.events.append("made")

    def datagram_received(self, data, addr):
        self.events.append((data, addr))
        if self.on_datagram:
            self.on_datagram(self)

    def error_received(self, exc):
        self.events.append(exc)

    def connection_lost(self, exc):
        self.events.append(("lost", exc))

    def pause_writing(self):
        self.events.append("pause")

    def resume_writing(self):
        self.events.append("resume")

    @property
    def data(self):
        return [event[0] for event in self.events if isinstance(event, tuple) and event[0] != "lost"]


def until(loop, condition):
    """Run turns until the condition holds."""

    async def wait():
        while not condition():
            await asyncio.sleep(0)

    loop.run_until_complete(asyncio.wait_for(wait(), 10))


def endpoint(loop, protocol=None, **options):
    options = options or {"local_addr": ("127.0.0.1", 0)}
    return loop.run_until_complete(loop.create_datagram_endpoint(lambda: protocol or Recorder(), **options))
