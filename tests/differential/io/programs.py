"""Programs as data, and the strategies that draw them: ``(setup, statements)``, which print as literals.

The first value of each setup says whether the program ends in order (1), or is dropped as it is (0).
"""

from hypothesis import strategies as st

FLAG = st.integers(0, 1)
SOMETIMES = st.sampled_from([0, 0, 0, 0, 1])
MOSTLY = st.sampled_from([1, 1, 1, 0])
SIZE = st.sampled_from([1000, 1, 0, 65_535, 65_536, 65_537, 300_000])
# writelines([b""]): see EMPTY_PIECES.
PIECE = SIZE.filter(bool)
SMALL = st.sampled_from([1, 10, 100, 1000])
TYPE = st.sampled_from(["bytes", "bytes", "bytearray", "memoryview", "str"])
READ = st.sampled_from([1, 100, 5000, 100_000])
KIND = st.sampled_from(["boom", "value", "cancelled", "interrupt", "alarm", "exit"])
# A protocol that is given its data, or the size of the buffer that one lends.
PROTOCOL = st.sampled_from([None, None, None, None, None, 65_536, 65_536, 1000, 1000, 1, 0])
HIGH_AND_LOW = st.sampled_from(
    [(None, None), (0, None), (0, None), (1000, 100), (1000, 1000), (100_000, None), (None, 0), (10, 20), (-1, None)]
)
# "data" is data_received or buffer_updated.
EVENT = st.sampled_from(
    ["connection_made", "connection_lost", "get_buffer"]
    + 3 * ["data", "eof_received"]
    + 2 * ["pause_writing", "resume_writing", "connection_lost"]
)


def _statement(operation, *arguments):
    if not arguments:
        return st.just((operation,))
    return st.tuples(st.just(operation), *arguments)


def _statements(*operations):
    return st.one_of([_statement(*operation) for operation in operations])


def _some(strategy, least, most):
    return st.lists(strategy, min_size=least, max_size=most).map(tuple)


def _one_after_the_other(*pieces):
    """Pieces are strategies of tuples of statements: all of their statements."""
    return st.tuples(*pieces).map(lambda drawn: tuple(statement for piece in drawn for statement in piece))


def _flat(strategy, least, most):
    return st.lists(strategy, min_size=least, max_size=most).map(
        lambda drawn: tuple(statement for piece in drawn for statement in piece)
    )


def _step(*actions):
    return st.tuples(*actions).map(lambda drawn: (("step", drawn),))


def _peer(operation, *arguments):
    return _statement("peer", st.just(operation), *arguments).map(lambda drawn: (drawn,))


# Programs of a transport.

_WRITE = _statement("write", SIZE, TYPE)
_MUCH = st.sampled_from([300_000, 140_000, 65_537])
_WRITE_MUCH = _statement("write", _MUCH, st.sampled_from(["bytes", "bytearray", "memoryview"]))
_MILD = [
    _WRITE,
    _WRITE,
    _WRITE_MUCH,
    _statement("writelines", _some(PIECE, 0, 3)),
    _statement("pause"),
    _statement("resume"),
    _statement("resume"),
    _statement("switch", PROTOCOL),
    _statement("limits", HIGH_AND_LOW),
    _statement("look"),
    _statement("outside", st.just("send"), SMALL),
]
_HARD = [_statement("write_eof"), _statement("close"), _statement("abort"), _statement("outside", st.just("shutdown"))]
_ACTION = st.one_of(*_MILD, *_HARD)
_SEND = _peer("send", SIZE)
_READ = _peer("read", READ)
_DRAIN = _peer("drain")
_END = st.one_of(_peer("shutdown"), _peer("shutdown"), _peer("close"), _peer("reset"))
_PAUSE, _RESUME = _step(_statement("pause")), _step(_statement("resume"))
_PIECE = st.one_of(
    _step(st.one_of(_MILD)),
    _step(st.one_of(_MILD), st.one_of(_MILD)),
    _SEND,
    _SEND,
    _READ,
    _DRAIN,
    _one_after_the_other(_step(_statement("limits", HIGH_AND_LOW)), _step(_WRITE_MUCH), _READ),
    _one_after_the_other(_step(_WRITE_MUCH), _READ, _READ),
    _one_after_the_other(_step(_WRITE_MUCH), _DRAIN),
    _one_after_the_other(_PAUSE, _SEND, _RESUME),
    _step(_statement("pause"), _statement("outside", st.just("send"), SMALL)),
)
_LAST_PIECE = st.one_of(
    _step(_ACTION, _ACTION),
    _step(st.one_of(_HARD)),
    _END,
    _one_after_the_other(_step(_WRITE_MUCH, st.one_of(_HARD)), _READ, _DRAIN),
    _one_after_the_other(_step(_WRITE_MUCH, _statement("abort")), _DRAIN),
    _one_after_the_other(_step(_WRITE_MUCH), _step(st.one_of(_HARD)), _DRAIN),
    _one_after_the_other(_step(_WRITE_MUCH), _END),
    _one_after_the_other(_PAUSE, _SEND, _END, _RESUME),
    _one_after_the_other(_PAUSE, _SEND, _step(st.one_of(_HARD))),
    _one_after_the_other(_END, _step(_WRITE), _step(_WRITE)),
)
_RESULT = st.one_of(st.none(), st.none(), st.booleans(), KIND)
_REACTION_ACTION = st.one_of(*_MILD, *_HARD, _statement("pause"), _WRITE)
_REACTION = st.tuples(EVENT, st.sampled_from([0, 0, 0, 1, 2]), _some(_REACTION_ACTION, 0, 2), _RESULT)


