"""Signals: handlers of the loop, and Ctrl-C wherever it comes."""

import asyncio
import os
import signal
import subprocess
import sys
import threading
import time

import pytest

import boucle


@pytest.fixture(autouse=True)
def signals_are_put_back():
    former = {number: signal.getsignal(number) for number in (signal.SIGINT, signal.SIGUSR1, signal.SIGCHLD)}
    yield
    for number, handler in former.items():
        signal.signal(number, handler)


def later(seconds, function, *arguments):
    timer = threading.Timer(seconds, function, arguments)
    timer.start()
    return timer


@pytest.mark.parametrize("number", [signal.SIGUSR1, signal.SIGCHLD, signal.SIGINT])
def test_a_handler_runs_in_the_loop(loop, number):
    ran = []

    def handler(argument):
        ran.append(argument)
        loop.stop()

    loop.add_signal_handler(number, handler, "argument")
    timer = later(0.02, os.kill, os.getpid(), number)
    loop.run_forever()
    timer.join()
    assert ran == ["argument"]
    assert loop.remove_signal_handler(number)
    assert not loop.remove_signal_handler(number)


def test_a_signal_that_came_before_the_run_is_handled(loop):
    ran = []
    loop.add_signal_handler(signal.SIGUSR1, ran.append, 1)
    os.kill(os.getpid(), signal.SIGUSR1)
    loop.call_later(0.02, loop.stop)
    loop.run_forever()
    assert ran == [1]


def test_a_signal_is_handled_while_callbacks_keep_coming(loop):
    def again():
        loop.call_soon(again)

    loop.add_signal_handler(signal.SIGUSR1, loop.stop)
    loop.call_soon(again)
    timer = later(0.02, os.kill, os.getpid(), signal.SIGUSR1)
    loop.run_forever()
    timer.join()


def test_an_interrupt_ends_a_sleep(loop):
    timer = later(0.02, os.kill, os.getpid(), signal.SIGINT)
    with pytest.raises(KeyboardInterrupt):
        loop.run_forever()
    timer.join()
    # The loop is usable.
    assert loop.run_until_complete(asyncio.sleep(0, "fine")) == "fine"


def test_an_interrupt_ends_a_chain_of_native_callbacks(own_loop):
    class Again:
        def __call__(self):
            own_loop.call_soon(self)

    own_loop.call_soon(Again())
    timer = later(0.02, os.kill, os.getpid(), signal.SIGINT)
    with pytest.raises(KeyboardInterrupt):
        own_loop.run_forever()
    timer.join()
    own_loop._ready.clear()


def test_a_signal_that_another_thread_takes_wakes_the_loop_at_once():
    # Only the helper thread may take the signal, so the kernel does not interrupt the main thread's sleep.
    program = """
import boucle, os, signal, threading, time
loop = boucle.new_event_loop()
began = time.monotonic()
def take():
    signal.pthread_sigmask(signal.SIG_UNBLOCK, [signal.SIGINT])
    time.sleep(0.1)
    os.kill(os.getpid(), signal.SIGINT)
    time.sleep(5)
thread = threading.Thread(target=take, daemon=True)
signal.pthread_sigmask(signal.SIG_BLOCK, [signal.SIGINT])
thread.start()
try:
    loop.run_until_complete(__import__("asyncio").sleep(4))
except KeyboardInterrupt:
    print("interrupted", time.monotonic() - began < 2)
loop.close()
"""
    result = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, timeout=60)
    assert result.stdout.split() == ["interrupted", "True"], result.stderr


def test_the_former_wakeup_descriptor_comes_back(own_loop):
    import socket

    ours, theirs = socket.socketpair()
    ours.setblocking(False)
    signal.set_wakeup_fd(ours.fileno())
    own_loop.call_soon(own_loop.stop)
    own_loop.run_forever()
    assert signal.set_wakeup_fd(-1) == ours.fileno()
    ours.close()
    theirs.close()


def test_who_takes_the_wakeup_descriptor_during_a_run_keeps_it(own_loop):
    import socket

    ours, theirs = socket.socketpair()
    ours.setblocking(False)
    own_loop.call_soon(signal.set_wakeup_fd, ours.fileno())
    own_loop.call_soon(own_loop.stop)
    own_loop.run_forever()
    assert signal.set_wakeup_fd(-1) == ours.fileno()
    ours.close()
    theirs.close()


def test_a_loop_of_another_thread_leaves_signals_alone():
    def run():
        loop = boucle.new_event_loop()
        with pytest.raises((RuntimeError, ValueError)):
            loop.add_signal_handler(signal.SIGUSR1, print)
        loop.run_until_complete(asyncio.sleep(0))
        loop.close()

    thread = threading.Thread(target=run)
    thread.start()
    thread.join()
    assert signal.set_wakeup_fd(-1) == -1


@pytest.mark.parametrize("launch", ["boucle.run(main())", "asyncio.run(main())"])
def test_ctrl_c_cancels_the_main_task_as_asyncio_does(launch):
    program = f"""
import asyncio, boucle, sys
boucle.install()
async def main():
    print("ready", flush=True)
    try:
        await asyncio.sleep(30)
    except asyncio.CancelledError:
        print("cancelled", flush=True)
        raise
try:
    {launch}
except KeyboardInterrupt:
    print("interrupted")
"""
    process = subprocess.Popen([sys.executable, "-c", program], stdout=subprocess.PIPE, text=True)
    assert process.stdout.readline() == "ready\n"
    time.sleep(0.05)
    process.send_signal(signal.SIGINT)
    output, _ = process.communicate(timeout=30)
    assert output.split() == ["cancelled", "interrupted"]
