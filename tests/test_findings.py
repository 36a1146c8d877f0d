"""What is found in a recording: where a culprit was and why, small steps that add up, careless habits."""

import asyncio
import json
import time
import xml.etree.ElementTree

import pytest

import boucle
from conftest import ROOT, run_boucle

pytestmark = pytest.mark.measures

WATCHED = ROOT / "crates/boucle-chronology/tests/golden/watched.boucle"


class TestWatched:
    """A recording with what a watchdog saw: a handler computes on one line and sleeps for longer on the next."""

    @pytest.fixture
    def chronology(self):
        return boucle.load(WATCHED)

    def test_the_culprit_is_the_line_that_held_the_processor_for_longest(self, chronology):
        report, chat = chronology.starvations
        assert (report.task, report.file, report.line, report.cause) == (
            "GET /report",
            "/home/ada/shop.py",
            31,
            "sleep",
        )
        assert (chat.line, chat.cause, chat.places[0].detail) == (47, "socket", "10.0.0.3:5432")
        assert "asyncio.sleep" in report.advice

    def test_all_places_are_listed_with_their_stacks(self, chronology):
        slept, computed = chronology.starvations[0].places
        assert (slept.line, slept.cause, computed.line, computed.cause) == (31, "sleep", 21, "Python code")
        assert slept.held + computed.held == pytest.approx(chronology.starvations[0].duration)
        assert computed.stack == ("report (/home/ada/shop.py:30)", "total (/home/ada/shop.py:21)")

    def test_every_picture_says_it(self, chronology):
        story = "GET /report held the processor for 703 ms at shop.py:31 (sleep)"
        assert story in " ".join(chronology.text(width=100).split())
        assert story in "".join(xml.etree.ElementTree.fromstring(chronology.svg()).itertext())
        result = run_boucle("show", "--json", WATCHED)
        starvations = json.loads(result.stdout)["starvations"]
        assert [(starvation["line"], starvation["cause"]) for starvation in starvations] == [
            (31, "sleep"),
            (47, "socket"),
        ]
        assert {"file", "line", "held", "stack"} <= set(starvations[0]["places"][0])

    def test_saving_keeps_what_was_seen(self, chronology, tmp_path):
        chronology.save(tmp_path / "again.boucle")
        assert (tmp_path / "again.boucle").read_bytes() == WATCHED.read_bytes()

    def test_recordings_of_the_first_format_can_still_be_read(self):
        starvations = boucle.load(WATCHED.with_name("starvation.boucle")).starvations
        assert [starvation.task for starvation in starvations] == ["run1", "run2"]


def test_small_steps_that_add_up_are_a_congestion():
    def work():
        until = time.perf_counter() + 0.01
        while time.perf_counter() < until:
            pass

    async def main():
        loop = asyncio.get_running_loop()
        victim = loop.create_future()
        asyncio.current_task().set_name("the victim")
        for _ in range(12):
            loop.call_soon(work)
        loop.call_soon(victim.set_result, None)
        await victim

    with boucle.record(threshold=0.1) as chronology:
        boucle.run(main())
    # On a machine with too much to run one of them may be a starvation itself.
    if chronology.starvations:
        pytest.skip("a step of 10 ms took 100 ms")
    (congestion,) = chronology.congestions
    assert congestion.steps >= 12
    work_share = congestion.shares[0]
    assert work_share.task == work.__qualname__
    assert work_share.steps == 12
    assert work_share.busy >= 0.11
    (waited,) = [victim.waited for victim in congestion.victims if victim.task == "the victim"]
    assert waited >= 0.11
    assert "together" in chronology.text(width=100)


def test_a_task_that_waits_by_yielding_is_a_busy_loop():
    async def main():
        for _ in range(5000):
            await asyncio.sleep(0)

    with boucle.record() as chronology:
        boucle.run(main())
    (lint,) = [lint for lint in chronology.lints if lint.kind == "busy loop"]
    assert lint.count == pytest.approx(5000, abs=5)
    assert (lint.file, lint.line) == (__file__, main.__code__.co_firstlineno + 2)
    assert lint.sentence in " ".join(chronology.text(width=100).split())
    assert lint.advice in " ".join(chronology.text(width=100).split())


def test_a_timer_of_a_loop_that_was_left_alone_is_late(own_loop):
    with boucle.record() as chronology:
        own_loop.call_later(0.01, lambda: None)
        time.sleep(0.2)
        own_loop.run_until_complete(asyncio.sleep(0))
    (lint,) = [lint for lint in chronology.lints if lint.kind == "late timers"]
    assert lint.count == 1
    assert lint.duration >= 0.18
    assert "although no step held the processor" in lint.sentence


def test_callbacks_that_schedule_more_than_they_do_pile_up(own_loop):
    def spread(depth):
        until = time.perf_counter() + 0.0003
        while time.perf_counter() < until:
            pass
        for _ in range(2 if depth else 0):
            own_loop.call_soon(spread, depth - 1)
        if depth == 0:
            own_loop.stop()  # once this turn, which is the last, has ended

    with boucle.record(threshold=0.02) as chronology:
        own_loop.call_soon(spread, 8)
        own_loop.run_forever()
    (lint,) = [lint for lint in chronology.lints if lint.kind == "pile-up"]
    assert lint.count == 256
    assert lint.task == spread.__qualname__


def test_a_program_that_waits_for_what_it_waits_for_has_no_lints():
    async def child():
        await asyncio.sleep(0.001)

    async def main():
        await asyncio.gather(*(child() for _ in range(200)))

    with boucle.record(threshold=5) as chronology:
        boucle.run(main())
    assert chronology.lints == []
