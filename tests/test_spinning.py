"""BOUCLE_SPIN_US: before a sleep the loop polls for a while. Seen in its system calls, not in its speed."""

import re

import pytest

from conftest import run_python
from system_calls import traced

# Longer than all that the programs here wait for.
WHOLE_WAITS = "1000000"


def waits(folder, program, **environment):
    """What a program printed, and its waits for the kernel: a letter for each, p of a poll and s of a sleep."""
    output, lines = traced(folder, "epoll_wait,epoll_pwait,epoll_pwait2", program, **environment)
    return output, "".join("p" if re.search(r"epoll_p?wait\b[^2].*\], \d+, 0\b", line) else "s" for line in lines)


SLEEPER = """if True:
    import asyncio, boucle
    loop = boucle.new_event_loop()
    loop.run_until_complete(asyncio.sleep(0.1))
    loop.close()
"""


def test_it_is_off_unless_asked_for(tmp_path):
    for environment in ({}, {"BOUCLE_SPIN_US": "0"}, {"BOUCLE_SPIN_US": "off"}, {"BOUCLE_SPIN_US": ""}):
        _, found = waits(tmp_path, SLEEPER, **environment)
        assert found == "s"


def test_polls_come_before_a_sleep(tmp_path):
    _, found = waits(tmp_path, SLEEPER, BOUCLE_SPIN_US="20000")
    assert re.fullmatch("pp+s", found)


def test_a_timer_that_is_due_earlier_fires_when_it_is(tmp_path):
    program = """if True:
        import asyncio, boucle
        loop = boucle.new_event_loop()
        began = loop.time()
        loop.run_until_complete(asyncio.sleep(0.02))
        print(loop.time() - began)
        loop.close()
    """
    output, found = waits(tmp_path, program, BOUCLE_SPIN_US=WHOLE_WAITS)
    assert re.fullmatch("pp+", found)
    assert 0.02 <= float(output) < 0.5


def test_messages_are_found_without_a_sleep_by_a_thread_that_needs_the_gil(tmp_path):
    program = """if True:
        import asyncio, boucle, socket, threading
        ours, theirs = socket.socketpair()
        ours.setblocking(False)

        def client():
            for number in range(20):
                theirs.send(b"%d" % number)
                assert theirs.recv(100) == b"%d" % number

        async def main():
            loop = asyncio.get_running_loop()
            for _ in range(20):
                await loop.sock_sendall(ours, await loop.sock_recv(ours, 100))

        loop = boucle.new_event_loop()
        thread = threading.Thread(target=client)
        thread.start()
        loop.run_until_complete(main())
        thread.join()
        loop.close()
        print("echoed")
    """
    output, found = waits(tmp_path, program, BOUCLE_SPIN_US=WHOLE_WAITS)
    assert output == "echoed\n"
    assert set(found) == {"p"}


def test_a_call_from_another_thread_ends_it(tmp_path):
    program = """if True:
        import asyncio, boucle, threading
        loop = boucle.new_event_loop()
        turn = threading.Semaphore(0)

        def call():
            for number in range(20):
                turn.acquire()
                sum(range(100_000))
                loop.call_soon_threadsafe(futures[number].set_result, number)

        async def main():
            for future in futures:
                turn.release()
                await future

        futures = [loop.create_future() for _ in range(20)]
        thread = threading.Thread(target=call)
        thread.start()
        loop.run_until_complete(main())
        thread.join()
        loop.close()
        print("called")
    """
    output, found = waits(tmp_path, program, BOUCLE_SPIN_US=WHOLE_WAITS)
    assert output == "called\n"
    assert set(found) == {"p"}


def test_a_signal_ends_it(tmp_path):
    program = """if True:
        import boucle, os, signal, threading
        loop = boucle.new_event_loop()
        thread = threading.Timer(0.02, os.kill, (os.getpid(), signal.SIGINT))
        thread.start()
        try:
            loop.run_forever()
        except KeyboardInterrupt:
            print("interrupted")
        thread.join()
        loop.close()
    """
    output, found = waits(tmp_path, program, BOUCLE_SPIN_US=WHOLE_WAITS)
    assert output == "interrupted\n"
    assert set(found) == {"p"}


def test_it_counts_as_idle_time():
    program = """if True:
        import asyncio, boucle
        loop = boucle.new_event_loop()
        loop.run_until_complete(asyncio.sleep(0.2))
        time = loop.metrics().time
        assert time["idle"] > 0.15, time
        assert sum(spent for kind, spent in time.items() if kind != "idle") < 0.05, time
        loop.close()
    """
    result = run_python("-c", program, BOUCLE_SPIN_US=WHOLE_WAITS)
    assert result.returncode == 0, result.stderr


@pytest.mark.parametrize("value", ["abc", "-1", "1.5", "50us", "1000001"])
def test_what_is_no_number_of_microseconds_is_refused(value):
    result = run_python("-c", "import boucle", BOUCLE_SPIN_US=value)
    assert f"ValueError: BOUCLE_SPIN_US={value}: expected 0 or off, or microseconds (1 to 1000000)" in result.stderr
