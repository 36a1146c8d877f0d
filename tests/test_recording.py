"""Recordings: what they show of a run, and what is drawn of it."""

import asyncio
import functools
import json
import math
import re
import time
import types
import xml.etree.ElementTree

import pytest

import boucle
from conftest import EXAMPLES, run_boucle

pytestmark = pytest.mark.measures

PIECES = (EXAMPLES / "pieces.py").read_text().splitlines()
STARVATION = (EXAMPLES / "starvation.py").read_text().splitlines()

# How much longer than it asks for an example may sleep on a busy machine, in seconds.
LATENESS = 0.2

# What is said of its victim, up to that.
WAITED = r"run2 was ready and waited 1\.[012] s for run1"


def line(source, text):
    """The number of the only line with this text in it."""
    (number,) = [number for number, content in enumerate(source, 1) if text in content]
    return number


@pytest.fixture(scope="module")
def recorded(tmp_path_factory):
    """Records an example, once. Returns the recording's path."""
    folder = tmp_path_factory.mktemp("recordings")

    @functools.cache
    def recorded(name):
        path = folder / f"{name}.boucle"
        result = run_boucle("record", "-o", path, EXAMPLES / f"{name}.py")
        assert result.returncode == 0, result.stderr
        return path

    return recorded


def steps_of(chronology, task):
    return [step for step in chronology.steps if step.task == task]


class TestPieces:
    @pytest.fixture
    def chronology(self, recorded):
        return boucle.load(recorded("pieces"))

    @pytest.mark.parametrize("task", ["run1", "run2"])
    def test_each_coroutine_has_three_blocks(self, chronology, task):
        steps = steps_of(chronology, task)
        define, half, one = (
            line(PIECES, text) for text in ("async def pieces", "asyncio.sleep(0.5)", "asyncio.sleep(1)")
        )
        assert [(step.resumed.line, step.awaited and step.awaited.line) for step in steps] == [
            (define, half),
            (half, one),
            (one, None),
        ]
        assert [step.returned for step in steps] == [False, False, True]
        assert all(step.duration < 0.05 for step in steps)
        assert {step.resumed.file for step in steps} == {str(EXAMPLES / "pieces.py")}

    def test_they_alternate(self, chronology):
        order = [step.task for step in chronology.steps if step.task in ("run1", "run2")]
        assert order == ["run1", "run2"] * 3

    def test_the_times_are_those_of_the_sleeps(self, chronology):
        first, second, third = steps_of(chronology, "run1")
        assert second.start - (first.start + first.duration) == pytest.approx(0.5, abs=LATENESS)
        assert third.start - (second.start + second.duration) == pytest.approx(1.0, abs=LATENESS)

    def test_every_step_is_on_one_thread(self, chronology):
        assert {step.thread for step in chronology.steps} == {"MainThread"}

    def test_nobody_starves(self, chronology):
        assert chronology.starvations == []
        assert "no starvation" in chronology.text(width=100)

    def test_there_is_a_lane_for_the_processor_and_one_a_task(self, chronology):
        text = chronology.text(width=100)
        lanes = [row.split()[0] for row in text.splitlines() if row.split()[1:2] and set(row.split()[1]) <= set("█─░")]
        assert lanes == ["processor", "Task-1", "run1", "run2"]
        assert {step.task for step in chronology.steps} == {None, "Task-1", "run1", "run2"}
        first = line(PIECES, "async def pieces")
        half = line(PIECES, "asyncio.sleep(0.5)")
        assert f"{first}→{half}" in text


class TestStarvation:
    @pytest.fixture
    def chronology(self, recorded):
        return boucle.load(recorded("starvation"))

    @pytest.mark.parametrize("task", ["run1", "run2"])
    def test_each_coroutine_has_two_blocks(self, chronology, task):
        short, long = steps_of(chronology, task)
        assert short.duration < 0.05
        assert long.duration == pytest.approx(1.0, abs=LATENESS)
        assert long.resumed.line == line(STARVATION, "asyncio.sleep(0.5)")
        assert long.returned

    def test_the_culprit_and_its_victim_are_named(self, chronology):
        first, second = chronology.starvations
        assert (first.task, first.coroutine) == ("run1", "pieces")
        assert first.duration == pytest.approx(1.0, abs=LATENESS)
        # On a busy machine its done-callback may wait for the rest of the step that has made it ready.
        assert [victim.task for victim in first.victims if victim.waited > LATENESS] == ["run2"]
        assert first.victims[0].waited == pytest.approx(1.0, abs=LATENESS)
        assert second.task == "run2"

    def test_the_place_is_the_line_that_blocked(self, chronology):
        for starvation in chronology.starvations:
            assert starvation.cause == "sleep"
            assert starvation.line == line(STARVATION, "    time.sleep(1)")
            # A look may have met the line after it.
            place = starvation.places[0]
            assert (place.file, place.line, place.seen) == (starvation.file, starvation.line, True)
            assert place.held == pytest.approx(starvation.duration, abs=LATENESS)

    def test_the_text_says_it(self, chronology):
        text = chronology.text(width=100)
        assert re.search(WAITED, text)
        assert "▓" in text

    def test_the_svg_says_it(self, chronology):
        svg = chronology.svg()
        root = xml.etree.ElementTree.fromstring(svg)
        assert root.tag == "{http://www.w3.org/2000/svg}svg"
        assert re.search(WAITED, "".join(root.itertext()))
        assert "<script" not in svg

    def test_the_json_says_it(self, recorded):
        result = run_boucle("show", "--json", recorded("starvation"))
        analysis = json.loads(result.stdout)
        first = analysis["starvations"][0]
        assert first["task"] == "run1"
        assert first["victims"][0]["task"] == "run2"
        assert set(analysis) >= {"starvations", "tasks", "steps", "utilisation", "lost"}
        assert analysis["utilisation"] == pytest.approx(2 / 2.5, abs=0.1)


