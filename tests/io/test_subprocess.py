"""Children: how they are started, talked to and waited for."""

import asyncio
import contextlib
import os
import signal
import subprocess
import sys
import threading

import pytest

from conftest import FACTORIES, run_python
from connected import PATIENCE

PYTHON = sys.executable


@pytest.fixture
def run(loop):
    """Run a coroutine with the loop as the policy's, where older Pythons look for it to watch children."""
    asyncio.set_event_loop(loop)
    if sys.version_info < (3, 12):
        watcher = asyncio.get_child_watcher()
        watcher.attach_loop(loop)
    yield lambda coroutine: loop.run_until_complete(asyncio.wait_for(coroutine, PATIENCE * 2))
    asyncio.set_event_loop(None)


async def python(program, *arguments, **options):
    """Start a Python program."""
    return await asyncio.create_subprocess_exec(PYTHON, "-c", program, *arguments, **options)


async def output_of(program, *arguments, **options):
    """What it prints."""
    process = await python(program, *arguments, stdout=subprocess.PIPE, **options)
    output, _ = await process.communicate()
    return output


class TestTalking:
    def test_through_three_pipes(self, run):
        async def main():
            program = "import sys; data = sys.stdin.read(); print(data.upper()); print('error', file=sys.stderr)"
            pipes = dict.fromkeys(("stdin", "stdout", "stderr"), subprocess.PIPE)
            process = await python(program, **pipes)
            assert await process.communicate(b"hello") == (b"HELLO\n", b"error\n")
            assert process.returncode == 0

        run(main())

    def test_a_lot_both_ways(self, run):
        async def main():
            process = await asyncio.create_subprocess_exec("cat", stdin=subprocess.PIPE, stdout=subprocess.PIPE)
            data = os.urandom(1 << 20)
            output, _ = await process.communicate(data)
            assert output == data

        run(main())

    def test_line_by_line(self, run):
        async def main():
            process = await asyncio.create_subprocess_exec("cat", stdin=subprocess.PIPE, stdout=subprocess.PIPE)
            for number in range(20):
                process.stdin.write(b"%d\n" % number)
                await process.stdin.drain()
                assert await process.stdout.readline() == b"%d\n" % number
            process.stdin.close()
            await process.wait()

        run(main())

    def test_a_child_that_does_not_read(self, run):
        async def main():
            process = await asyncio.create_subprocess_exec("true", stdin=subprocess.PIPE)
            await process.communicate(bytes(1 << 20))
            assert process.returncode == 0

        run(main())

    def test_the_shell(self, run):
        async def main():
            process = await asyncio.create_subprocess_shell("echo one; exit 3", stdout=subprocess.PIPE)
            output, _ = await process.communicate()
            assert (output, process.returncode) == (b"one\n", 3)

        run(main())

    def test_its_standard_files_are_real_pipes_which_can_be_opened_anew(self, run):
        async def main():
            program = "print(open('/dev/stdin').read()); print(open('/dev/stdout', 'a').write('x'), flush=True)"
            process = await python(program, stdin=subprocess.PIPE, stdout=subprocess.PIPE)
            output, _ = await process.communicate(b"hello")
            assert process.returncode == 0
            assert b"hello" in output

        run(main())


