"""Looking into another process: `boucle dump`, and the memory that it reads."""

import asyncio
import contextlib
import os
import signal
import stat
import subprocess
import sys
import time
from pathlib import Path

import pytest

import boucle
import boucle._recording
from conftest import ROOT, run_boucle, run_python

PROGRAM = """
import asyncio, itertools, os, sys, threading, time
import boucle

async def tick():
    while True:
        await asyncio.sleep(0.01)

async def hold(how):
    await asyncio.sleep(0.2)
    print(os.getpid(), flush=True)
    if how == "sleep":
        time.sleep(100)
    elif how == "C code":
        sum(itertools.repeat(1, 10**12))
    await asyncio.sleep(100)

async def main():
    ticking = [asyncio.create_task(tick(), name=f"ticker {number}") for number in range(3)]
    await asyncio.create_task(hold(sys.argv[1]), name="the holder")

boucle.run(main())
"""


def environment(**changes):
    clean = {name: value for name, value in os.environ.items() if not name.startswith("BOUCLE_")}
    return clean | changes


@contextlib.contextmanager
def running(program, *arguments, **changes):
    """A program, from the moment when it has printed its first line on. Yields the process's number."""
    command = [sys.executable, "-c", program, *arguments]
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True, env=environment(**changes), cwd=ROOT) as process:
        try:
            assert process.stdout.readline()
            yield process.pid
        finally:
            process.kill()


def descriptors(pid):
    """The mappings of a process, as paths of descriptors."""
    folder = f"/proc/{pid}/fd"
    found = []
    for name in os.listdir(folder):
        with contextlib.suppress(FileNotFoundError):
            if os.readlink(f"{folder}/{name}") == "/memfd:boucle (deleted)":
                found.append(f"{folder}/{name}")
    return found


def wait_until(condition, timeout=60):
    end = time.monotonic() + timeout
    while not condition():
        assert time.monotonic() < end, "it did not come to pass"
        time.sleep(0.01)


def has_awaited(pid):
    try:
        return any(step.awaited for step in boucle._recording.snapshot(pid, last=100).steps)
    except OSError:
        return False


def line(text):
    (number,) = [number for number, content in enumerate(PROGRAM.splitlines(), 1) if text in content]
    return number


class TestDump:
    def test_a_program_that_runs_shows_its_last_seconds(self, tmp_path):
        with running(PROGRAM, "nothing") as pid:
            time.sleep(0.5)
            result = run_boucle("dump", pid, "-o", tmp_path / "run.boucle", "--last", "400ms")
        assert result.returncode == 0, result.stderr
        assert result.stdout == ""
        chronology = boucle.load(tmp_path / "run.boucle")
        assert chronology.duration >= 0.39
        assert {step.task for step in chronology.steps} >= {"ticker 0", "ticker 1", "ticker 2"}
        (line_of_sleep,) = {step.awaited.line for step in chronology.steps if step.task == "ticker 1"}
        assert line_of_sleep == line("asyncio.sleep(0.01)")
        assert f"({pid})" in result.stderr

    @pytest.mark.parametrize("how", ["sleep", "C code"])
    def test_a_step_that_does_not_return_is_shown_as_one_that_ends_now(self, how):
        with running(PROGRAM, how) as pid:
            time.sleep(0.5)
            chronology = boucle._recording.snapshot(pid, last=0.1)
        step = chronology.steps[-1]
        assert (step.task, step.function, step.returned, step.awaited) == ("the holder", "hold", False, None)
        assert step.resumed.line == line("asyncio.sleep(0.2)")
        assert step.duration >= 0.4
        assert step.start + step.duration == pytest.approx(chronology.duration, abs=0.001)
        # What was before it is there too.
        assert {step.task for step in chronology.steps} >= {"ticker 0", "ticker 1", "ticker 2"}
        (starvation,) = chronology.starvations
        assert (starvation.task, starvation.coroutine) == ("the holder", "hold")

    def test_a_stopped_process_shows_what_it_ran_before(self):
        with running(PROGRAM, "nothing") as pid:
            time.sleep(0.3)
            os.kill(pid, signal.SIGSTOP)
            wait_until(lambda: Path(f"/proc/{pid}/stat").read_text().rsplit(") ")[-1][0] == "T")
            time.sleep(0.5)
            chronology = boucle._recording.snapshot(pid, last=0.2)
        assert {step.task for step in chronology.steps} >= {"ticker 0", "ticker 1", "ticker 2"}

    def test_every_thread_is_seen_and_named(self):
        program = """
import asyncio, threading, boucle
barrier = threading.Barrier(4)

async def work():
    barrier.wait()
    if threading.current_thread().name == "worker 0":
        print("ready", flush=True)
    while True:
        await asyncio.sleep(0.01)

def run():
    boucle.run(work())

for number in range(4):
    threading.Thread(target=run, name=f"worker {number}", daemon=True).start()
threading.Event().wait()
"""
        with running(program) as pid:
            time.sleep(0.3)
            chronology = boucle._recording.snapshot(pid)
        assert {step.thread for step in chronology.steps} == {f"worker {number}" for number in range(4)}

    def test_this_process_can_look_at_itself(self, own_loop):
        async def look():
            await asyncio.sleep(0)
            return boucle._recording.snapshot(os.getpid(), last=1)

        step = own_loop.run_until_complete(look()).steps[-1]
        assert (step.function.rpartition(".")[2], step.returned) == ("look", False)