def record_run(coroutine):
    with boucle.record() as chronology:
        boucle.run(coroutine)
    return chronology


def test_the_line_is_the_innermost_of_the_users_own():
    async def inner():
        await asyncio.sleep(0.001)

    async def outer():
        await inner()

    chronology = record_run(outer())
    first = steps_of_function(chronology, outer)[0]
    assert first.resumed.line == outer.__code__.co_firstlineno
    assert first.awaited.line == inner.__code__.co_firstlineno + 1


def steps_of_function(chronology, function):
    return [step for step in chronology.steps if step.function == function.__qualname__]


def test_a_wait_begins_when_the_work_was_ready():
    def block():
        time.sleep(0.03)

    async def main():
        loop = asyncio.get_running_loop()
        loop.call_soon(block)
        loop.call_soon(waiting)
        await asyncio.sleep(0)
        await asyncio.sleep(0)

    def waiting():
        pass

    chronology = record_run(main())
    (step,) = steps_of_function(chronology, waiting)
    assert step.task is None
    (blocking,) = steps_of_function(chronology, block)
    assert blocking.duration >= 0.029
    # It was queued after the step that blocks, by the first.
    first = steps_of_function(chronology, main)[0]
    assert blocking.duration <= step.waited <= step.start - first.start


def test_a_late_timer_waits_from_its_deadline():
    async def main():
        loop = asyncio.get_running_loop()
        loop.call_later(0.01, timer)
        time.sleep(0.05)
        await asyncio.sleep(0)

    def timer():
        pass

    chronology = record_run(main())
    (step,) = steps_of_function(chronology, timer)
    # The deadline was 10 ms after the first step began, or later; that step ended 40 ms after it, or later. A wait is
    # never taken for longer than it was; the ten microseconds are what a scale may be wrong by.
    first = steps_of_function(chronology, main)[0]
    assert 0.039 <= step.waited <= step.start - first.start - 0.00999


def test_callbacks_of_every_kind_have_a_name():
    class Callable:
        def __call__(self):
            pass

        def method(self):
            pass

    async def main():
        loop = asyncio.get_running_loop()
        for callback in (Callable(), Callable().method, functools.partial(Callable().method), list, math.floor):
            loop.call_soon(callback, *([1.5] if callback is math.floor else []))
        await asyncio.sleep(0)
        await asyncio.sleep(0)

    chronology = record_run(main())
    names = [step.function for step in chronology.steps if step.task is None]
    method = Callable.method.__qualname__
    assert names[:5] == [Callable.__qualname__, method, method, "list", "floor"]


def test_tasks_of_pure_python_are_tasks():
    async def main():
        await asyncio.sleep(0)

    loop = boucle.new_event_loop()
    loop.set_task_factory(lambda loop, coroutine, **options: asyncio.tasks._PyTask(coroutine, loop=loop, **options))
    with boucle.record() as chronology:
        loop.run_until_complete(main())
    loop.close()
    steps = steps_of_function(chronology, main)
    assert len(steps) == 2
    assert all(step.task for step in steps)


def test_coroutines_of_generators_are_recorded_without_places():
    @types.coroutine
    def generator():
        yield

    async def main():
        loop = asyncio.get_running_loop()
        await loop.create_task(wrapper(), name="wrapped")

    async def wrapper():
        await generator()

    chronology = record_run(main())
    assert [step.returned for step in steps_of(chronology, "wrapped")] == [False, True]


