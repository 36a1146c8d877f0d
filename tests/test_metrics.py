"""What loops did, in numbers: loop.metrics(), and what Prometheus and OpenTelemetry read."""

import asyncio
import threading
import time
import urllib.request

import pytest

import boucle
import boucle.metrics
from conftest import run_python, run_turns

LONG = 0.12
"""Seconds: a step that is a starvation on any machine."""


def step_count(loop):
    return loop.metrics().steps


def test_a_loop_that_has_not_run_did_nothing(own_loop):
    metrics = own_loop.metrics()
    assert (metrics.turns, metrics.steps, metrics.utilisation, metrics.ready) == (0, 0, 0, 0)
    assert metrics.starvations == {}
    assert metrics.wait.quantile(0.99) == 0


def test_turns_and_steps_are_those_that_the_loop_counts(own_loop):
    run_turns(own_loop, 5)
    metrics = own_loop.metrics()
    turns, steps, _, _ = own_loop._counts()
    assert (metrics.turns, metrics.steps) == (turns, steps)
    assert metrics.wait.count == steps


def test_each_loop_has_its_own_numbers():
    first, second = boucle.new_event_loop(), boucle.new_event_loop()
    try:
        for _ in range(3):
            run_turns(first, 2)
            run_turns(second, 1)
        for loop in (first, second):
            turns, steps, _, _ = loop._counts()
            assert (loop.metrics().turns, loop.metrics().steps) == (turns, steps)
        assert step_count(first) > step_count(second)
    finally:
        first.close()
        second.close()


def test_a_loop_keeps_its_numbers_when_it_moves_to_another_thread(own_loop):
    run_turns(own_loop, 2)
    thread = threading.Thread(target=run_turns, args=(own_loop, 3))
    thread.start()
    thread.join()
    run_turns(own_loop, 1)
    assert step_count(own_loop) == own_loop._counts()[1]


def test_time_goes_where_it_went(own_loop):
    began = time.perf_counter()
    own_loop.call_soon(time.sleep, LONG)
    own_loop.run_until_complete(asyncio.sleep(2 * LONG))
    took = time.perf_counter() - began
    spent = own_loop.metrics().time
    assert spent["running"] >= LONG
    # The sleep began before the step blocked: what is left of it is idle.
    assert spent["idle"] > 0
    assert sum(spent.values()) <= took
    assert 0 < own_loop.metrics().utilisation < 1


def test_histograms_count_and_sum(own_loop):
    own_loop.call_soon(time.sleep, LONG)
    run_turns(own_loop, 3)
    step = own_loop.metrics().step
    assert step.count == own_loop._counts()[1]
    assert step.sum >= LONG
    counts = [count for _, count in step.buckets]
    assert counts == sorted(counts)
    assert step.buckets[-1] == (float("inf"), step.count)
    assert dict(step.buckets)[0.1] == step.count - 1
    assert LONG <= step.quantile(1) <= step.sum * 1.07
    assert step.quantile(0.5) < LONG


def test_a_starvation_and_what_its_victims_waited(own_loop):
    # The two others are ready when it begins.
    own_loop.call_soon(time.sleep, LONG)
    own_loop.call_soon(int)
    run_turns(own_loop, 1)
    metrics = own_loop.metrics()
    (starved,) = metrics.starvations.values()
    assert starved.count == 1
    assert starved.blocked_time >= LONG
    assert starved.starved_time == pytest.approx(2 * starved.blocked_time, rel=1e-6)
    assert metrics.threshold == 0.05


def test_a_step_that_goes_on_counts_as_far_as_it_has_come(own_loop):
    """And whoever asks repeatedly never sees less."""
    go_on = threading.Event()
    began = threading.Event()

    def block():
        began.set()
        go_on.wait(60)

    thread = threading.Thread(target=lambda: (own_loop.call_soon(block), run_turns(own_loop, 1)))
    thread.start()
    began.wait(60)
    readings = [own_loop.metrics().time["running"]]
    while readings[-1] < LONG:
        readings.append(own_loop.metrics().time["running"])
    assert own_loop.metrics().steps == 0
    assert own_loop.metrics().ready > 0
    go_on.set()
    thread.join()
    readings.append(own_loop.metrics().time["running"])
    assert readings == sorted(readings)
    assert own_loop.metrics().step.sum >= LONG


def test_sums_of_the_process_never_go_down():
    """While loops run in threads, and end with them."""

    def work():
        for _ in range(20):
            boucle.run(asyncio.sleep(0))

    def sums(metrics):
        return [metrics.turns, metrics.steps, metrics.wait.sum, metrics.step.sum, *metrics.time.values()]

    before = boucle.metrics.process()
    readings = [sums(before)]
    workers = [threading.Thread(target=work) for _ in range(3)]
    for worker in workers:
        worker.start()
    while any(worker.is_alive() for worker in workers):
        readings.append(sums(boucle.metrics.process()))
    readings.append(sums(boucle.metrics.process()))
    for column in zip(*readings, strict=True):
        assert list(column) == sorted(column)
    assert readings[-1][1] - readings[0][1] >= 60