class TestBlindness:
    @staticmethod
    def complaint(pid, tmp_path):
        result = run_boucle("dump", pid, "-o", tmp_path / "run.svg")
        assert (result.returncode, result.stdout) == (1, "")
        assert not (tmp_path / "run.svg").exists()
        return result.stderr

    def test_no_such_process(self, tmp_path):
        child = subprocess.Popen([sys.executable, "-c", ""])
        child.wait()
        assert self.complaint(child.pid, tmp_path) == f"boucle: error: there is no process {child.pid}\n"
        with pytest.raises(ProcessLookupError):
            boucle._recording.snapshot(child.pid)

    def test_a_process_without_boucle(self, tmp_path):
        with running("print(1, flush=True); import time; time.sleep(100)") as pid:
            assert f"process {pid} shows no boucle" in self.complaint(pid, tmp_path)

    @pytest.mark.parametrize(
        "change", [{"BOUCLE_RECORD": "0"}, {"PROLOGUE": "import os, boucle; boucle.new_event_loop().close()"}]
    )
    def test_nothing_is_shared_before_a_loop_runs_and_with_the_recorder_off(self, change, tmp_path):
        prologue = change.pop("PROLOGUE", PROGRAM.replace("time.sleep(100)", "pass"))
        if "BOUCLE_RECORD" not in change:
            prologue += "\nprint(1, flush=True)\nimport time; time.sleep(100)"
        with running(prologue, "nothing", **change) as pid:
            assert descriptors(pid) == []
            assert "BOUCLE_RECORD=0" in self.complaint(pid, tmp_path)

    @pytest.mark.skipif(os.getuid() != 0, reason="only root can become another user")
    def test_another_user_sees_nothing(self):
        look = """
import os, sys
os.setgid(65534)
os.setuid(65534)
from boucle._recording import snapshot
try:
    snapshot(int(sys.argv[1]))
except PermissionError as error:
    print(error)
try:
    print(open(sys.argv[2], "rb").read(1))
except PermissionError:
    print("closed")
"""
        with running(PROGRAM, "nothing") as pid:
            (path,) = descriptors(pid)
            result = run_python("-c", look.replace("import os, sys", "import os, sys, boucle._recording", 1), pid, path)
        expected = f"process {pid} belongs to another user: only that user and root may look into it\nclosed\n"
        assert (result.stdout, result.stderr) == (expected, "")

    @pytest.mark.parametrize("pid", ["0", "-1", "12x", "²", "99999999999"])
    def test_what_is_no_process_is_refused(self, pid):
        result = run_boucle("dump", "-o", "run.svg", "--", pid)
        assert result.returncode == 2
        assert "is no process" in result.stderr


class TestPrivacy:
    def test_the_file_is_the_users_alone_and_cannot_shrink(self):
        with running(PROGRAM, "nothing") as pid:
            (path,) = descriptors(pid)
            assert stat.S_IMODE(os.stat(path).st_mode) == 0o600
            with pytest.raises(PermissionError):
                os.truncate(path, 0)
            boucle._recording.snapshot(pid)

    def test_no_value_of_the_program_is_in_it(self):
        program = """
import asyncio, os, sys, boucle
secret = "".join(["pass", "word-", "5ebe2294"])

async def login(password):
    again = password * 2
    await asyncio.sleep(0.01)
    return again + password

async def main():
    loop = asyncio.get_running_loop()
    loop.call_soon(print, secret)
    loop.call_later(0.001, str.upper, secret)
    for _ in range(10):
        await login(secret)
        await asyncio.gather(login(password=secret), loop.run_in_executor(None, str.lower, secret))
    print("done", flush=True)
    await asyncio.sleep(100)

boucle.run(main())
"""
        with running(program, "an argument of the program") as pid:
            wait_until(lambda: len(boucle._recording.snapshot(pid).steps) > 50)
            (path,) = descriptors(pid)
            content = Path(path).read_bytes()
        assert b"login" in content
        assert b"5ebe2294" not in content
        assert b"an argument of the program" not in content


