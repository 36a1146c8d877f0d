"""Processes: how their ends are noticed, from any thread, and that nothing else of the program is touched by it."""

import asyncio
import os
import signal
import subprocess
import sys
import threading

import pytest

import boucle

pytestmark = pytest.mark.filterwarnings("ignore::DeprecationWarning")


@pytest.fixture
def loop(own_loop):
    """A loop of ours: asyncio's, before 3.12, starts processes from the main thread's watcher only."""
    return own_loop


async def run(*arguments, **options):
    """Run this Python. Returns the finished process and its output."""
    process = await asyncio.create_subprocess_exec(
        sys.executable, "-S", "-c", *arguments, stdout=subprocess.PIPE, **options
    )
    output, _ = await process.communicate()
    return process, output


def descriptors():
    return set(os.listdir("/proc/self/fd"))


@pytest.mark.parametrize("code", [0, 3, 255])
def test_the_return_code_is_the_childs(loop, code):
    process, _ = loop.run_until_complete(run(f"raise SystemExit({code})"))
    assert process.returncode == code


def test_a_killed_child_has_the_negative_number_of_the_signal(loop):
    async def main():
        process = await asyncio.create_subprocess_exec(sys.executable, "-c", "input()", stdin=subprocess.PIPE)
        process.kill()
        return await process.wait()

    assert loop.run_until_complete(main()) == -signal.SIGKILL


def test_nothing_is_left_of_a_child(loop):
    loop.run_until_complete(run("pass"))
    before, threads = descriptors(), threading.active_count()
    loop.run_until_complete(run("pass"))
    assert descriptors() == before
    assert threading.active_count() == threads


def test_children_are_waited_for_without_threads(loop):
    async def main():
        processes = [
            await asyncio.create_subprocess_exec(sys.executable, "-S", "-c", "input()", stdin=subprocess.PIPE)
            for _ in range(10)
        ]
        threads = threading.active_count()
        await asyncio.gather(*(process.communicate(b"\n") for process in processes))
        return threads

    threads = threading.active_count()
    assert loop.run_until_complete(main()) == threads


def test_stdin_is_a_pipe_that_the_child_can_open_anew(loop):
    async def main():
        code = "import os, stat; print(open('/dev/stdin').read(), stat.S_ISFIFO(os.fstat(0).st_mode))"
        process = await asyncio.create_subprocess_exec(
            sys.executable, "-c", code, stdin=subprocess.PIPE, stdout=subprocess.PIPE
        )
        output, _ = await process.communicate(b"again")
        return output

    assert loop.run_until_complete(main()) == b"again True\n"


def test_a_child_that_closes_its_stdin_is_noticed(loop):
    lost = []

    class Protocol(asyncio.SubprocessProtocol):
        def __init__(self):
            self.done = loop.create_future()

        def pipe_connection_lost(self, fd, error):
            lost.append(fd)

        def connection_lost(self, error):
            self.done.set_result(None)

    async def main():
        code = "import os; os.close(0); os.read(os.pipe()[0], 1)"
        transport, protocol = await loop.subprocess_exec(Protocol, sys.executable, "-S", "-c", code)
        while 0 not in lost:
            await asyncio.sleep(0)
        transport.kill()
        await protocol.done
        transport.close()

    loop.run_until_complete(main())
    assert lost[0] == 0


def test_a_child_reaped_by_somebody_else_is_reported_as_255(loop, caplog):
    async def main():
        process = await asyncio.create_subprocess_exec(sys.executable, "-S", "-c", "raise SystemExit(3)")
        # Before the loop can look.
        os.waitpid(process.pid, 0)
        return await process.wait()

    assert loop.run_until_complete(main()) == 255
    assert "exit status already read" in caplog.text


def test_a_child_reaped_by_popen_keeps_its_code(loop, caplog):
    async def main():
        process = await asyncio.create_subprocess_exec(sys.executable, "-S", "-c", "raise SystemExit(3)")
        popen = process._transport.get_extra_info("subprocess")
        assert popen.wait() == 3
        return await process.wait()

    assert loop.run_until_complete(main()) == 3
    assert not caplog.records


def test_the_handler_of_sigchld_is_the_programs(loop):
    came = []
    former = signal.signal(signal.SIGCHLD, lambda number, frame: came.append(number))
    try:
        loop.run_until_complete(run("pass"))
        assert came == [signal.SIGCHLD]
    finally:
        signal.signal(signal.SIGCHLD, former)


def test_loops_of_several_threads_start_processes_at_once():
    codes = {}

    def work(number):
        loop = boucle.new_event_loop()
        try:
            process, output = loop.run_until_complete(run(f"print({number}); raise SystemExit({number})"))
            codes[number] = process.returncode, int(output)
        finally:
            loop.close()

    threads = [threading.Thread(target=work, args=(number,)) for number in range(1, 6)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert codes == {number: (number, number) for number in range(1, 6)}


@pytest.mark.skipif(sys.version_info >= (3, 14), reason="there are no watchers any more")
def test_no_child_watcher_is_asked(loop, monkeypatch):
    def refuse(*args):
        raise AssertionError("a child watcher was asked for")

    monkeypatch.setattr(asyncio.events, "get_child_watcher", refuse)
    process, _ = loop.run_until_complete(run("pass"))
    assert process.returncode == 0


@pytest.mark.parametrize("missing", ["function", "call", "descriptor"])
def test_where_there_are_no_descriptors_of_processes_a_thread_waits(loop, monkeypatch, missing):
    def refuse(pid):
        raise OSError({"call": 38, "descriptor": 24}[missing], "refused")

    if missing == "function":
        monkeypatch.delattr(os, "pidfd_open")
    else:
        monkeypatch.setattr(os, "pidfd_open", refuse)
    process, _ = loop.run_until_complete(run("raise SystemExit(4)"))
    assert process.returncode == 4


def test_a_loop_closed_before_its_child_ends_keeps_no_descriptor():
    before = descriptors()
    loop = boucle.new_event_loop()

    async def main():
        transport, _ = await loop.subprocess_exec(
            asyncio.SubprocessProtocol, sys.executable, "-c", "input()", stdin=subprocess.PIPE, stdout=None, stderr=None
        )
        popen = transport.get_extra_info("subprocess")
        transport.close()
        return popen

    popen = loop.run_until_complete(main())
    loop.run_until_complete(asyncio.sleep(0))
    loop.close()
    popen.wait()
    popen.stdin.close()
    assert descriptors() == before


def test_a_program_that_does_not_exist_is_an_error(loop):
    with pytest.raises(FileNotFoundError):
        loop.run_until_complete(asyncio.wait_for(asyncio.create_subprocess_exec("/nonexistent"), 10))


def test_the_arguments_of_popen_are_all_there(loop, tmp_path):
    code = "import os; print(os.getcwd(), os.environ.get('X'), os.getpid() == os.getsid(0))"
    process, output = loop.run_until_complete(run(code, cwd=tmp_path, env={"X": "1"}, start_new_session=True))
    assert output.decode().split() == [str(tmp_path), "1", "True"]
    assert process.returncode == 0
