"""No panic of native code reaches the user as an abort: each slot panics in turn, and an exception comes out.

The slots are those that the native classes have, and those whose guard names them in the sources: a new one without a
test here fails. Each panic happens in a process of its own, so that an abort is told from an exception.

Needs a build into which panics can be injected: `make test` makes it, or tools/panics.py.
"""

import asyncio
import concurrent.futures
import gc
import os
import queue
import re
import socket
import ssl
import sys
import traceback
import types

import pytest

import boucle
from boucle import _boucle
from conftest import ROOT
from work_in_threads import HAS_NATIVE

if not hasattr(_boucle, "panic_in"):
    pytest.skip("this build injects no panics: see tools/panics.py", allow_module_level=True)

# PyO3 makes these, with a guard of its own that the injection does not reach.
BY_PYO3 = {"Chronology", "Recording", "StackOracle"}


def stream_transport(loop):
    """A transport that reads."""
    transport = loop._make_socket_transport(socket.socketpair()[0], asyncio.Protocol())
    transport._start_reading()
    return transport


def forgotten_transport(loop):
    """A transport that nobody else holds."""
    transport = loop._make_socket_transport(socket.socketpair()[0], asyncio.Protocol())
    loop._ready.clear()
    return transport


def tls_protocol(loop):
    """A protocol that nobody has connected."""
    return _boucle.SSLProtocol(loop, asyncio.Protocol(), ssl.create_default_context(), None, False, "example.org")


def executor_job(loop):
    """A job that no thread will take."""
    with concurrent.futures.ThreadPoolExecutor(1) as executor:
        executor.submit(int).result()
        executor._work_queue, its_own = queue.SimpleQueue(), executor._work_queue
        loop.run_in_executor(executor, print)
        item = executor._work_queue.get()
        executor._work_queue = its_own
    return item.future


# How to get an instance of each class, from a loop.
INSTANCES = {
    "LoopCore": lambda loop: loop,
    "Handle": lambda loop: loop.call_soon(print),
    "TimerHandle": lambda loop: loop.call_later(3600, print),
    "Future": lambda loop: loop.create_future(),
    "Task": lambda loop: loop.create_task(asyncio.sleep(0)),
    "StreamTransport": stream_transport,
    "DatagramTransport": lambda loop: loop._make_datagram_transport(
        socket.socket(socket.AF_INET, socket.SOCK_DGRAM), asyncio.DatagramProtocol()
    ),
    "ReadPipeTransport": lambda loop: loop._make_read_pipe_transport(socket.socket(), asyncio.Protocol()),
    "WritePipeTransport": lambda loop: loop._make_write_pipe_transport(socket.socket(), asyncio.Protocol()),
    "SocketOperation": lambda loop: loop.sock_accept(socket.socket()),
    "ConnectingStep": lambda loop: loop._ensure_resolved(("127.0.0.1", 1), loop=loop),
    "Job": executor_job,
    "StreamReaderCore": lambda loop: boucle.StreamReader(loop=loop),
    "StreamProtocolCore": lambda loop: boucle.StreamReaderProtocol(boucle.StreamReader(loop=loop), loop=loop),
    "StreamWriterCore": lambda loop: boucle.StreamWriter(stream_transport(loop), None, None, loop),
    "StreamOperation": lambda loop: boucle.StreamReader(loop=loop).read(1),
    "SSLProtocol": tls_protocol,
    "SSLTransport": lambda loop: tls_protocol(loop)._app_transport,
    "Watcher": lambda loop: [stream_transport(loop), loop._watches()[-1][2]][1],
    # What awaits a future is no attribute of the module. Python calls its class FutureIter.
    "Awaiting": lambda loop: iter(loop.create_future()),
}
# From 3.14 on work in threads goes asyncio's own way.
NEVER_MADE = set() if HAS_NATIVE else {"Job"}
# Made by the interpreter, not by us.
WITHOUT_GUARD = {
    f"{owner}.__dict__"
    for owner in (
        "Future",
        "StreamTransport",
        "DatagramTransport",
        "ReadPipeTransport",
        "WritePipeTransport",
        "SSLProtocol",
        "SSLTransport",
    )
}
# Tells sys.unraisablehook instead of raising: see REPORTING.
FINALIZERS = {"__del__"}
# Only newer Pythons than this one may have them.
NEWER = {"Future._asyncio_awaited_by"}