def transports():
    """Programs of a transport."""
    capacity = st.sampled_from([4096, 32_768])
    # Besides the ending: TCP, the way to make it, debug mode, the protocol, the kernel's buffer, the reactions.
    tcp = st.sampled_from([0, 0, 1])
    setup = st.tuples(MOSTLY, tcp, FLAG, SOMETIMES, PROTOCOL, capacity, _some(_REACTION, 0, 3))
    body = _one_after_the_other(_flat(_PIECE, 1, 4), _flat(_LAST_PIECE, 1, 3), _flat(_PIECE, 0, 2))
    return st.tuples(setup, body)


# Programs of tasks: readers and writers, or sock_*.

_TURNS = st.sampled_from([None, None, None, 0, 1, 2, 3])
_STREAM_READ = st.one_of(
    _statement("read", st.sampled_from([-1, 1, 10, 1000, 0, 100_000])),
    _statement("readexactly", st.sampled_from([10, 1, 1000, 0, 5000])),
    _statement("readline"),
    _statement("readline"),
    _statement("readuntil", st.sampled_from([b"a", b"ab", b""])),
    _statement("iterate"),
)
_STREAM_WRITE = st.one_of(
    _statement("write", SIZE),
    _statement("write", st.sampled_from([65_537, 140_000, 300_000])),
    _statement("writelines", _some(PIECE, 0, 3)),
    _statement("drain"),
    _statement("drain"),
    _statement("drain"),
)
_WRITE_AND_DRAIN = st.tuples(_statement("write", st.sampled_from([140_000, 300_000, 1000])), _statement("drain"))
_STREAM_END = st.one_of(
    _statement("write_eof"), _statement("close"), _statement("close"), _statement("wait_closed"), _statement("abort")
)
_STREAM_ACTION = st.one_of(_STREAM_READ, _STREAM_WRITE, _STREAM_READ, _STREAM_WRITE, _statement("state"))
_CANCEL = _statement("cancel", st.integers(0, 3)).map(lambda drawn: (drawn,))


def _job(actions):
    return _statement("job", _TURNS, actions).map(lambda drawn: (drawn,))


