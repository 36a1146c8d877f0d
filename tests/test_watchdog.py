"""The watchdog: who blocks the loop is named while it does, and who only got no processor is not."""

import asyncio
import contextvars
import itertools
import os
import re
import socket
import subprocess
import sys
import threading
import time
from pathlib import Path

import pytest

import boucle

pytestmark = pytest.mark.measures

THRESHOLD = 0.05

# How much later than at the threshold a report may be, of the time that the kernel did not take from either thread.
LATENESS = 0.05

HERE = Path(__file__)


def line_of(mark):
    """The number of the line that ends with a comment."""
    [number] = [number for number, line in enumerate(HERE.read_text().splitlines(), 1) if line.endswith(f"  # {mark}")]
    return number


class Reports:
    """What a watch told its hook."""

    def __init__(self, **options):
        self.incidents = []
        self.arrived = threading.Semaphore(0)
        self.watch = boucle.watch(THRESHOLD, self._note, **options)

    def _note(self, incident):
        self.incidents.append(incident)
        self.arrived.release()

    def wait(self, count):
        """Wait until so many incidents came, and return them."""
        for _ in range(count):
            assert self.arrived.acquire(timeout=60), self.incidents
        return self.incidents[:count]


@pytest.fixture
def reports():
    reports = Reports()
    yield reports
    reports.watch.stop()


async def chat(ran):
    while True:
        ran.append(time.monotonic())
        await asyncio.sleep(0.001)


def run_beside_chats(work, count=3):
    """Run a coroutine, and tasks that want to run all the time. Returns when those did."""
    ran = []

    async def main():
        chats = [asyncio.create_task(chat(ran), name=f"chat-{number}") for number in range(count)]
        await asyncio.sleep(0.02)
        await work
        await asyncio.sleep(0.05)
        for task in chats:
            task.cancel()

    boucle.run(main())
    return ran


def delays():
    """Seconds that the kernel let each thread of this process wait for a processor."""
    waited = {}
    for task in Path("/proc/self/task").iterdir():
        try:
            waited[(task / "comm").read_text().strip()] = int((task / "schedstat").read_text().split()[1]) / 1e9
        except OSError:
            continue
    return waited


def python_loop():
    end = time.thread_time() + 0.15
    count = 0
    while time.thread_time() < end:  # python: first line
        for _ in range(1000):
            count += 1
    return count  # python: last line


async def sleeps():
    time.sleep(0.3)  # sleep


async def computes():
    python_loop()


async def backtracks():
    re.match(r"(a+)+$", "a" * 22 + "b")  # regular expression


async def sums():
    sum(itertools.repeat(1, 100_000_000))  # sum


KINDS = {
    "sleep": (sleeps, "sleep", line_of("sleep"), line_of("sleep")),
    "python": (computes, "Python code", line_of("python: first line"), line_of("python: last line")),
    "regular expression": (
        *(backtracks, "C code holding the GIL"),
        *(line_of("regular expression"), line_of("regular expression")),
    ),
    "sum": (sums, "C code holding the GIL", line_of("sum"), line_of("sum")),
}


@pytest.mark.parametrize("kind", KINDS)
def test_a_block_is_told_while_it_goes_on_and_when_it_is_over(reports, kind):
    blocks, cause, first_line, last_line = KINDS[kind]
    took = []

    async def work():
        before = delays()
        took.append(time.monotonic())
        await blocks()
        took.append(time.monotonic())
        after = delays()
        took.append(sum(after[thread] - before.get(thread, 0) for thread in after))

    ran = run_beside_chats(work())
    live, over = reports.wait(2)
    began, ended, delayed = took
    print(f"{kind}: first seen after {live.duration * 1000:.1f} ms, of which delayed {delayed * 1000:.1f} ms")
    assert (live.ended, over.ended) == (False, True)
    assert live.id == over.id
    assert THRESHOLD <= live.duration < THRESHOLD + delayed + LATENESS
    assert live.duration < over.duration
    # No shorter than the block itself, no longer than the time in which nobody else ran; both clocks differ by less.
    nobody_ran = min(at for at in ran if at > ended) - max(at for at in ran if at < began)
    assert ended - began - 0.001 < over.duration < nobody_ran + 0.001
    for incident in live, over:
        assert Path(incident.file) == HERE
        assert first_line <= incident.line <= last_line
        assert incident.coroutine.endswith("run_beside_chats.<locals>.main")
        assert incident.cause == cause
    assert {victim.task for victim in over.victims} >= {"chat-0", "chat-1", "chat-2"}
    for victim in over.victims:
        assert victim.waited <= over.duration