def test_a_task_that_ends_before_its_coroutine_began():
    async def never(argument):
        pass

    async def main():
        task = asyncio.get_running_loop().create_task(never(1), name="never")
        task.cancel()
        await asyncio.sleep(0)
        broken = asyncio.get_running_loop().create_task(never(2), name="broken")
        boucle.Future.set_result(broken, None)
        asyncio.get_running_loop().set_exception_handler(lambda loop, context: None)
        await asyncio.sleep(0)
        coroutine = broken.get_coro()
        coroutine.close()

    chronology = record_run(main())
    assert [step.returned for step in steps_of(chronology, "never")] == [True]
    assert [step.awaited for step in steps_of(chronology, "broken")] == [None]


def test_tasks_that_reuse_memory_stay_apart():
    async def child(number):
        await asyncio.sleep(0)

    async def main():
        for number in range(50):
            await asyncio.get_running_loop().create_task(child(number), name=f"child {number}")

    chronology = record_run(main())
    for number in range(50):
        assert len(steps_of(chronology, f"child {number}")) == 2


def test_recording_changes_no_lifetime():
    import gc
    import weakref

    async def main():
        task = asyncio.get_running_loop().create_task(asyncio.sleep(0))
        alive.append(weakref.ref(task))
        await task

    alive = []
    record_run(main())
    gc.collect()
    assert alive[0]() is None


def test_lost_steps_are_counted():
    program = """
import asyncio, boucle
async def main():
    for _ in range(100_000): await asyncio.sleep(0)
with boucle.record() as chronology: boucle.run(main())
text = chronology.text()
print(chronology.lost > 60_000, len(chronology.steps) < 33_000, "overwritten" in text or "lost" in text)
"""
    from conftest import run_python

    result = run_python("-c", program, BOUCLE_RECORD="1")
    assert result.stdout.split() == ["True"] * 3, (result.stdout, result.stderr)


def test_the_recorder_can_be_off():
    from conftest import run_python

    program = """
import boucle, asyncio
assert boucle.run(asyncio.sleep(0, 'ran')) == 'ran'
try: boucle.record().__enter__()
except ValueError as error: print(error)
"""
    result = run_python("-c", program, BOUCLE_RECORD="0")
    assert "BOUCLE_RECORD=0" in result.stdout, result.stderr
    result = run_python("-c", "import boucle", BOUCLE_RECORD="much")
    assert result.returncode != 0
    assert "BOUCLE_RECORD=much: expected" in result.stderr


def test_record_can_be_read_inside_of_its_block():
    async def main():
        await asyncio.sleep(0)
        return len(chronology.steps)

    with boucle.record() as chronology:
        so_far = boucle.run(main())
    assert 1 <= so_far < len(chronology.steps)
    with pytest.raises(RuntimeError, match="nothing was recorded"):
        _ = boucle.record().steps


def test_run_can_record(tmp_path):
    path = tmp_path / "run.svg"
    assert boucle.run(asyncio.sleep(0, "result"), record=path) == "result"
    assert path.read_text().startswith("<svg")

    async def fail():
        raise ZeroDivisionError

    with pytest.raises(ZeroDivisionError):
        boucle.run(fail(), record=tmp_path / "failed.boucle")
    assert boucle.load(tmp_path / "failed.boucle").steps
    coroutine = fail()
    with pytest.raises(ValueError, match=r"run\.gif"):
        boucle.run(coroutine, record="run.gif")
    coroutine.close()


def test_a_chronology_shows_itself_in_a_notebook():
    chronology = record_run(asyncio.sleep(0))
    bundle = chronology._repr_mimebundle_()
    assert bundle["image/svg+xml"].startswith("<svg")
    assert "processor" in bundle["text/plain"]


def test_saving_keeps_everything(tmp_path):
    chronology = record_run(asyncio.sleep(0.001))
    path = tmp_path / "run.boucle"
    chronology.save(path)
    loaded = boucle.load(path)
    assert loaded.steps == chronology.steps
    assert (loaded.program, loaded.duration, loaded.lost) == (chronology.program, chronology.duration, chronology.lost)


@pytest.mark.parametrize(
    ("damage", "complaint"),
    [
        (lambda data: b"", "byte 0"),
        (lambda data: b"PNG" + data, "byte 0"),
        (lambda data: data[: len(data) // 2], "byte"),
        (lambda data: data[:40] + bytes([data[40] ^ 0xFF]) + data[41:], "byte"),
        (lambda data: data + b"x", "byte"),
    ],
)
def test_a_damaged_recording_names_the_file_and_the_byte(recorded, tmp_path, damage, complaint):
    path = tmp_path / "damaged.boucle"
    path.write_bytes(damage(recorded("pieces").read_bytes()))
    with pytest.raises(ValueError, match=r"damaged\.boucle: ") as caught:
        boucle.load(path)
    assert complaint in str(caught.value)
    result = run_boucle("show", path)
    assert result.returncode == 1
    assert result.stdout == ""
    (error,) = result.stderr.splitlines()
    assert error.startswith(f"boucle: error: {path}: ")
