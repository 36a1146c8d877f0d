"""Stream transports: what they are and say, and the order of what a loop does."""

import asyncio
import contextvars
import itertools
import os
import socket
import sys
from asyncio import trsock

import pytest

from connected import Connection, Recorder, settle, until


@pytest.fixture(params=["tcp", "unix"])
def connection(loop, request):
    connection = Connection(loop, request.param)
    yield connection
    connection.close()


class TestExtraInfo:
    def test_names(self, connection):
        transport, theirs = connection.transport, connection.theirs
        assert transport.get_extra_info("sockname") == connection.ours.getsockname() == theirs.getpeername()
        assert transport.get_extra_info("peername") == connection.ours.getpeername() == theirs.getsockname()

    def test_the_socket_is_a_transport_socket(self, connection):
        sock = connection.transport.get_extra_info("socket")
        assert type(sock) is trsock.TransportSocket
        assert sock.fileno() == connection.descriptor
        assert sock.family == connection.ours.family
        assert sock.getsockname() == connection.ours.getsockname()
        assert sys.version_info < (3, 11) or not hasattr(sock, "recv")

    def test_an_option_can_be_set_through_it(self, connection):
        sock = connection.transport.get_extra_info("socket")
        sock.setsockopt(socket.SOL_SOCKET, socket.SO_SNDBUF, 9000)
        assert connection.ours.getsockopt(socket.SOL_SOCKET, socket.SO_SNDBUF) >= 9000

    def test_what_is_not_there_is_none_or_what_was_asked_for(self, connection):
        transport = connection.transport
        assert transport.get_extra_info("sslcontext") is None
        assert transport.get_extra_info("no such thing", 3) == 3
        assert transport.get_extra_info("no such thing", default=4) == 4
        assert transport.get_extra_info("sockname", 3) != 3

    def test_others_keep_things_in_it(self, connection):
        connection.transport._extra["mine"] = 1
        assert connection.transport.get_extra_info("mine") == 1


class TestKind:
    def test_it_is_a_transport(self, connection):
        assert isinstance(connection.transport, asyncio.Transport)
        assert isinstance(connection.transport, asyncio.ReadTransport)
        assert isinstance(connection.transport, asyncio.WriteTransport)
        assert issubclass(type(connection.transport), asyncio.Transport)

    def test_it_says_that_tls_can_start_on_it(self, connection):
        assert connection.transport._start_tls_compatible is True

    def test_it_is_found_by_its_descriptor(self, connection):
        assert connection.loop._transports[connection.descriptor] is connection.transport

    def test_attributes_can_be_set(self, connection):
        connection.transport.mine = 1
        assert connection.transport.mine == 1

    def test_it_hashes_and_compares_by_identity(self, connection):
        assert {connection.transport: 1}[connection.transport] == 1
        assert connection.transport != object()


class TestRepr:
    def test_idle(self, connection):
        settle(connection.loop)
        shown = repr(connection.transport)
        assert f"fd={connection.descriptor}" in shown
        assert "read=polling" in shown
        assert "write=<idle, bufsize=0>" in shown

    def test_paused(self, connection):
        settle(connection.loop)
        connection.transport.pause_reading()
        assert "read=idle" in repr(connection.transport)

    def test_full(self, connection):
        connection.fill()
        size = connection.transport.get_write_buffer_size()
        assert f"write=<polling, bufsize={size}>" in repr(connection.transport)


class TestDescriptor:
    @pytest.mark.parametrize("method", ["add_reader", "add_writer"])
    def test_it_is_refused_to_others(self, connection, method):
        for number in (connection.descriptor, connection.ours):
            with pytest.raises(RuntimeError, match=r"^File descriptor .* is used by transport <"):
                getattr(connection.loop, method)(number, print)
        for method in ("remove_reader", "remove_writer"):
            with pytest.raises(RuntimeError, match="is used by transport"):
                getattr(connection.loop, method)(connection.descriptor)

    @pytest.mark.parametrize("method", ["sock_recv", "sock_sendall"])
    def test_sock_methods_refuse_it_where_they_would_wait(self, connection, method):
        argument = 1 if method == "sock_recv" else bytes(8 << 20)
        with pytest.raises(RuntimeError, match="is used by transport"):
            connection.loop.run_until_complete(getattr(connection.loop, method)(connection.ours, argument))

    def test_it_is_free_again_once_the_connection_is_lost(self, connection):
        connection.transport.close()
        connection.until_lost()
        # The number is somebody else's now.
        os.dup2(connection.theirs.fileno(), connection.descriptor)
        connection.loop.add_reader(connection.descriptor, print)
        assert connection.loop.remove_reader(connection.descriptor)
        os.close(connection.descriptor)


class TestOrder:
    def test_what_was_ready_runs_before_io_and_io_before_timers(self, connection):
        connection.theirs.send(b"io")
        order = connection.protocol.events
        connection.loop.call_soon(order.append, "soon")
        connection.loop.call_later(-1, order.append, "timer")
        connection.until(lambda: connection.protocol.received)
        assert order == ["made", "soon", b"io", "timer"]

    def test_what_data_received_schedules_runs_after_the_io_of_its_turn(self, loop):
        order = []

        class Scheduling(Recorder):
            def data_received(self, data):
                order.append("data")
                loop.call_soon(order.append, "soon")

        connections = [Connection(loop, "unix", Scheduling()) for _ in range(3)]
        settle(loop)
        for connection in connections:
            connection.theirs.send(b"x")
        until(loop, lambda: len(order) == 6)
        assert order == ["data"] * 3 + ["soon"] * 3
        for connection in connections:
            connection.close()

    def test_a_reader_sees_at_most_one_piece_a_turn(self, connection):
        pieces = []

        class Counting(Recorder):
            def data_received(self, data):
                pieces.append(len(data))
                connection.theirs.send(b"again")

        connection.transport.set_protocol(Counting())
        connection.theirs.send(b"x")
        turns = []

        def turn():
            turns.append(len(pieces))
            if len(turns) < 20:
                connection.loop.call_soon(turn)
            else:
                connection.loop.stop()

        connection.loop.call_soon(turn)
        connection.loop.run_forever()
        assert max(after - before for before, after in itertools.pairwise(turns)) <= 1
        assert pieces

    def test_connection_made_comes_before_data_and_the_waiter(self, loop):
        order = []

        class Noting(Recorder):
            def connection_made(self, transport):
                super().connection_made(transport)
                order.append("made")

            def data_received(self, data):
                order.append("data")

        ours, theirs = socket.socketpair()
        ours.setblocking(False)
        theirs.send(b"x")

        async def main():
            transport, _ = await loop.create_connection(Noting, sock=ours)
            order.append("connected")
            return transport

        transport = loop.run_until_complete(main())
        until(loop, lambda: "data" in order)
        assert order[0] == "made"
        assert sorted(order) == ["connected", "data", "made"]
        transport.abort()
        settle(loop)
        theirs.close()

    def test_a_callback_runs_in_the_context_that_connected(self, loop):
        variable = contextvars.ContextVar("variable", default="outside")
        seen = []

        class Looking(Recorder):
            def data_received(self, data):
                seen.append(variable.get())
                super().data_received(data)

            def connection_lost(self, exc):
                seen.append(variable.get())
                super().connection_lost(exc)

        ours, theirs = socket.socketpair()
        ours.setblocking(False)

        async def main():
            variable.set("inside")
            return await loop.create_connection(Looking, sock=ours)

        _, protocol = loop.run_until_complete(main())
        theirs.send(b"x")
        theirs.close()
        until(loop, lambda: protocol.lost)
        assert seen == ["inside", "inside"]
