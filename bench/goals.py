"""What boucle wants to reach, row by row. Data: a table says whether a figure is ahead or short, nothing fails."""

RATIOS = {
    # How many times less than the peer: {benchmark: {peer: at least}}.
    "call_soon_chain": {"uvloop": 6, "rloop": 1.55},
    "call_soon_queued": {"uvloop": 1.9, "rloop": 1.3},
    "timers_fired": {"uvloop": 4, "rloop": 1.4},
    "timers_cancelled": {"uvloop": 4, "rloop": 1.5},
    "threadsafe_flood": {"uvloop": 1.7, "rloop": 1},
    "create_task": {"uvloop": 8, "rloop": 5},
    "sleep_zero": {"uvloop": 2, "rloop": 1.6},
    "future_ping_pong": {"uvloop": 8, "rloop": 5},
    "gather_many": {"uvloop": 2.1, "rloop": 2.1},
    "queue": {"uvloop": 1.4, "rloop": 1.2},
    "lock": {"uvloop": 2, "rloop": 1.4},
    "timeout": {"uvloop": 2, "rloop": 1.6},
    "wait_for": {"uvloop": 2, "rloop": 1.6},
    "loop_lifetime": {"uvloop": 2, "rloop": 3},
    "sleeping_task": {"uvloop": 1 / 0.6, "rloop": 1 / 0.7},
    "tcp_protocol_10": {"uvloop": 1.17, "rloop": 1.1},
    "tcp_protocol_100": {"uvloop": 1.17, "rloop": 1.1},
    "tcp_protocol_1000": {"uvloop": 1.17, "rloop": 1.1},
    "streams_10": {"uvloop": 1.2, "rloop": 1.15},
    "streams_100": {"uvloop": 1.2, "rloop": 1.15},
    "own_streams_10": {"uvloop": 1.35, "rloop": 1.3},
    "own_streams_100": {"uvloop": 1.35, "rloop": 1.3},
    "streams_100k": {"uvloop": 2.5, "rloop": 1},
    "own_streams_100k": {"uvloop": 2.5, "rloop": 1},
    "buffered_64": {"uvloop": 1.15, "rloop": 1.1},
    "buffered_1024": {"uvloop": 1.15, "rloop": 1.1},
    "buffered_10240": {"uvloop": 1.15, "rloop": 1.1},
    "buffered_102400": {"uvloop": 1.15, "rloop": 1.1},
    "sock_10": {"uvloop": 1.5, "rloop": 1},
    "pieces_10": {"uvloop": 12, "rloop": 12},
    "unix_10": {"uvloop": 1.25},
    "udp_10": {"uvloop": 1.25, "rloop": 1.05},
    "tls_10": {"uvloop": 2.5},
    "tls_10_freed": {"uvloop": 1.1},
    "tls_both_ends": {"uvloop": 1.1},
    "tls_100k": {"uvloop": 2},
    "tls_idle_pair": {"uvloop": 1 / 0.6},
    "uvicorn_10": {"uvloop": 1.5, "rloop": 1.5},
    "uvicorn_100": {"uvloop": 1.5, "rloop": 1.5},
    "aiohttp_10": {"uvloop": 1.08, "rloop": 1.08},
    "aiohttp_100": {"uvloop": 1.02, "rloop": 1.02},
    "connect_accept": {"uvloop": 1, "rloop": 1.1},
    "subprocess_spawn": {"uvloop": 3, "rloop": 1},
    "subprocess_output": {"uvloop": 1.2, "rloop": 1.2},
    "name_lookup": {"uvloop": 1, "rloop": 1.2},
    "sendfile": {"asyncio": 1},
    "start_and_end": {"uvloop": 1},
}

FLOOR = {
    # How many times the floor at most.
    "tcp_protocol_10": 1.05,
    "tcp_protocol_100": 1.05,
    "tcp_protocol_1000": 1.05,
}

LIMITS = {
    # boucle's own figure at most, in the unit of the row.
    "short_sleep": 100,
    "early_firings": 0,
    "ticker": 3,
    "beside_a_thread": 2,
    "tls_both_ends": 17,
}


def is_ahead(value, goal, is_limit=False):
    """Whether a figure has reached its goal."""
    return value <= goal if is_limit else value >= goal


def judged(text, value, goal, is_limit=False):
    """A figure with its goal: `1.30x ≥ 1.17` is ahead, `1.10x < 1.17` is short of it."""
    if value is None or goal is None:
        return text
    sign = ("≤" if is_limit else "≥") if is_ahead(value, goal, is_limit) else (">" if is_limit else "<")
    return f"{text} {sign} {goal:.3g}"


def measured(timings, floor):
    """The goals that have a figure: (benchmark, against whom, figure, goal, whether it is an upper limit)."""
    for name, peers in RATIOS.items():
        for peer, goal in peers.items():
            ratio = timings.ratio(name, "boucle", peer)
            if ratio is not None:
                yield name, f"{peer}/boucle", ratio, goal, False
    for name, goal in FLOOR.items():
        ratio = timings.ratio(name, floor, "boucle")
        if ratio is not None:
            yield name, "boucle/floor", ratio, goal, True
    for name, goal in LIMITS.items():
        median = timings.median(name, "boucle")
        if median is not None:
            yield name, "boucle", median, goal, True
