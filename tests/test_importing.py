"""What `import boucle` brings: all names, and nothing that a program which only runs does without."""

import importlib

import pytest

import boucle
from boucle import _frames
from conftest import run_python

A_PROGRAM = """
import asyncio, sys

async def main():
    await asyncio.sleep(0)

before = set(sys.modules)
import boucle
boucle.run(main())
brought = set(sys.modules) - before
"""


def printed(program):
    finished = run_python("-c", program)
    assert not finished.stderr
    return finished.stdout


def test_a_program_that_only_runs_imports_no_module_that_asyncio_does_not():
    brought = printed(A_PROGRAM + 'print(*sorted(name for name in brought if "boucle" not in name))').split()
    # Built in: no file is read.
    assert set(brought) <= {"atexit", "gc"}


def test_it_imports_nothing_that_records_or_watches():
    later = '{f"boucle.{name}" for name in boucle._IMPORTED_LATER.values()}'
    # The program says boucle.run().
    assert printed(A_PROGRAM + f"print(*brought & {later})") == "boucle._launch\n"


def test_each_name_is_there_after_import_boucle():
    names = [*boucle.__all__, "metrics"]
    output = printed(f"import boucle; print({{name for name in {names} if not hasattr(boucle, name)}})")
    assert output == "set()\n"
    assert set(names) <= set(dir(boucle))


def test_what_is_imported_later_is_what_its_module_has():
    for name, module in boucle._IMPORTED_LATER.items():
        if module is None:
            assert getattr(boucle, name) is importlib.import_module(f"boucle.{name}")
        else:
            assert getattr(boucle, name) is getattr(importlib.import_module(f"boucle.{module}"), name)


def test_a_star_brings_all_names():
    assert printed("from boucle import *; import boucle; print(set(boucle.__all__) - set(globals()))") == "set()\n"


def test_a_name_that_it_does_not_have_is_an_attribute_error():
    with pytest.raises(AttributeError, match="module 'boucle' has no attribute 'chronicle'"):
        boucle.chronicle  # noqa: B018, it raises


def test_frames_of_coroutines_are_readable():
    assert _frames.try_reading()