class TestForks:
    def test_a_child_never_writes_its_parents_memory(self):
        # The child goes on in the step that forked, names a task, runs a loop of its own, and so does its child.
        program = """
import asyncio, os, boucle
from boucle._recording import snapshot

async def work(name):
    for number in range(1000):
        await asyncio.create_task(asyncio.sleep(0), name=f"{name} {number}")

def run(name):
    boucle.run(work(name))
    names = {step.task.split()[0] for step in snapshot(os.getpid()).steps if step.task}
    print(sorted(name for name in names if not name.startswith("Task-")), flush=True)

def fork():
    child = os.fork()
    if child:
        assert os.waitpid(child, 0)[1] == 0
    return child == 0

def mappings():
    found = []
    for name in os.listdir("/proc/self/fd"):
        path = f"/proc/self/fd/{name}"
        if os.path.islink(path) and os.readlink(path) == "/memfd:boucle (deleted)":
            found.append(path)
    return found

async def main():
    await work("parent")
    (path,) = mappings()
    with open(path, "rb") as file:
        before = file.read()
        if fork():
            # Still in the parent's step, on the inherited loop.
            asyncio.current_task().set_name("child")
            return "child"
        file.seek(0)
        return "unchanged" if before == file.read() else "changed"

outcome = None
loop = boucle.new_event_loop()
try:
    outcome = loop.run_until_complete(main())
except RuntimeError as error:
    assert "inherited it by a fork" in str(error), error
    assert mappings() == []
    asyncio.events._set_running_loop(None)
    run("child")
    if fork():
        run("grandchild")
    os._exit(0)
print(outcome)
loop.close()
"""
        result = run_python("-c", program)
        # What the child's inherited loop reports of its end stands in stderr.
        assert (result.stdout, result.returncode) == ("['child']\n['grandchild']\nunchanged\n", 0)

    def test_a_child_that_runs_a_loop_is_seen_by_itself_and_knows_inherited_names(self):
        program = """
import asyncio, os, sys, time, boucle

async def work(pause):
    await asyncio.sleep(pause)

def run(pause):
    boucle.run(work(pause))

run(0)
child = os.fork()
if child == 0:
    run(0.01)
    run(100)
print(child, flush=True)
try:
    time.sleep(100)
finally:
    os.kill(child, 9)
"""
        command = [sys.executable, "-c", program]
        with subprocess.Popen(command, stdout=subprocess.PIPE, text=True, env=environment(), cwd=ROOT) as process:
            child = int(process.stdout.readline())
            try:
                wait_until(lambda: has_awaited(child))
                functions = {step.function for step in boucle._recording.snapshot(child, last=100).steps if step.task}
                parents = boucle._recording.snapshot(process.pid, last=100)
            finally:
                os.kill(child, signal.SIGKILL)
                process.kill()
        assert functions == {"work"}
        assert all(step.function != "?" for step in parents.steps)

    def test_a_child_of_a_program_that_closed_the_descriptor_writes_nothing_of_the_parents(self):
        program = """
import asyncio, os, boucle

async def work():
    await asyncio.sleep(0)

def run():
    boucle.run(work())

run()
def is_mapping(name):
    path = f"/proc/self/fd/{name}"
    return os.path.islink(path) and "boucle" in os.readlink(path)

(number,) = [int(name) for name in os.listdir("/proc/self/fd") if is_mapping(name)]
inside = os.dup(number)
victim = number  # The number is another file's now.
os.dup2(os.open("/", os.O_RDONLY | os.O_DIRECTORY), victim)
before = os.pread(inside, 1 << 27, 0)
child = os.fork()
if child == 0:
    run()
    os._exit(0)
assert os.waitpid(child, 0)[1] == 0
print(before == os.pread(inside, 1 << 27, 0), os.path.samestat(os.fstat(victim), os.stat("/")))
run()
"""
        result = run_python("-c", program)
        assert (result.stdout, result.stderr) == ("True True\n", "")


class TestMemory:
    def test_thousands_of_loops_and_threads_take_no_more_than_a_few(self):
        program = """
import asyncio, os, threading, boucle

async def work():
    await asyncio.sleep(0)

def run():
    boucle.run(work())

def size():
    for name in os.listdir("/proc/self/fd"):
        try:
            if os.readlink(f"/proc/self/fd/{name}") == "/memfd:boucle (deleted)":
                status = os.stat(f"/proc/self/fd/{name}")
                return status.st_size, status.st_blocks * 512
        except FileNotFoundError:
            pass

def many(count):
    for _ in range(count):
        run()
        thread = threading.Thread(target=run)
        thread.start()
        thread.join()

many(10)
before = size()
many(1500)
after = size()
print(after[0] - before[0], (after[1] - before[1]) // 2**20)
"""
        result = run_python("-c", program)
        assert result.stderr == ""
        length, written = map(int, result.stdout.split())
        # A joined thread may not quite have ended, and the next one then takes a ring of its own.
        assert length <= 4 * (17 << 20)
        # 3000 runs of a few steps: 32 bytes a step, 32 bytes a task, 128 bytes a thread.
        assert written <= 4

    def test_where_files_are_limited_the_recorder_works_and_viewers_say_so(self, tmp_path):
        program = f"""
import resource
resource.setrlimit(resource.RLIMIT_FSIZE, (1 << 20, 1 << 20))
{PROGRAM.replace("print(os.getpid(), flush=True)", "print(len(recording.steps), flush=True)")}
""".replace("boucle.run(main())", "with boucle.record() as recording:\n    boucle.run(main())")
        command = [sys.executable, "-c", program, "nothing"]
        with subprocess.Popen(command, stdout=subprocess.PIPE, text=True, env=environment(), cwd=ROOT) as process:
            try:
                assert int(process.stdout.readline()) > 10
                assert "shows no boucle" in TestBlindness.complaint(process.pid, tmp_path)
            finally:
                process.kill()