def test_each_place_of_a_step_is_listed_with_how_long_it_held(reports):
    async def work():
        end = time.monotonic() + 0.2
        while time.monotonic() < end:  # computes first
            pass
        time.sleep(0.5)  # then sleeps

    run_beside_chats(work())
    _, over = reports.wait(2)
    assert over.line == line_of("then sleeps")
    assert over.cause == "sleep"
    held = {place.line: place.held for place in over.places}
    assert held[line_of("then sleeps")] == pytest.approx(0.5, rel=0.3)
    assert sum(held.values()) == pytest.approx(over.duration, abs=0.001)
    computing = sum(time for line, time in held.items() if line != line_of("then sleeps"))
    assert computing == pytest.approx(over.duration - 0.5, abs=0.1)


def test_the_log_a_recording_and_the_metrics_blame_a_step_for_the_same(caplog, reports):
    """For what it did longest, neither first nor last, also where it did it all on one line."""
    lock = threading.Lock()
    lock.acquire()

    def waits():
        lock.acquire(timeout=0.3)  # waits last

    def run():
        loop = boucle.new_event_loop()
        loop.call_soon(lambda: (lock.acquire(timeout=0.2), time.sleep(1), waits()))  # does three things
        loop.call_soon(loop.stop)
        loop.run_forever()
        metrics = loop.metrics()
        loop.close()
        return metrics

    with boucle.record() as chronology:
        metrics = run()
    _, over = reports.wait(2)
    [recorded] = chronology.starvations
    # Mostly it is the sleep. What a busy machine makes of the step is the same for all, too.
    assert (over.line, over.cause) == (recorded.line, recorded.cause)
    assert [(stay.line, stay.cause) for stay in over.places] == [(stay.line, stay.cause) for stay in recorded.places]
    assert [stay.held for stay in over.places] == pytest.approx([stay.held for stay in recorded.places], abs=1e-4)
    assert list(metrics.starvations) == [recorded.cause]
    text = caplog.messages[-1]
    assert re.search(rf":{recorded.line}  .*  \[{recorded.cause}\]", text)
    assert recorded.advice in text


def test_what_blocks_is_told_by_the_system_call(reports):
    one, other = socket.socketpair()
    reader, writer = os.pipe()
    server = socket.create_server(("127.0.0.1", 0))
    port = server.getsockname()[1]
    client = socket.create_connection(("127.0.0.1", port))
    accepted, _ = server.accept()
    lock = threading.Lock()
    lock.acquire()

    def later(work):
        threading.Timer(0.15, work).start()

    async def waits_for_a_peer():
        later(lambda: accepted.send(b"x"))
        client.recv(1)

    async def waits_with_a_timeout():
        client.settimeout(60)
        later(lambda: accepted.send(b"x"))
        client.recv(1)

    async def waits_for_a_socket_without_a_name():
        later(lambda: other.send(b"x"))
        one.recv(1)

    async def waits_for_a_pipe():
        later(lambda: os.write(writer, b"x"))
        os.read(reader, 1)

    async def waits_for_a_lock():
        later(lock.release)
        lock.acquire()

    async def waits_for_a_child():
        subprocess.run(["sleep", "0.15"])

    async def waits_for_the_output_of_a_child():
        subprocess.run(["sleep", "0.15"], capture_output=True)

    cases = [
        (waits_for_a_peer, "socket", f"127.0.0.1:{port}"),
        (waits_with_a_timeout, "socket", f"127.0.0.1:{port}"),
        (waits_for_a_socket_without_a_name, "socket", ""),
        (waits_for_a_pipe, "file", "a pipe"),
        (waits_for_a_lock, "lock", ""),
        (waits_for_a_child, "child process", ""),
        (waits_for_the_output_of_a_child, "child process", None),
    ]
    for work, cause, detail in cases:
        run_beside_chats(work())
        live, over = reports.wait(2)
        assert live.cause == over.cause == cause, (work, live)
        assert detail is None or live.detail == detail, (work, live)
        reports.incidents.clear()
    for end in one, other, client, accepted, server:
        end.close()
    os.close(reader)
    os.close(writer)