def streams():
    """Programs of a reader and a writer."""
    piece = st.one_of(
        _job(_some(_STREAM_ACTION, 1, 3)),
        _job(_some(_STREAM_READ, 1, 3)),
        _job(_some(_STREAM_WRITE, 1, 3)),
        _SEND,
        _SEND,
        _READ,
        _CANCEL,
        _one_after_the_other(_job(_some(_STREAM_READ, 1, 3)), _SEND),
        _one_after_the_other(_SEND, _job(_some(_STREAM_READ, 1, 3))),
        _one_after_the_other(_job(_WRITE_AND_DRAIN), _READ, _DRAIN),
        _one_after_the_other(_job(_WRITE_AND_DRAIN), _CANCEL, _DRAIN),
    )
    last = st.one_of(
        _one_after_the_other(_job(_WRITE_AND_DRAIN), _END),
        _one_after_the_other(_job(_WRITE_AND_DRAIN), _job(_some(_STREAM_END, 1, 2)), _DRAIN),
        _job(_some(_STREAM_END, 1, 2)),
        _job(_some(st.one_of(_STREAM_ACTION, _STREAM_END), 1, 3)),
        _END,
    )
    # Besides the ending: TCP, debug mode, the reader's limit.
    setup = st.tuples(MOSTLY, FLAG, SOMETIMES, st.sampled_from([65_536, 100, 1000, 10]))
    return st.tuples(setup, _one_after_the_other(_flat(piece, 1, 6), _flat(last, 0, 2), _flat(piece, 0, 2)))


_SOCKET_ACTION = st.one_of(
    _statement("recv", READ),
    _statement("recv", READ),
    _statement("recv_into", READ),
    _statement("sendall", SIZE, TYPE),
    _statement("sendall", st.sampled_from([65_537, 140_000, 300_000]), TYPE),
)
_MEETING = st.one_of(
    _statement("accept"),
    _statement("accept"),
    _statement("connect", st.sampled_from(["listener", "listener", "nobody"])),
    _statement("connect", st.sampled_from(["listener", "listener", "nobody"])),
)


def sockets():
    """Programs of sock_*."""
    piece = st.one_of(
        _job(_some(_SOCKET_ACTION, 1, 3)),
        _job(_some(_SOCKET_ACTION, 1, 3)),
        _job(_some(_MEETING, 1, 2)),
        _one_after_the_other(_job(_some(_SOCKET_ACTION, 1, 2)), _CANCEL),
        _SEND,
        _READ,
        _DRAIN,
        _CANCEL,
        st.just((("meet",),)),
    )
    last = st.one_of(_END, _job(st.just((("shutdown",),))), _job(st.just((("close",),))))
    # Besides the ending: TCP, debug mode.
    setup = st.tuples(MOSTLY, FLAG, SOMETIMES)
    return st.tuples(setup, _one_after_the_other(_flat(piece, 1, 6), _flat(last, 0, 1), _flat(piece, 0, 2)))


_CLIENT = st.integers(0, 2)
_SERVER_ACTION = st.one_of(
    _statement("close_server"),
    _statement("wait_closed"),
    _statement("start_serving"),
    _statement("start_serving"),
    _statement("serve_forever"),
    _statement("enter"),
    _statement("close_clients"),
    _statement("abort_clients"),
    _statement("server_state"),
)
_CONNECT = st.one_of(
    _statement("create_connection", st.sampled_from(["listener", "listener", "server", "nobody", "sock"])),
    _statement("open_connection", st.sampled_from(["listener", "server", "nobody"])),
)
_OF_TRANSPORT = _statement(
    "call", _CLIENT, st.sampled_from(["close", "abort", "write", "write_eof", "pause_reading", "resume_reading"])
)


def connections():
    """Programs of a server and of clients."""
    knock = st.just((("knock",),))
    clients = st.tuples(
        st.just("client"), _CLIENT, st.sampled_from(["send", "send", "read", "shutdown", "close", "reset"])
    ).map(lambda drawn: (drawn,))
    piece = st.one_of(
        knock,
        knock,
        knock,
        _one_after_the_other(knock, clients),
        clients,
        _job(_some(_CONNECT, 1, 2)),
        _job(_some(_SERVER_ACTION, 1, 2)),
        _job(_some(_OF_TRANSPORT, 1, 2)),
        _job(_some(st.one_of(_SERVER_ACTION, _CONNECT, _OF_TRANSPORT), 1, 3)),
        _CANCEL,
        st.just((("answer",),)),
    )
    # Besides the ending: a Unix path or TCP, debug mode, whether it serves at once, the protocol, the reactions.
    reaction = st.tuples(
        st.sampled_from(["connection_made", "data_received", "eof_received", "connection_lost", "factory"]),
        st.sampled_from(["close", "abort", "write", "close_server", "raise", "keep"]),
    )
    setup = st.tuples(MOSTLY, FLAG, SOMETIMES, FLAG, _some(reaction, 0, 2))
    return st.tuples(setup, _flat(piece, 1, 9))
