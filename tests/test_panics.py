"""No panic of native code reaches the user as an abort: each slot panics in turn, and an exception comes out.

The slots are those that the native classes have, and those whose guard names them in the sources: a new one without a
test here fails. Each panic happens in a process of its own, so that an abort is told from an exception.

Needs a build into which panics can be injected: `make test` makes it, or tools/panics.py.
"""

import asyncio
import gc
import os
import re
import sys
import traceback
import types

import pytest

import boucle
from boucle import _boucle
from conftest import ROOT

if not hasattr(_boucle, "panic_in"):
    pytest.skip("this build injects no panics: see tools/panics.py", allow_module_level=True)

# PyO3 makes these two, with a guard of its own that the injection does not reach.
BY_PYO3 = {"Chronology", "Recording"}

# How to get an instance of each class, from a loop.
INSTANCES = {
    "LoopCore": lambda loop: loop,
    "Handle": lambda loop: loop.call_soon(print),
    "TimerHandle": lambda loop: loop.call_later(3600, print),
}


def attributes(kind):
    """The native classes' own attributes of a kind, as (class, name)."""
    return [
        pytest.param(owner, name, id=f"{owner}.{name}")
        for owner in sorted(set(native_classes()) & set(INSTANCES))
        for name, value in sorted(vars(native_classes()[owner]).items())
        if isinstance(value, kind)
    ]


def native_classes():
    """The classes that go through our guard."""
    return {name: it for name, it in vars(_boucle).items() if isinstance(it, type) and name not in BY_PYO3}


def of_instance(owner, name):
    """A class's attribute, and an instance to use it on."""
    return vars(native_classes()[owner])[name], INSTANCES[owner](boucle.new_event_loop())


def slot_of(owner, name):
    """What the guard of a special method is called: one slot makes all comparisons."""
    return (
        f"{owner}.__eq__" if name in ("__lt__", "__le__", "__eq__", "__ne__", "__gt__", "__ge__") else f"{owner}.{name}"
    )


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


# Slots that are no attributes, and how to use them. Those of the first group raise.
RAISING = {"tp_new": boucle.Loop}
# The others cannot: what they report goes to sys.unraisablehook.
REPORTING = {
    "tp_dealloc": drop_loop,
    "tp_clear": drop_loop_in_a_cycle,
    "tp_traverse": lambda: gc.get_referents(boucle.new_event_loop()),
    "Handle.tp_dealloc": use_handle,
    "TimerHandle.tp_dealloc": use_timer_handle,
}


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
        check_raises(slot, lambda: method(instance, *([None] if slot.endswith(".__eq__") else [])))

    apart(check)


@pytest.mark.parametrize("slot", RAISING)
def test_a_slot_that_panics_raises(apart, slot):
    apart(lambda: check_raises(slot, RAISING[slot]))


@pytest.mark.parametrize("slot", REPORTING)
def test_a_slot_that_panics_but_cannot_raise_reports(apart, slot):
    def check():
        reports = []
        sys.unraisablehook = lambda report: reports.append((type(report.exc_value), str(report.exc_value)))
        _boucle.panic_in(slot)
        REPORTING[slot]()
        sys.unraisablehook = sys.__unraisablehook__
        # Unclosed loops say so; that is no report of ours.
        assert [report for report in reports if report[0] is not ResourceWarning] == [(SystemError, message(slot))]
        assert not _boucle.panic_is_armed()

    apart(check)


def test_every_native_class_is_tested():
    assert set(native_classes()) == set(INSTANCES)


def test_every_guard_of_the_sources_is_tested():
    named, computed = set(), set()
    for path in (ROOT / "crates" / "boucle-python" / "src").rglob("*.rs"):
        for first_argument in re.findall(r"\bguard(?:_infallible)?\(\s*([^,|]+),", path.read_text()):
            (named if first_argument.startswith('"') else computed).add(first_argument.strip('"'))
    special = {slot_of(*param.values) for param in attributes(types.WrapperDescriptorType)}
    assert named == {*special, *RAISING, *REPORTING}
    # The macros of raw/method.rs, whose slots are the classes' attributes; and a function's own parameter.
    macros = {f'concat!(stringify!($class), ".", $name{setter})'.split(",")[0] for setter in ("", ', "="')}
    assert computed == {*macros, "name: &'static str"}
