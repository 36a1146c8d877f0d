"""Programs as data, and the strategies that draw them: ``(setup, statements)``, which print as literals.

The first value of each setup says whether the program ends in order (1), or is dropped as it is (0).
"""

from hypothesis import strategies as st

FLAG = st.integers(0, 1)
SOMETIMES = st.sampled_from([0, 0, 0, 0, 1])
MOSTLY = st.sampled_from([1, 1, 1, 0])
SIZE = st.sampled_from([1000, 1, 0, 65_535, 65_536, 65_537, 300_000])
SMALL = st.sampled_from([1, 10, 100, 1000])
TYPE = st.sampled_from(["bytes", "bytes", "bytearray", "memoryview", "str"])
READ = st.sampled_from([1, 100, 5000, 100_000])
KIND = st.sampled_from(["boom", "value", "cancelled", "interrupt", "alarm", "exit"])
# A protocol that is given its data, or the size of the buffer that one lends.
PROTOCOL = st.sampled_from([None, None, None, 65_536, 1000, 1, 0])
HIGH_AND_LOW = st.sampled_from(
    [(None, None), (0, None), (1000, 100), (1000, 1000), (100_000, None), (None, 0), (10, 20), (-1, None)]
)
EVENT = st.sampled_from(
    [
        "data_received",
        "data_received",
        "eof_received",
        "eof_received",
        "connection_made",
        "connection_lost",
        "pause_writing",
        "resume_writing",
        "get_buffer",
        "buffer_updated",
    ]
)


def _statements(*operations):
    return st.one_of([_statement(*operation) for operation in operations])


def _statement(operation, *arguments):
    if not arguments:
        return st.just((operation,))
    return st.tuples(st.just(operation), *arguments)


def _some(strategy, least, most):
    return st.lists(strategy, min_size=least, max_size=most).map(tuple)


_ACTIONS = _statements(
    ("write", SIZE, TYPE),
    ("write", SIZE, TYPE),
    ("write", SIZE, TYPE),
    ("writelines", _some(SIZE, 0, 3)),
    ("write_eof",),
    ("close",),
    ("abort",),
    ("pause",),
    ("resume",),
    ("resume",),
    ("switch", PROTOCOL),
    ("limits", HIGH_AND_LOW),
    ("look",),
)
_PEER = _statements(
    ("peer", st.just("send"), SIZE),
    ("peer", st.just("send"), SIZE),
    ("peer", st.just("send"), SIZE),
    ("peer", st.just("read"), READ),
    ("peer", st.just("read"), READ),
    ("peer", st.just("drain")),
    ("peer", st.just("shutdown")),
    ("peer", st.just("reset")),
    ("peer", st.just("close")),
)
_ENDS = st.one_of(st.none(), st.none(), st.booleans(), KIND)
_REACTIONS = st.tuples(EVENT, st.sampled_from([0, 0, 0, 1, 2]), _some(_ACTIONS, 0, 2), _ENDS)


def transports():
    """Programs of a transport."""
    # MOSTLY: ending; then TCP, the way to make it, debug mode, the protocol, the kernel's buffer, reactions.
    capacity = st.sampled_from([4096, 32_768])
    setup = st.tuples(MOSTLY, FLAG, FLAG, SOMETIMES, PROTOCOL, capacity, _some(_REACTIONS, 0, 4))
    steps = st.tuples(st.just("step"), _some(_ACTIONS, 1, 3))
    return st.tuples(setup, _some(st.one_of(steps, _PEER), 1, 10))
