"""Programs as data: what a statement can be, and the strategy that draws whole programs.

A program is ``(debug, ending, body)``. A body is ``(calm, statements)``: the code of a task, a callback or a block. A
statement is a tuple of its operation and the arguments, so that a program prints as a literal and can be run again.

* *Things* are the futures and tasks of a program, in the order in which they were made: two futures and the main task
  are there from the start. A statement names one by an index, which wraps around; so every index means something, and a
  program stays valid while it is made smaller.
* ``calm`` says what a body does with an exception of a statement: 0 lets it through, 1 goes on after an ``Exception``,
  2 goes on after everything, cancellation too.
* When tasks are left and nothing can happen any more, the interpreter does what they may wait for, a few times.
  ``ending`` says what else: 0 drops those that are left then with the loop, 1 cancels them in between.

No program hangs: there are no loops in it, and the interpreter bounds the turns and the statements that it runs.
"""

import sys

from hypothesis import strategies as st

# Indices wrap around; negative ones name what was made last.
THING = st.sampled_from([0, -1, 1, -2, 3, 4, 2, 5])
MESSAGE = st.sampled_from([None, "stop", "again"])
DELAY = st.sampled_from([1, 2, 3, 0, 5])
TIMEOUT = st.sampled_from([1, 2, 4, 0, None, -1])
RANK = st.integers(0, 2)
# None: no context is given.
CONTEXT = st.sampled_from([None, 0, 1])
NUMBER = st.integers(0, 2)
TIMES = st.sampled_from([1, 1, 2, 3])
FLAG = st.integers(0, 1)
KIND = st.sampled_from(["value", "boom", "alarm", "cancelled", "timeout", "stop", "interrupt", "exit"])
RETURN_WHEN = st.sampled_from(["ALL_COMPLETED", "FIRST_COMPLETED", "FIRST_EXCEPTION"])
CAUGHT = st.sampled_from(["cancelled", "exception", "everything", "nothing"])
CALM = st.sampled_from([1, 0, 1, 2])

THINGS = st.lists(THING, max_size=3).map(tuple)

NEWER_THAN_3_10 = sys.version_info >= (3, 11)
NEWER_THAN_3_11 = sys.version_info >= (3, 12)

# What a callback can do: statements without an await. An operation that stands here twice is drawn twice as often.
PLAIN = [
    ("cancel", THING, MESSAGE),
    ("cancel", THING, MESSAGE),
    ("cancel", THING, MESSAGE),
    ("state", THING),
    ("result", THING),
    ("exception", THING),
    ("future",),
    ("set_result", THING),
    ("set_result", THING),
    ("set_exception", THING, KIND, FLAG),
    ("drop", THING),
    ("add_again", THING, NUMBER, CONTEXT),
    ("remove_callback", THING, NUMBER),
    ("remove_callback", THING, NUMBER),
    ("gather", THINGS, FLAG),
    ("shield", THING),
    ("set", NUMBER),
    ("get",),
    ("current",),
    ("all_tasks",),
    ("name", THING, NUMBER),
    ("raise", KIND),
    ("cancel_handle", NUMBER),
    ("event_set",),
    ("event_clear",),
    ("put_nowait", NUMBER),
    ("get_nowait",),
    ("task_done",),
    ("release", NUMBER),
    ("queue_state",),
]

WAITING = [
    ("yield",),
    ("yield",),
    ("yield",),
    ("await", THING),
    ("await", THING),
    ("await", THING),
    ("sleep", DELAY),
    ("sleep", DELAY),
    ("wait_for", THING, TIMEOUT),
    ("wait", THINGS, RETURN_WHEN, TIMEOUT),
    ("as_completed", THINGS, TIMEOUT),
    ("await_shield", THING),
    ("await_gather", THINGS, FLAG),
    ("yield_wrongly", st.sampled_from(["number", "future", "generator"]), THING),
    ("put", NUMBER),
    ("take",),
    ("join",),
    ("acquire", NUMBER),
    ("event_wait",),
    ("notify", NUMBER),
]
if NEWER_THAN_3_10:
    PLAIN += [("uncancel", THING), ("uncancel", THING)]


def _statements(*operations):
    """Strategies of whole statements. What is fixed is not drawn: drawing takes most of a search's time."""
    return [_statement(*operation) for operation in operations]


def _statement(operation, *arguments):
    if not arguments:
        return st.just((operation,))
    if len(arguments) == 1:
        return arguments[0].map(lambda argument: (operation, argument))
    return st.tuples(*arguments).map(lambda drawn: (operation, *drawn))


def _body(statements, size):
    return st.tuples(CALM, st.lists(st.one_of(statements), max_size=size).map(tuple))


_IN_CALLBACKS = _statements(*PLAIN)
_CALLBACK = _body(_IN_CALLBACKS, 2)
_IN_CALLBACKS += _statements(
    ("callback", THING, TIMES, CONTEXT, _CALLBACK),
    ("call_soon", CONTEXT, _CALLBACK),
    ("call_later", DELAY, CONTEXT, _CALLBACK),
    ("call_at_past", RANK, CONTEXT, _CALLBACK),
)
_CALLBACK = _body(_IN_CALLBACKS, 3)


def _in_tasks(body):
    """What a task can do if this is what the bodies inside of it are."""
    bodies = st.lists(body, max_size=3).map(tuple)
    nested = [
        ("spawn", CONTEXT if NEWER_THAN_3_10 else st.none(), body),
        ("spawn", st.none(), body),
        ("spawn", st.none(), body),
        ("spawn", st.none(), body),
        ("callback", THING, TIMES, CONTEXT, _CALLBACK),
        ("callback", THING, TIMES, CONTEXT, _CALLBACK),
        ("call_soon", CONTEXT, _CALLBACK),
        ("call_later", DELAY, CONTEXT, _CALLBACK),
        ("call_at_past", RANK, CONTEXT, _CALLBACK),
        ("try", body, CAUGHT, body),
        ("finally", body, body),
        ("call", body),
        ("wait_for_body", body, TIMEOUT),
        ("gather_bodies", bodies, FLAG),
        ("lock", body),
        ("semaphore", body),
        ("condition", NUMBER, body),
        ("generate", NUMBER, FLAG, body),
    ]
    if NEWER_THAN_3_10:
        nested += [("timeout", TIMEOUT, body), ("group", bodies, body)]
    if NEWER_THAN_3_11:
        nested += [("spawn_eagerly", CONTEXT, body)]
    return _statements(*PLAIN, *WAITING, *WAITING, *nested)


def programs():
    """Draws programs."""
    body = _body(_statements(*PLAIN, *WAITING, *WAITING), 6)
    for size in 8, 12:
        body = _body(_in_tasks(body), size)
    return st.tuples(st.sampled_from([0, 0, 0, 0, 0, 0, 0, 1]), FLAG, body)
