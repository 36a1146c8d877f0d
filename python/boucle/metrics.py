"""What loops did, in numbers: ``loop.metrics()``, and collectors for Prometheus and OpenTelemetry.

    loop.metrics()                     of one loop
    boucle.metrics.process()           of all loops of this process, those that are closed and gone too
    boucle.metrics.prometheus()        adds them to prometheus_client's registry (pip install boucle[prometheus])
    boucle.metrics.opentelemetry()     makes OpenTelemetry instruments (pip install boucle[opentelemetry])

The recorder counts each step as it returns, so that reading costs the loop nothing and needs nothing of it: a thread
can read while a step does not return. Nothing in Python can run, and so nothing here, while C code holds the GIL; what
was counted meanwhile is read afterwards. All counts begin with the process and never go down. Times are in seconds.
"""

import dataclasses
import functools
import threading

from . import _boucle

BOUNDS = (0.0005, 0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0)
"""Seconds: the upper bounds of the buckets, without the last one, which has none."""

QUANTILES = {"p50": 0.5, "p90": 0.9, "p99": 0.99}


@dataclasses.dataclass(frozen=True)
class Histogram:
    """Lengths of time, by their length."""

    count: int
    sum: float
    """Seconds, of all together."""
    slots: "tuple[tuple[float, int], ...]"
    """Finer than buckets, each 4 to 6 % wide: the upper end in seconds, and how many; only those that have some."""

    @property
    def buckets(self):
        """How many were not longer than each of BOUNDS, and how many there are: a tuple of (bound, count), the last
        bound infinite. A length is rounded up by at most 6 %, to the end of its slot."""
        return (
            *((bound, sum(n for end, n in self.slots if end <= bound)) for bound in BOUNDS),
            (float("inf"), self.count),
        )

    def quantile(self, share):
        """The length that this share of them, from 0 to 1, does not exceed, rounded up by at most 6 %; 0 if there are
        none."""
        remaining = share * self.count
        for end, n in self.slots:
            remaining -= n
            if remaining <= 0:
                return end
        return self.slots[-1][0] if self.slots else 0.0


@dataclasses.dataclass(frozen=True)
class Starved:
    """Steps longer than the threshold, and what they cost."""

    count: int
    blocked_time: float
    """Seconds that the steps took, together."""
    starved_time: float
    """Seconds that others waited for them, together. A victim counts when it has run."""


@dataclasses.dataclass(frozen=True)
class Metrics:
    """What loops did. All counts begin with the loop, or the process. Times in seconds."""

    turns: int
    time: "dict[str, float]"
    """The time that the loops ran, by what they did: in steps (``running``), asleep until something happens
    (``idle``), waiting for the GIL after a sleep (``gil``), between two batches (``overhead``). A step or sleep that
    goes on is counted as far as it has come."""
    step: Histogram
    """Steps by how long they took."""
    wait: Histogram
    """Steps by how long they had been ready before."""
    starvations: "dict[str, Starved]"
    """By cause; only causes that occurred. The watchdog finds causes: without it they are ``unknown``."""
    threshold: float
    """From which length on a step is a starvation."""
    ready: int
    """How many tasks and callbacks are ready now; of a process, when the step that runs began."""
    lost: int
    """How many of the steps counted here are not in the recorder's ring any more."""

    @property
    def steps(self):
        """How many steps have returned."""
        return self.step.count

    @property
    def utilisation(self):
        """The share of the time in which steps ran, from 0 to 1; 0 before the loop ran."""
        total = sum(self.time.values())
        return self.time["running"] / total if total else 0.0


STATES = ("running", "idle", "gil", "overhead")


def of_loop(loop):
    """The metrics of a loop of ours, whichever thread asks. Raises ValueError if the recorder is off."""
    _check_recorder()
    return _metrics([loop._metrics()])


def process():
    """The metrics of all loops of this process together. Raises ValueError if the recorder is off."""
    _check_recorder()
    return _metrics([row["sums"] for row in _boucle._metrics_of_process()])


