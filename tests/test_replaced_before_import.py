"""Functions of asyncio's that a program has replaced before boucle was imported: called as often as on asyncio."""

from pathlib import Path

import pytest

import boucle
from conftest import run_python

# What somebody does to asyncio before boucle is there: tools that trace do.
REPLACES = """
import asyncio, functools, importlib, pkgutil, types

calls = []

def replace(owner, name, kind):
    owner = pkgutil.resolve_name(owner)
    original = getattr(owner, name)
    def counting(*args, **options):
        calls.append(name)
        return original(*args, **options)
    class Wrapper:
        def __call__(self, *args, **options):
            return counting(*args, **options)
        def __get__(self, instance, owner):
            return self if instance is None else types.MethodType(self, instance)
    wrapper = Wrapper() if kind == "an object" else counting
    setattr(owner, name, functools.update_wrapper(wrapper, original) if kind == "a wrapper" else wrapper)
"""

# Everything here takes one of asyncio's ways that are done natively.
USES = """
import boucle

async def serve(reader, writer):
    writer.write(await reader.readline())
    writer.close()

async def talk(start_server, open_connection, *address):
    server = await start_server(serve, *address)
    for _ in range(3):
        reader, writer = await open_connection(*(address[0], *server.sockets[0].getsockname()[1:])[: len(address)])
        writer.write(b"hello\\n")
        assert await reader.read() == b"hello\\n"
        writer.close()
        await writer.wait_closed()
    server.close()
    await asyncio.sleep(0.01)

async def main(streams):
    await talk(streams.start_server, streams.open_connection, "127.0.0.1", 0)
    await asyncio.sleep(0.001)

def calls_on(loop, streams):
    calls.clear()
    try:
        loop.run_until_complete(main(streams))
    finally:
        loop.close()
    return sorted(calls)
"""

COMPARES = """
expected, found = calls_on(asyncio.SelectorEventLoop(), asyncio), calls_on(boucle.new_event_loop(), asyncio)
assert expected, "asyncio does not call it"
assert found == expected, (found, expected)
"""

KINDS = ["a function", "a wrapper", "an object"]


def printed(program):
    finished = run_python("-c", program, PYTHONPATH=str(Path(boucle.__file__).parent.parent))
    assert finished.returncode == 0, finished.stderr
    assert not finished.stderr
    return finished.stdout


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize(
    ("owner", "name"),
    [
        ("asyncio.futures", "_set_result_unless_cancelled"),
        ("asyncio.base_events", "_ipaddr_info"),
        ("asyncio.base_events:BaseEventLoop", "_ensure_resolved"),
        ("asyncio.base_events:BaseEventLoop", "_connect_sock"),
        ("asyncio.base_events:BaseEventLoop", "_create_connection_transport"),
        ("asyncio.selector_events:BaseSelectorEventLoop", "_accept_connection"),
        ("asyncio.selector_events:BaseSelectorEventLoop", "_accept_connection2"),
        ("asyncio.streams:StreamReaderProtocol", "data_received"),
        ("asyncio.streams:StreamReader", "_wakeup_waiter"),
        ("asyncio.trsock:TransportSocket", "__init__"),
        ("asyncio.base_events:Server", "_attach"),
    ],
)
def test_each_call_is_seen(owner, name, kind):
    printed(f"{REPLACES}\nreplace({owner!r}, {name!r}, {kind!r})\n{USES}{COMPARES}")


OWN_STREAMS = """
loop = boucle.new_event_loop()
assert calls_on(loop, boucle) == ["connection_made"] * 6
"""


@pytest.mark.parametrize("kind", KINDS)
def test_a_protocol_of_boucles_own_streams_is_told_by_what_was_put_there(kind):
    printed(
        f'{REPLACES}\nreplace("asyncio.streams:StreamReaderProtocol", "connection_made", {kind!r})\n{USES}{OWN_STREAMS}'
    )


OTHER_MODULE = """
import asyncio.base_events, socket, types
calls = []

def make(*args, **options):
    calls.append("socket")
    return socket.socket(*args, **options)

other = types.ModuleType({name!r})
vars(other).update({{name: value for name, value in vars(socket).items() if not name.startswith("__")}}, socket=make)
asyncio.base_events.socket = other
"""


@pytest.mark.parametrize("name", ["socket", "other"])
def test_another_module_in_the_place_of_sockets_is_asked(name):
    printed(OTHER_MODULE.format(name=name) + USES + COMPARES)


ASKED_FOR_THE_VERSION = [
    ("asyncio.selector_events:_SelectorSocketTransport", "writelines"),
    ("asyncio.selector_events:_SelectorSocketTransport", "__del__"),
    ("asyncio.selector_events:_SelectorSocketTransport", "_write_send"),
    ("asyncio.selector_events:BaseSelectorEventLoop", "_accept_connection"),
    ("asyncio.base_events:BaseEventLoop", "_create_connection_transport"),
    ("asyncio.base_events:BaseEventLoop", "start_tls"),
    ("asyncio.base_events:BaseEventLoop", "_sendfile_fallback"),
    ("asyncio.sslproto:SSLProtocol", "_is_transport_closing"),
    ("asyncio.sslproto:SSLProtocol", "_on_shutdown_complete"),
]

FACTS = """
from boucle import _versions
facts = {name: value for name, value in vars(_versions).items() if name.isupper()}
facts |= {ask: getattr(_versions, ask)() for ask in ("attempts_for_no_backlog", "closes_refused", "counts_last_write")}
assert len(facts) == 11
print(facts, calls)
"""


@pytest.mark.parametrize("kind", KINDS)
def test_what_was_replaced_says_nothing_of_the_version(kind):
    known = [f"replace({owner!r}, {name!r}, {kind!r})" for owner, name in ASKED_FOR_THE_VERSION]
    replaced = [f"try: {replacing}\nexcept AttributeError: pass" for replacing in known]
    assert printed("\n".join([REPLACES, *replaced, FACTS])) == printed(REPLACES + FACTS)


CLOSES = """
import boucle, os, tempfile

async def main():
    path = os.path.join(tempfile.mkdtemp(), "socket")
    server = await asyncio.start_unix_server(print, path)
    server.close()

boucle.run(main())
"""


@pytest.mark.parametrize("kind", KINDS)
def test_a_server_of_unix_closes_where_its_way_to_do_so_was_replaced(kind):
    printed(f'{REPLACES}\nreplace("asyncio.unix_events:_UnixSelectorEventLoop", "_stop_serving", {kind!r})\n{CLOSES}')