def test_without_the_recorder_there_are_no_metrics():
    program = "import boucle, boucle.metrics\nfor ask in (boucle.new_event_loop().metrics, boucle.metrics.process):\n"
    program += " try: ask()\n except ValueError as error: print(error)"
    result = run_python("-W", "ignore", "-c", program, BOUCLE_RECORD="0")
    assert result.stdout.count("BOUCLE_RECORD=0 was set") == 2, result.stderr


@pytest.fixture
def registry():
    """A registry of prometheus_client with our collector."""
    prometheus_client = pytest.importorskip("prometheus_client")
    registry = prometheus_client.CollectorRegistry()
    boucle.metrics.prometheus(registry)
    return registry


def test_prometheus_reads_what_the_process_did(registry, own_loop):
    own_loop.call_soon(time.sleep, LONG)
    own_loop.call_soon(int)
    run_turns(own_loop, 2)
    process = boucle.metrics.process()
    value = registry.get_sample_value
    assert 0 < value("asyncio_eventloop_utilization", {"thread": "MainThread"}) <= 1, "that since the last scrape"
    assert value("asyncio_eventloop_iterations_total") == process.turns
    assert value("asyncio_eventloop_slice_duration_seconds_count") == process.steps
    assert value("asyncio_eventloop_slice_duration_seconds_sum") == process.step.sum
    assert value("asyncio_eventloop_ready_wait_seconds_bucket", {"le": "+Inf"}) == process.steps
    assert value("asyncio_eventloop_ready_wait_seconds_bucket", {"le": "0.05"}) <= process.steps
    assert value("asyncio_eventloop_time_seconds_total", {"state": "running"}) >= LONG
    assert value("asyncio_eventloop_blocks_total", {"cause": "unknown"}) >= 1
    assert value("asyncio_eventloop_blocked_time_seconds_total", {"cause": "unknown"}) >= LONG
    assert value("asyncio_eventloop_starved_time_seconds_total", {"cause": "unknown"}) >= LONG


def test_utilisation_is_that_since_the_last_scrape(registry, own_loop):
    def utilisation():
        return registry.get_sample_value("asyncio_eventloop_utilization", {"thread": "MainThread"})

    utilisation()
    own_loop.run_until_complete(asyncio.sleep(LONG))
    idle = utilisation()
    own_loop.call_soon(time.sleep, LONG)
    run_turns(own_loop, 1)
    assert idle < utilisation() <= 1
    assert utilisation() is None, "no loop has run since"


def test_a_scrape_is_answered_while_the_loop_is_blocked(registry, own_loop):
    import prometheus_client

    server, thread = prometheus_client.start_http_server(0, addr="127.0.0.1", registry=registry)
    began, scraped = threading.Event(), threading.Event()
    answers = []

    def scrape():
        began.wait(60)
        with urllib.request.urlopen(f"http://127.0.0.1:{server.server_port}/metrics", timeout=60) as response:
            answers.append(response.read().decode())
        scraped.set()

    def block():
        began.set()
        while not scraped.is_set():
            time.sleep(0.01)

    scraper = threading.Thread(target=scrape)
    scraper.start()
    try:
        # If no answer came while this step runs, the test would not end.
        own_loop.call_soon(block)
        run_turns(own_loop, 1)
    finally:
        scraper.join(60)
        server.shutdown()
        server.server_close()
        thread.join(60)
    assert 'asyncio_eventloop_time_seconds_total{state="running"}' in answers[0]


def test_opentelemetry_reads_what_the_process_did(own_loop):
    pytest.importorskip("opentelemetry.sdk.metrics")
    from opentelemetry.sdk.metrics import MeterProvider
    from opentelemetry.sdk.metrics.export import InMemoryMetricReader

    reader = InMemoryMetricReader()
    provider = MeterProvider(metric_readers=[reader])
    boucle.metrics.opentelemetry(provider)

    def read():
        (of_resource,) = reader.get_metrics_data().resource_metrics
        (scope,) = of_resource.scope_metrics
        return {
            metric.name: {tuple(point.attributes.values()): point.value for point in metric.data.data_points}
            for metric in scope.metrics
        }

    read()
    own_loop.call_soon(time.sleep, LONG)
    own_loop.call_soon(int)
    run_turns(own_loop, 2)
    metrics, process = read(), boucle.metrics.process()
    provider.shutdown()
    assert metrics["asyncio.eventloop.iterations"][()] == process.turns
    assert metrics["asyncio.eventloop.slices"][()] == process.steps
    assert metrics["asyncio.eventloop.time"]["running",] == process.time["running"]
    assert metrics["asyncio.eventloop.blocks"]["unknown",] == process.starvations["unknown"].count
    assert 0 < metrics["asyncio.eventloop.utilization"]["MainThread",] <= 1
    # One of the three steps since the last reading took long, and made the others wait.
    assert metrics["asyncio.eventloop.slice.duration.p99"][()] >= LONG
    assert metrics["asyncio.eventloop.slice.duration.p50"][()] < LONG
    assert metrics["asyncio.eventloop.ready_wait.p99"][()] >= LONG