def attributes(kind):
    """The native classes' own attributes of a kind, as (class, name)."""
    return [
        pytest.param(owner, name, id=f"{owner}.{name}")
        for owner in sorted(set(native_classes()) & set(INSTANCES) - NEVER_MADE)
        for name, value in sorted(vars(native_classes()[owner]).items())
        if isinstance(value, kind) and f"{owner}.{name}" not in WITHOUT_GUARD and name not in FINALIZERS
    ]


def native_classes():
    """The classes that go through our guard."""
    classes = {name: it for name, it in vars(_boucle).items() if isinstance(it, type) and name not in BY_PYO3}
    return classes | {"Awaiting": AWAITING}


def class_of_awaits():
    loop = boucle.new_event_loop()
    awaiting = type(iter(loop.create_future()))
    loop.close()
    return awaiting


AWAITING = class_of_awaits()


def of_instance(owner, name):
    """A class's attribute, and an instance to use it on."""
    return vars(native_classes()[owner])[name], INSTANCES[owner](boucle.new_event_loop())


def slot_of(owner, name):
    """What the guard of a special method is called: some slots make several."""
    if name in ("__lt__", "__le__", "__eq__", "__ne__", "__gt__", "__ge__"):
        return f"{owner}.__eq__"
    return f"{owner}.__setattr__" if name == "__delattr__" else f"{owner}.{name}"


def special_arguments(name):
    """Arguments that the interpreter lets through to a special method."""
    return {"__setattr__": ["name", None], "__delattr__": ["name"], "__eq__": [None]}.get(name, [])


def use_handle():
    loop = boucle.new_event_loop()
    loop.call_soon(print)
    loop._ready.clear()


def use_timer_handle():
    loop = boucle.new_event_loop()
    loop.call_later(3600, print)
    loop._scheduled.clear()


def drop_loop():
    boucle.new_event_loop().close()
    gc.collect()


def drop_loop_in_a_cycle():
    loop = boucle.new_event_loop()
    loop.close()
    loop.itself = loop
    del loop
    gc.collect()


def drop(make):
    """Makes something, and lets go of it."""

    def use():
        make(boucle.new_event_loop())

    return use


def drop_in_a_cycle(make):
    def use():
        thing = make(boucle.new_event_loop())
        thing.itself = thing
        del thing
        gc.collect()

    return use


def look_into(make):
    return lambda: gc.get_referents(make(boucle.new_event_loop()))


def failed_future(loop):
    future = loop.create_future()
    future.set_exception(KeyError())
    return future


def derived_task(loop):
    async def nothing():
        pass

    task = type("Derived", (boucle.Task,), {})(nothing(), loop=loop)
    task.get_coro().close()
    loop._ready.clear()
    return task


def call_back(index):
    """Calls the callback by which a task steps (0) or wakes up (1)."""

    def use():
        async def wait(future):
            await future

        loop = boucle.new_event_loop()
        loop.set_debug(True)
        future = loop.create_future()
        task = loop.create_task(wait(future))
        if index == 0:
            (handle,) = loop._ready
            handle._callback()
        else:
            loop.call_soon(loop.stop)
            loop.run_forever()
            assert task._fut_waiter is future
            future._callbacks[0][0](future)

    return use


def await_future():
    """Awaits a future as the interpreter does."""

    async def wait(future):
        await future

    wait(boucle.new_event_loop().create_future()).send(None)


def await_operation(kind):
    """Awaits an operation on a socket or a stream as the interpreter does."""

    async def wait(operation):
        await operation

    def use():
        wait(INSTANCES[kind](boucle.new_event_loop())).send(None)

    return use


def send_operation(kind):
    """Makes a step of one as a task does."""

    def use():
        boucle.run(asyncio.sleep(0))
        loop = boucle.new_event_loop()
        loop.run_until_complete(INSTANCES[kind](loop))

    return use


def drop_buffers():
    """Lets go of the buffer that a protocol has lent."""
    lent = tls_protocol(boucle.new_event_loop()).get_buffer(-1)
    del lent
    gc.collect()