def threads():
    """The metrics by the name of the thread, those of threads that have ended with the next one that took their place.
    Raises ValueError if the recorder is off."""
    _check_recorder()
    sums: dict[str, list] = {}
    for row in _boucle._metrics_of_process():
        sums.setdefault(row["thread"], []).append(row["sums"])
    return {thread: _metrics(rows) for thread, rows in sums.items()}


def _check_recorder():
    if not _boucle._is_recording():
        raise ValueError(
            "there are no metrics, since BOUCLE_RECORD=0 was set when boucle was imported: "
            "unset it, for the recorder counts them"
        )


def _metrics(rows):
    """One object of the sums of several threads."""
    starvations: dict[str, list] = {}
    for row in rows:
        for cause, *sums in row["starvations"]:
            starvations[cause] = [a + b for a, b in zip(starvations.get(cause, (0, 0, 0)), sums, strict=True)]
    return Metrics(
        turns=sum(row["turns"] for row in rows),
        time={state: sum(row[state] for row in rows) for state in STATES},
        step=_histogram(rows, "durations", "held"),
        wait=_histogram(rows, "waits", "waited"),
        starvations={cause: Starved(*sums) for cause, sums in starvations.items() if any(sums)},
        threshold=rows[0]["threshold"] if rows else 0.05,
        ready=sum(row["ready"] for row in rows),
        lost=sum(row["overwritten"] for row in rows),
    )


def _histogram(rows, slots, total):
    counts: dict[float, int] = {}
    for row in rows:
        for end, n in row[slots]:
            counts[end] = counts.get(end, 0) + n
    return Histogram(sum(counts.values()), sum(row[total] for row in rows), tuple(sorted(counts.items())))


class Since:
    """What happened since it was asked last: for gauges, which a reader takes for now."""

    def __init__(self):
        self._last = {}
        self._lock = threading.Lock()

    def threads(self):
        """By thread: the utilisation since the last call; only threads whose loops ran in between."""
        with self._lock:
            shares = {}
            for thread, metrics in threads().items():
                spent = [
                    metrics.time[state] - before for state, before in zip(STATES, self._before(thread), strict=True)
                ]
                if sum(spent) > 0:
                    shares[thread] = spent[0] / sum(spent)
                self._last[thread] = metrics.time
            return shares

    def _before(self, thread):
        return [self._last[thread][state] for state in STATES] if thread in self._last else [0.0] * len(STATES)


class Recently:
    """A histogram of what was counted since it was asked last."""

    def __init__(self):
        self._last = {}

    def __call__(self, histogram):
        slots = tuple((end, n - self._last.get(end, 0)) for end, n in histogram.slots)
        self._last = dict(histogram.slots)
        slots = tuple((end, n) for end, n in slots if n)
        return Histogram(sum(n for _, n in slots), 0.0, slots)


