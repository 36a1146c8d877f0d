"""TLS: what passes between its protocol and the transport below, where a program stands in between."""

import pytest

from conftest import run_python
from tls_connections import Echo, Recorder, close, connect, run

pytestmark = pytest.mark.usefixtures("comparable_tls")


def there_and_back(loop, prepare):
    """Data goes over a connection and comes back, after `prepare(protocol, transport below)` of its client."""

    async def main():
        server, client = await connect(loop, Echo, Recorder)
        protocol = client.transport._ssl_protocol
        prepare(protocol, protocol._transport)
        for size in (5, 50_000):
            client.data.clear()
            client.transport.write(b"x" * size)
            await client.until(lambda size=size: len(client.data) == size)
        await close(client, server)

    run(loop, main())


@pytest.mark.parametrize("name", ["get_buffer", "buffer_updated"])
def test_a_method_that_an_instance_of_the_protocol_has_of_its_own_is_called(loop, name):
    seen = []

    def prepare(protocol, _below):
        theirs = getattr(protocol, name)

        def ours(argument):
            seen.append(argument)
            return theirs(argument)

        setattr(protocol, name, ours)

    there_and_back(loop, prepare)
    assert seen


def test_a_transport_whose_write_is_its_own_is_written_to_by_it(loop):
    seen = bytearray()

    def prepare(_protocol, below):
        theirs = below.write

        def write(data):
            seen.extend(data)
            theirs(data)

        below.write = write

    there_and_back(loop, prepare)
    assert len(seen) > 50_000


@pytest.mark.parametrize(
    ("layer", "name"), [("protocol", "get_buffer"), ("protocol", "buffer_updated"), ("below", "write")]
)
def test_a_method_that_was_replaced_in_its_class_is_called(layer, name):
    # In a process of its own: the class does not forget it.
    program = f"""
import sys
sys.path.insert(0, "tests")
import boucle
from test_tls_layers import there_and_back

seen = []

def prepare(protocol, below):
    cls = type({layer})
    theirs = cls.{name}

    def ours(self, argument):
        seen.append(argument)
        return theirs(self, argument)

    cls.{name} = ours

there_and_back(boucle.new_event_loop(), prepare)
print(len(seen) > 2)
"""
    result = run_python("-c", program)
    assert (result.stdout, result.stderr) == ("True\n", "")


def test_a_buffer_that_a_program_has_seen_belongs_to_its_connection(loop):
    async def main():
        server, client = await connect(loop, Echo, Recorder)
        view = client.transport._ssl_protocol.get_buffer(-1)
        for text in (b"one", b"two"):
            client.transport.write(text)
            await client.until(lambda text=text: client.data.endswith(text))
        others, other = await connect(loop, Echo, Recorder)
        other.transport.write(b"the other's secret")
        await other.until(lambda: len(other.data) == 18)
        assert b"secret" not in bytes(view)
        await close(client, server)
        await close(other, others)

    run(loop, main())