# What an `await` calls: from 3.15 on the interpreter sends.
AWAITED = "await_in_place" if sys.version_info < (3, 15) else "am_send"
# Slots that are no attributes, and how to use them. Those of the first group raise.
RAISING = [
    ("tp_new", boucle.Loop),
    ("tp_new", lambda: boucle.Future(loop=boucle.new_event_loop())),
    ("tp_new", lambda: boucle.Task(None, loop=boucle.new_event_loop())),
    ("am_await", await_future),
    ("Future.await_in_place", await_future),
    (f"SocketOperation.{AWAITED}", await_operation("SocketOperation")),
    ("SocketOperation.am_send", send_operation("SocketOperation")),
    (f"StreamOperation.{AWAITED}", await_operation("StreamOperation")),
    ("StreamOperation.am_send", send_operation("StreamOperation")),
    (f"ConnectingStep.{AWAITED}", await_operation("ConnectingStep")),
    ("ConnectingStep.am_send", send_operation("ConnectingStep")),
    ("Buffer.bf_getbuffer", lambda: tls_protocol(boucle.new_event_loop()).get_buffer(-1)),
    ("Task.task_step", call_back(0)),
    ("Task.task_wakeup", call_back(1)),
]
# The others cannot: what they report goes to sys.unraisablehook.
REPORTING = [
    ("tp_dealloc", drop_loop),
    ("tp_dealloc", drop(INSTANCES["Future"])),
    ("tp_dealloc", drop(INSTANCES["Awaiting"])),
    ("tp_dealloc", drop(forgotten_transport)),
    ("tp_clear", drop_loop_in_a_cycle),
    ("tp_clear", drop_in_a_cycle(INSTANCES["Future"])),
    ("tp_clear", drop_in_a_cycle(derived_task)),
    ("tp_traverse", look_into(lambda loop: loop)),
    ("tp_traverse", look_into(INSTANCES["Future"])),
    ("tp_traverse", look_into(INSTANCES["Awaiting"])),
    ("tp_traverse", look_into(INSTANCES["StreamTransport"])),
    ("tp_finalize", drop(forgotten_transport)),
    ("tp_finalize", drop(failed_future)),
    ("tp_finalize", drop(derived_task)),
    ("tp_finalize", lambda: boucle.new_event_loop().create_future().__del__()),
    ("Buffer.tp_dealloc", drop_buffers),
    ("Handle.tp_dealloc", use_handle),
    ("TimerHandle.tp_dealloc", use_timer_handle),
]


def numbered(uses):
    """Parameters for slots and their uses, each with a name of its own."""
    return [pytest.param(slot, use, id=f"{slot}-{number}") for number, (slot, use) in enumerate(uses)]


@pytest.fixture
def apart():
    """Runs a check in a forked process, which must come to its end."""

    def run(check):
        receiving, sending = os.pipe()
        child = os.fork()
        if child == 0:
            try:
                check()
                # What panicked has left the rest usable.
                assert boucle.run(asyncio.sleep(0, "done")) == "done"
                failure = ""
            except BaseException:
                failure = traceback.format_exc()
            os.write(sending, failure.encode()[:50_000])
            os._exit(0)
        os.close(sending)
        with open(receiving) as pipe:
            failure = pipe.read()
        status = os.waitstatus_to_exitcode(os.waitpid(child, 0)[1])
        assert status == 0, f"the process ended with status {status}"
        assert not failure, failure

    return run


def message(slot):
    return f"internal error in {slot}: injected; please report it, it is a bug of boucle"


def check_raises(slot, use):
    _boucle.panic_in(slot)
    with pytest.raises(SystemError) as caught:
        use()
    assert str(caught.value) == message(slot)
    assert not _boucle.panic_is_armed()


@pytest.mark.parametrize(("owner", "name"), attributes(types.MethodDescriptorType))
def test_a_method_that_panics_raises(apart, owner, name):
    def check():
        method, instance = of_instance(owner, name)
        # Without arguments: the panic comes before they are looked at.
        check_raises(f"{owner}.{name}", lambda: method(instance))

    apart(check)