def test_who_waits_for_the_gil_is_not_said_to_compute(reports):
    stop = threading.Event()

    def hog():
        while not stop.is_set():
            sum(range(200_000))

    hogs = [threading.Thread(target=hog) for _ in range(3)]
    for thread in hogs:
        thread.start()

    # It has the GIL a quarter of the time, and may be looked at just then.
    async def work():
        for _ in range(6):
            end = time.thread_time() + 0.1
            while time.thread_time() < end:
                pass
            await asyncio.sleep(0)

    run_beside_chats(work())
    # Whoever comes first waits too, perhaps a chat.
    reports.wait(12)
    stop.set()
    for thread in hogs:
        thread.join()
    causes = {place.cause for incident in reports.incidents for place in incident.places}
    assert "waiting for the GIL" in causes


@pytest.fixture
def hogs():
    """Processes that take every processor."""
    command = [sys.executable, "-c", "while True: pass"]
    processes = [subprocess.Popen(command) for _ in range(2 * os.cpu_count() + 2)]
    time.sleep(0.5)
    yield
    for process in processes:
        process.kill()
        process.wait()


def test_nobody_is_blamed_for_what_the_system_took(hogs, reports):
    async def main():
        chats = [asyncio.create_task(chat([])) for _ in range(5)]
        await asyncio.sleep(3)
        for task in chats:
            task.cancel()

    boucle.run(main())
    reports.watch.stop()
    assert reports.incidents == []


@pytest.mark.parametrize("kind", ["sleep", "regular expression"])
def test_blocks_are_blamed_beside_hogs_too(hogs, reports, kind):
    blocks, cause, line, _ = KINDS[kind]

    async def work():
        for _ in range(5):
            await blocks()
            await asyncio.sleep(0.01)

    run_beside_chats(work())
    # How many of a hundred are: bench/watchdog.py. On a full machine one may never be seen with a processor.
    guilty = [incident for incident in reports.wait(6) if incident.ended]
    assert {(incident.cause, incident.line) for incident in guilty} == {(cause, line)}


def test_two_warnings_are_logged(caplog):
    with boucle.watch(threshold=THRESHOLD):
        run_beside_chats(sleeps())
    live, over = [record for record in caplog.records if record.name == "boucle"]
    assert live.levelname == over.levelname == "WARNING"
    place = rf"at tests/test_watchdog\.py:{line_of('sleep')}  time\.sleep\(0\.3\)  # sleep  \[sleep\]"
    who = r"Task-\d+ \(run_beside_chats\.<locals>\.main\)"
    assert re.fullmatch(
        rf"event loop blocked \d+ ms and counting: {who} {place}; 3 tasks are waiting, longest chat-\d \(chat\) \d+ ms",
        live.getMessage(),
    )
    chats = r"chat-\d \(chat\) \d+ ms"
    assert re.fullmatch(
        rf"event loop was blocked for \d+ ms by {who} {place}; 3 had to wait: {chats}, {chats}, {chats}; "
        r"advice: await asyncio\.sleep\(…\) instead",
        over.getMessage(),
    )


def test_the_same_place_is_logged_once_in_a_while(caplog, reports):
    async def work():
        for _ in range(4):
            time.sleep(0.1)
            await asyncio.sleep(0.01)

    run_beside_chats(work())
    assert len(reports.wait(8)) == 8
    reports.watch.stop()
    assert len([record for record in caplog.records if record.name == "boucle"]) == 2


def test_annotations_name_the_task_and_those_it_makes(reports):
    async def child():
        boucle.annotate(query=2)
        time.sleep(0.1)

    async def parent():
        boucle.annotate(user=7, role="editor")
        await asyncio.sleep(0)
        await asyncio.create_task(child())
        time.sleep(0.15)

    run_beside_chats(parent())
    annotations = [incident.annotation for incident in reports.wait(4)]
    assert annotations == ["user=7 role=editor query=2"] * 2 + ["user=7 role=editor"] * 2