class PrometheusCollector:
    """What prometheus_client asks at each scrape."""

    def __init__(self):
        from prometheus_client.core import CounterMetricFamily, GaugeMetricFamily, HistogramMetricFamily

        _check_recorder()
        self._counter, self._gauge, self._histogram = CounterMetricFamily, GaugeMetricFamily, HistogramMetricFamily
        self._since = Since()

    def describe(self):
        """Nothing: the names are known without a reading. Its existence keeps a registry from asking at once."""
        return []

    def collect(self):
        """The metrics of the process, as prometheus_client's families."""
        metrics = process()
        yield self._labelled(
            self._gauge,
            "asyncio_eventloop_utilization",
            "Share of the time since the last scrape in which steps ran.",
            "thread",
            self._since.threads(),
        )
        yield self._labelled(
            self._counter, "asyncio_eventloop_time_seconds", "Time by what the loops did.", "state", metrics.time
        )
        for name, text, histogram in (
            ("asyncio_eventloop_ready_wait_seconds", "From ready to run.", metrics.wait),
            ("asyncio_eventloop_slice_duration_seconds", "How long steps held the processor.", metrics.step),
        ):
            buckets = [("+Inf" if bound == float("inf") else str(bound), n) for bound, n in histogram.buckets]
            yield self._histogram(name, text, buckets=buckets, sum_value=histogram.sum)
        yield self._counter("asyncio_eventloop_iterations", "Turns of the loops.", value=metrics.turns)
        yield self._gauge("asyncio_eventloop_ready_length", "What is ready to run.", value=metrics.ready)
        for name, text, attribute in (
            ("asyncio_eventloop_blocks", "Steps longer than the threshold.", "count"),
            ("asyncio_eventloop_blocked_time_seconds", "How long those took.", "blocked_time"),
            ("asyncio_eventloop_starved_time_seconds", "How long others waited for those.", "starved_time"),
        ):
            values = {cause: getattr(starved, attribute) for cause, starved in metrics.starvations.items()}
            yield self._labelled(self._counter, name, text, "cause", values)

    def _labelled(self, family, name, text, label, values):
        metric = family(name, text, labels=[label])
        for value in values:
            metric.add_metric([value], values[value])
        return metric


def prometheus(registry=None):
    """Add the loops of this process to a registry of prometheus_client, its own one by default. Returns the collector.

        prometheus_client.start_http_server(9000)
        boucle.metrics.prometheus()

    That server is a thread, so it answers while a step holds the loop; it does not while C code holds the GIL. Raises
    ImportError without prometheus_client, ValueError if the recorder is off or the registry has them already.
    """
    import prometheus_client

    collector = PrometheusCollector()
    (registry or prometheus_client.REGISTRY).register(collector)
    return collector


def opentelemetry(meter_provider=None):
    """Make OpenTelemetry instruments of the loops of this process, with the global provider by default.

    The API has no histogram that is observed, so waits and durations are gauges of their quantiles since the last
    reading. Raises ImportError without opentelemetry-api, ValueError if the recorder is off.
    """
    from opentelemetry.metrics import Observation, get_meter

    _check_recorder()
    meter = get_meter("boucle", _boucle.__version__, meter_provider)
    since = Since()

    def labelled(attribute, values):
        return [Observation(value, {attribute: label}) for label, value in values.items()]

    def by_cause(attribute):
        return labelled("cause", {cause: getattr(it, attribute) for cause, it in process().starvations.items()})

    def observe(recently, pick, share, _):
        return [Observation(recently(pick(process())).quantile(share))]

    def quantiles(name, text, pick):
        for quantile, share in QUANTILES.items():
            meter.create_observable_gauge(
                f"{name}.{quantile}",
                [functools.partial(observe, Recently(), pick, share)],
                unit="s",
                description=f"{text} {quantile} since the last reading.",
            )

    gauge, counter = meter.create_observable_gauge, meter.create_observable_counter
    gauge("asyncio.eventloop.utilization", [lambda _: labelled("thread", since.threads())], unit="1")
    gauge("asyncio.eventloop.ready.length", [lambda _: [Observation(process().ready)]])
    counter("asyncio.eventloop.time", [lambda _: labelled("state", process().time)], unit="s")
    counter("asyncio.eventloop.iterations", [lambda _: [Observation(process().turns)]])
    counter("asyncio.eventloop.slices", [lambda _: [Observation(process().steps)]])
    counter("asyncio.eventloop.blocks", [lambda _: by_cause("count")])
    counter("asyncio.eventloop.blocked_time", [lambda _: by_cause("blocked_time")], unit="s")
    counter("asyncio.eventloop.starved_time", [lambda _: by_cause("starved_time")], unit="s")
    quantiles("asyncio.eventloop.ready_wait", "From ready to run:", lambda metrics: metrics.wait)
    quantiles("asyncio.eventloop.slice.duration", "How long steps held the processor:", lambda metrics: metrics.step)