def is_writable(descriptor, instance):
    """Whether a property has a setter. Sets it to what it is."""
    try:
        descriptor.__set__(instance, descriptor.__get__(instance))
    except AttributeError as error:
        return "is not writable" not in str(error)
    return True


@pytest.mark.parametrize(("owner", "name"), attributes(types.GetSetDescriptorType))
def test_a_property_that_panics_raises(apart, owner, name):
    def check():
        descriptor, instance = of_instance(owner, name)
        check_raises(f"{owner}.{name}", lambda: descriptor.__get__(instance))
        for change in (lambda: descriptor.__set__(instance, None), lambda: descriptor.__delete__(instance)):
            if is_writable(descriptor, instance):
                check_raises(f"{owner}.{name}=", change)

    apart(check)


@pytest.mark.parametrize(("owner", "name"), attributes(types.WrapperDescriptorType))
def test_a_special_method_that_panics_raises(apart, owner, name):
    def check():
        method, instance = of_instance(owner, name)
        slot = slot_of(owner, name)
        arguments = special_arguments("__eq__" if slot.endswith(".__eq__") else name)
        check_raises(slot, lambda: method(instance, *arguments))

    apart(check)


@pytest.mark.parametrize(("slot", "use"), numbered(RAISING))
def test_a_slot_that_panics_raises(apart, slot, use):
    apart(lambda: check_raises(slot, use))


@pytest.mark.parametrize(("slot", "use"), numbered(REPORTING))
def test_a_slot_that_panics_but_cannot_raise_reports(apart, slot, use):
    def check():
        reports = []
        sys.unraisablehook = lambda report: reports.append((type(report.exc_value), str(report.exc_value)))
        _boucle.panic_in(slot)
        use()
        sys.unraisablehook = sys.__unraisablehook__
        # Unclosed loops say so; that is no report of ours.
        assert [report for report in reports if report[0] is not ResourceWarning] == [(SystemError, message(slot))]
        assert not _boucle.panic_is_armed()

    apart(check)


def test_every_native_class_is_tested():
    assert set(native_classes()) == set(INSTANCES)


def test_every_guard_of_the_sources_is_tested():
    by_hand = {slot for slot, _ in [*RAISING, *REPORTING]}
    attributes_tested = {
        slot_of(*param.values)
        for kind in (types.MethodDescriptorType, types.GetSetDescriptorType, types.WrapperDescriptorType)
        for param in attributes(kind)
    }
    named, computed, by_macro = set(), set(), set()
    slots = {"init": "__init__", "set_attribute": "__setattr__", "send": "am_send"}
    sources = [path.read_text() for path in (ROOT / "crates" / "boucle-python" / "src").rglob("*.rs")]
    # `coroutine_class!` gives its guards to each class that it is used for.
    coroutines = set(re.findall(r"\bcoroutine_class!\(\s*(\w+),", "\n".join(sources)))
    assert coroutines
    for text in sources:
        for first_argument in re.findall(r"\bguard(?:_infallible)?\(\s*([^,|]+),", text):
            (named if first_argument.startswith('"') else computed).add(first_argument.strip('"'))
        for owner, name in re.findall(r"\b(?:method|getter|setter|unary)!\(\s*(\$?\w+),\s*\"(\w+)\"", text):
            by_macro.update(f"{owner}.{name}" for owner in (coroutines if owner == "$class" else [owner]))
        for macro, owner in re.findall(r"\b(init|set_attribute|send)!\((\$?\w+),", text):
            by_macro.update(f"{owner}.{slots[macro]}" for owner in (coroutines if owner == "$class" else [owner]))
    # The documentation of a macro.
    by_macro.discard("Class.name")
    assert by_hand <= named | by_macro
    of_others = {name for name in by_macro if name.split(".")[0] in NEVER_MADE}
    if AWAITED != "await_in_place":
        of_others |= {f"{owner}.await_in_place" for owner in coroutines}
    assert named | by_macro <= by_hand | attributes_tested | NEWER | of_others
    # The macros of raw/method.rs; and a function's own parameter.
    macros = {f'concat!(stringify!($class), ".", $name{setter})'.split(",")[0] for setter in ("", ', "="')}
    assert computed == {*macros, "name: &'static str"}