class TestArguments:
    @pytest.mark.parametrize("kind", [subprocess.DEVNULL, None])
    def test_standard_files_elsewhere(self, run, kind):
        async def main():
            process = await python("", stdin=subprocess.DEVNULL, stdout=kind, stderr=kind)
            assert process.stdin is process.stdout is process.stderr is None
            assert await process.wait() == 0

        run(main())

    def test_stderr_into_stdout(self, run):
        program = "import sys; print('out', flush=True); print('error', file=sys.stderr)"
        assert run(output_of(program, stderr=subprocess.STDOUT)) == b"out\nerror\n"

    def test_a_file(self, run, tmp_path):
        async def main():
            with open(tmp_path / "out", "wb") as file:
                process = await python("print('hello')", stdout=file)
                await process.wait()

        run(main())
        assert (tmp_path / "out").read_bytes() == b"hello\n"

    def test_folder_and_environment(self, run, tmp_path):
        program = "import os; print(os.getcwd(), os.environ.get('MINE'), os.environ.get('HOME'))"
        output = run(output_of(program, cwd=tmp_path, env={"MINE": "yes"}))
        assert output.decode().split() == [str(tmp_path), "yes", "None"]

    def test_a_session_of_its_own(self, run):
        program = "import os; print(os.getsid(0) == os.getpid())"
        assert run(output_of(program, start_new_session=True)) == b"True\n"

    @pytest.mark.skipif(sys.version_info < (3, 11), reason="new in 3.11")
    def test_a_process_group(self, run):
        assert run(output_of("import os; print(os.getpgrp() == os.getpid())", process_group=0)) == b"True\n"

    def test_a_function_before_the_program(self, run):
        assert run(output_of("import os; print(os.environ['X'])", preexec_fn=lambda: None, env={"X": "1"})) == b"1\n"

    def test_a_umask(self, run):
        assert run(output_of("import os; print(oct(os.umask(0)))", umask=0o27)) == b"0o27\n"

    def test_descriptors_are_passed_on_only_where_they_were_asked_for(self, run):
        program = """
import os, sys
def is_open(number):
    try: os.fstat(number)
    except OSError: return False
    return True
print(*(is_open(int(word)) for word in sys.argv[1:]))
"""
        first, second = os.pipe()
        os.set_inheritable(second, True)
        try:
            numbers = str(first), str(second)
            assert run(output_of(program, *numbers, pass_fds=[first])) == b"True False\n"
            assert run(output_of(program, *numbers, close_fds=False)) == b"False True\n"
        finally:
            os.close(first)
            os.close(second)

    def test_another_executable(self, run):
        async def main():
            process = await asyncio.create_subprocess_exec(
                "not this", "-c", "print('this')", executable=PYTHON, stdout=subprocess.PIPE
            )
            output, _ = await process.communicate()
            assert output == b"this\n"

        run(main())

    def test_a_program_that_is_not_there(self, run):
        with pytest.raises(FileNotFoundError, match="no-such-program"):
            run(asyncio.create_subprocess_exec("no-such-program"))

    @pytest.mark.parametrize(
        ("name", "value"), [("universal_newlines", True), ("shell", True), ("bufsize", 1), ("text", True)]
    )
    def test_what_asyncio_does_not_take(self, loop, run, name, value):
        async def main():
            await loop.subprocess_exec(asyncio.SubprocessProtocol, "true", **{name: value})

        with pytest.raises(ValueError, match=r"must be (False|None|0|1)"):
            run(main())

    def test_a_wrong_program(self, loop, run):
        with pytest.raises(TypeError, match=r"program arguments must be a bytes or text|expected str, bytes"):
            run(loop.subprocess_exec(asyncio.SubprocessProtocol, 3))
        with pytest.raises(ValueError, match=r"cmd must be a bytes or str|cmd must be a string"):
            run(loop.subprocess_shell(asyncio.SubprocessProtocol, 3))