def test_the_hook_runs_in_the_context_of_the_task():
    variable = contextvars.ContextVar("variable", default=None)
    seen = []

    async def work():
        variable.set("the task's")
        time.sleep(0.2)

    with boucle.watch(THRESHOLD, lambda incident: seen.append((incident.ended, variable.get()))):
        run_beside_chats(work())
    assert (False, "the task's") in seen


def test_a_hook_that_fails_is_logged(caplog):
    def fail(incident):
        raise ValueError("this hook fails")

    with boucle.watch(THRESHOLD, fail):
        run_beside_chats(sleeps())
    failures = [record for record in caplog.records if record.exc_info]
    assert [str(record.exc_info[1]) for record in failures] == ["this hook fails"] * 2


def test_a_hook_may_stop_the_watch():
    stopped = threading.Event()

    def stop(incident):
        watch.stop()
        stopped.set()

    watch = boucle.watch(THRESHOLD, stop)
    run_beside_chats(sleeps())
    assert stopped.wait(60)
    assert "stopped" in repr(watch)


def threads():
    names = []
    for task in Path("/proc/self/task").iterdir():
        try:
            names.append((task / "comm").read_text().strip())
        except OSError:
            continue
    return [name for name in names if name.startswith("boucle-")]


async def both_threads():
    """Wait until both run: a thread takes its name when it begins to."""

    async def wait():
        while sorted(threads()) != ["boucle-report", "boucle-watch"]:
            await asyncio.sleep(0.001)

    await asyncio.wait_for(wait(), 60)


def test_there_is_no_thread_without_a_watch():
    boucle.run(asyncio.sleep(0.01))
    assert threads() == []
    with boucle.watch(), boucle.watch():
        assert threads() == []

        boucle.run(both_threads())
    assert threads() == []


def test_an_idle_loop_has_an_idle_watchdog(reports):
    def switches():
        count = 0
        for task in Path("/proc/self/task").iterdir():
            if (task / "comm").read_text().startswith("boucle-"):
                count += int(re.search(r"\nvoluntary_ctxt_switches:\s+(\d+)", (task / "status").read_text())[1])
        return count

    async def main():
        # The watchdog looks once more after the step that began it.
        await asyncio.sleep(0.3)
        before = switches()
        await asyncio.sleep(1)
        return switches() - before

    # It was told that the sleep before is over, looked, and slept again; a busy machine may add a wait for a lock. One
    # that looked for as long as the loop is idle would do so twenty times.
    assert boucle.run(main()) <= 5


def test_a_step_that_begins_while_the_watchdog_sleeps_is_seen(reports):
    async def main():
        for _ in range(5):
            await asyncio.sleep(0.15)
            time.sleep(0.1)

    boucle.run(main())
    assert len(reports.wait(10)) == 10


def test_a_loop_in_another_thread_is_watched(reports):
    thread = threading.Thread(target=lambda: boucle.run(sleeps()), name="other")
    thread.start()
    thread.join()
    _, over = reports.wait(2)
    assert over.line == line_of("sleep")


@pytest.mark.filterwarnings("error")
def test_a_fork_finds_no_thread_and_both_processes_are_watched_after(reports):
    async def child():
        with boucle.watch(THRESHOLD, lambda incident: os._exit(42)):
            await asyncio.sleep(0.01)
            time.sleep(60)

    async def main():
        await both_threads()
        pid = os.fork()
        if not pid:
            asyncio._set_running_loop(None)
            boucle.run(child())
            os._exit(0)
        await both_threads()
        time.sleep(0.1)  # after the fork
        return pid

    pid = boucle.run(main())
    _, over = reports.wait(2)
    assert over.line == line_of("after the fork")
    assert os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1]) == 42


def test_a_recording_has_samples_and_logs_nothing(caplog):
    with boucle.record() as chronology:
        run_beside_chats(sleeps())
    assert threads() == []
    assert not [record for record in caplog.records if record.name == "boucle"]
    assert chronology.steps
