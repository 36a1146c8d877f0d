"""Debug mode: slow callbacks are named, wrong threads and wrong callbacks refused, sources remembered."""

import asyncio
import logging
import re
import threading
import time

import pytest

pytestmark = pytest.mark.measures


@pytest.fixture
def debugged(loop):
    loop.set_debug(True)
    return loop


def test_a_slow_task_is_named(debugged, caplog):
    debugged.slow_callback_duration = 0.01

    async def slow():
        time.sleep(0.02)

    with caplog.at_level(logging.WARNING, "asyncio"):
        debugged.run_until_complete(debugged.create_task(slow(), name="the slow one"))
    (message,) = [record.getMessage() for record in caplog.records if "took" in record.getMessage()]
    assert message.startswith("Executing <Task finished name='the slow one'")
    assert "slow() done" in message
    assert message.split(" took ")[1].startswith("0.02")


def test_a_slow_callback_is_named(debugged, caplog):
    debugged.slow_callback_duration = 0.01
    with caplog.at_level(logging.WARNING, "asyncio"):
        debugged.call_soon(time.sleep, 0.02)
        debugged.call_soon(debugged.stop)
        debugged.run_forever()
    (message,) = [record.getMessage() for record in caplog.records if "took" in record.getMessage()]
    assert message.startswith("Executing <Handle sleep(0.02)")
    assert "created at " + __file__ in message


def test_a_slow_reader_is_named(debugged, caplog):
    import socket

    debugged.slow_callback_duration = 0.01
    ours, theirs = socket.socketpair()
    theirs.send(b"x")

    def readable():
        debugged.remove_reader(ours)
        time.sleep(0.02)
        debugged.stop()

    debugged.add_reader(ours, readable)
    with caplog.at_level(logging.WARNING, "asyncio"):
        debugged.run_forever()
    assert any(re.search(r"readable\(\).* took 0\.\d+ seconds", record.getMessage()) for record in caplog.records)
    ours.close()
    theirs.close()


def test_the_wrong_thread_is_refused(debugged):
    refused = []

    def other():
        for call in (debugged.call_soon, lambda function: debugged.call_later(1, function)):
            try:
                call(print)
            except RuntimeError as error:
                refused.append(str(error))

    def callback():
        thread = threading.Thread(target=other)
        thread.start()
        thread.join()
        debugged.stop()

    debugged.call_soon(callback)
    debugged.run_forever()
    assert len(refused) == 2
    assert all("Non-thread-safe operation" in text for text in refused)


def test_coroutines_and_uncallables_are_refused(debugged):
    async def coroutine():
        pass

    for method in ("call_soon", "call_soon_threadsafe"):
        with pytest.raises(TypeError, match=rf"coroutines cannot be used with {method}\(\)"):
            getattr(debugged, method)(coroutine)
        with pytest.raises(TypeError, match=rf"a callable object was expected by {method}\(\), got 1"):
            getattr(debugged, method)(1)
    with pytest.raises(TypeError, match=r"coroutines cannot be used with call_at\(\)"):
        debugged.call_later(1, coroutine)


def test_a_handle_knows_where_it_was_made(debugged):
    handles = [debugged.call_soon(print), debugged.call_later(10, print), debugged.call_at(10, print)]
    for handle in handles:
        source = handle._source_traceback[-1]
        assert (source.filename, source.name) == (__file__, "test_a_handle_knows_where_it_was_made")
        assert f"created at {__file__}:{source.lineno}" in repr(handle)
        handle.cancel()
        assert repr(handle).startswith("<")


def test_a_cancelled_handle_shows_what_it_was(debugged):
    handle = debugged.call_soon(print, "argument")
    handle.cancel()
    assert "print('argument')" in repr(handle)


def test_a_failed_callback_tells_where_it_was_made(factory):
    loop = factory()
    loop.set_debug(True)
    reports = []
    loop.set_exception_handler(lambda loop, context: reports.append(context))
    loop.call_soon(lambda: 1 / 0)
    loop.call_soon(loop.stop)
    loop.run_forever()
    loop.close()
    assert reports[0]["source_traceback"][-1].filename == __file__


def test_debug_mode_can_change_while_the_loop_runs(loop):
    async def main():
        loop.set_debug(True)
        await asyncio.sleep(0)
        assert loop.get_debug()
        loop.set_debug(False)
        await asyncio.sleep(0)

    loop.run_until_complete(main())
    assert not loop.get_debug()