class TestEnding:
    def test_the_exit_status(self, run):
        async def main():
            process = await python("raise SystemExit(7)")
            assert await process.wait() == 7
            assert await process.wait() == 7
            assert process.returncode == 7

        run(main())

    @pytest.mark.parametrize(
        ("method", "number"), [("kill", signal.SIGKILL), ("terminate", signal.SIGTERM), ("send_signal", signal.SIGINT)]
    )
    def test_by_a_signal(self, run, method, number):
        async def main():
            process = await asyncio.create_subprocess_exec("sleep", "60")
            getattr(process, method)(*([number] if method == "send_signal" else []))
            assert await process.wait() == -number
            with pytest.raises(ProcessLookupError):
                process.kill()

        run(main())

    def test_several_wait(self, run):
        async def main():
            process = await asyncio.create_subprocess_exec("true")
            assert await asyncio.gather(*(process.wait() for _ in range(5))) == [0] * 5

        run(main())

    def test_waiting_can_be_cancelled(self, run):
        async def main():
            process = await asyncio.create_subprocess_exec("sleep", "60")
            with pytest.raises(asyncio.TimeoutError):
                await asyncio.wait_for(process.wait(), 0.01)
            process.kill()
            assert await process.wait() == -signal.SIGKILL

        run(main())

    def test_closing_the_transport_kills(self, loop, run):
        async def main():
            transport, _ = await loop.subprocess_exec(asyncio.SubprocessProtocol, "sleep", "60")
            number = transport.get_pid()
            transport.close()
            assert await transport._wait() == -signal.SIGKILL
            with pytest.raises(ProcessLookupError):
                os.kill(number, 0)

        run(main())

    def test_the_protocol_is_told_in_order(self, loop, run):
        events = []

        class Noting(asyncio.SubprocessProtocol):
            def __init__(self):
                self.lost = loop.create_future()

            def connection_made(self, transport):
                events.append("made")

            def pipe_data_received(self, fd, data):
                events.append((fd, data))

            def pipe_connection_lost(self, fd, exc):
                events.append((fd, exc))

            def process_exited(self):
                events.append("exited")

            def connection_lost(self, exc):
                events.append("lost")
                self.lost.set_result(None)

        async def main():
            transport, protocol = await loop.subprocess_exec(
                Noting, PYTHON, "-c", "print('x')", stdin=None, stdout=subprocess.PIPE, stderr=None
            )
            await protocol.lost
            assert transport.get_returncode() == 0
            transport.close()

        run(main())
        assert events[0] == "made"
        assert events[-1] == "lost"
        data = [event for event in events if isinstance(event, tuple) and event[1] is not None]
        assert b"".join(piece for _, piece in data) == b"x\n"
        assert {number for number, _ in data} == {1}
        # When it ends and when its pipe does may come in either order, each once.
        others = [event for event in events[1:-1] if event not in data]
        assert sorted(map(str, others)) == ["(1, None)", "exited"]
        assert events.index((1, None)) > events.index(data[-1])

    def test_extra_info(self, loop, run):
        async def main():
            transport, _ = await loop.subprocess_exec(asyncio.SubprocessProtocol, "cat", stderr=None)
            process = transport.get_extra_info("subprocess")
            assert isinstance(process, subprocess.Popen)
            assert process.pid == transport.get_pid()
            assert transport.get_returncode() is None
            assert isinstance(transport, asyncio.SubprocessTransport)
            stdin = transport.get_pipe_transport(0)
            assert stdin.get_extra_info("pipe").fileno() >= 0
            assert transport.get_pipe_transport(2) is None
            assert f"pid={process.pid}" in repr(transport)
            stdin.close()
            assert await transport._wait() == 0
            transport.close()

        run(main())

    def test_a_child_that_somebody_else_waited_for(self, loop, run, caplog):
        async def main():
            process = await asyncio.create_subprocess_exec("sleep", "0.05")
            with contextlib.suppress(ChildProcessError):  # a watcher's thread may have been first
                os.waitpid(process.pid, 0)
            return await process.wait()

        # What is not known any more is 255, or what the one who waited has learned.
        assert run(main()) in (255, 0)

    def test_children_leave_no_descriptor(self, run):
        async def several(count):
            for _ in range(count):
                assert await output_of("") == b""
            await asyncio.sleep(0.01)

        run(several(2))
        before = len(os.listdir("/proc/self/fd"))
        run(several(5))
        assert len(os.listdir("/proc/self/fd")) == before


class TestManyAtOnce:
    def test_a_users_handler_of_sigchld_works(self, run):
        signalled = []
        former = signal.signal(signal.SIGCHLD, lambda number, frame: signalled.append(number))
        try:

            async def main():
                process = await asyncio.create_subprocess_exec("true")
                assert await process.wait() == 0

            run(main())
        finally:
            signal.signal(signal.SIGCHLD, former)
        assert signalled == [signal.SIGCHLD]

    @pytest.mark.parametrize("name", FACTORIES)
    def test_from_several_loops_in_several_threads(self, name):
        results = []

        def work():
            async def main():
                for _ in range(5):
                    process = await asyncio.create_subprocess_exec("cat", stdin=subprocess.PIPE, stdout=subprocess.PIPE)
                    output, _ = await process.communicate(b"x")
                    results.append((output, process.returncode))

            loop = FACTORIES[name]()
            try:
                loop.run_until_complete(asyncio.wait_for(main(), PATIENCE))
            finally:
                loop.close()

        threads = [threading.Thread(target=work) for _ in range(6)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
        assert results == [(b"x", 0)] * 30

    def test_200_children_at_once(self, run):
        async def main():
            processes = [await asyncio.create_subprocess_exec("cat", stdin=subprocess.PIPE) for _ in range(200)]
            threads = threading.active_count()
            for process in processes:
                process.stdin.close()
            assert await asyncio.gather(*(process.wait() for process in processes)) == [0] * 200
            return threads

        run(main())

    def test_children_take_no_thread_each(self):
        # asyncio before 3.12 has a thread for each child; ours has none, on any Python.
        program = """
import asyncio, os, subprocess, threading, boucle
async def main():
    processes = [await asyncio.create_subprocess_exec("cat", stdin=subprocess.PIPE) for _ in range(50)]
    print(len(os.listdir("/proc/self/task")))
    for process in processes:
        process.stdin.close()
    await asyncio.gather(*(process.wait() for process in processes))
boucle.run(main())
"""
        result = run_python("-W", "error", "-c", program)
        assert result.stdout == "1\n", result.stderr
