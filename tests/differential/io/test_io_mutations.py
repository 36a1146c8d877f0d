"""The differential test of I/O can fail: it finds mistakes in transports and loops, and none where there is none."""

import pytest

import boucle

from ..search import explain, find
from .families import FAMILIES
from .mutations import MUTATIONS

# Most are found within 60.
ENOUGH = 2000

# The mistakes are in copies of asyncio's newest transports, and the tester is the same on each Python.
pytestmark = pytest.mark.skipif(
    not hasattr(boucle._boucle, "mutate"), reason="runs once, on the newest Python: see tools/run_tests.py"
)


@pytest.mark.parametrize("mutation", MUTATIONS)
def test_a_mistake_is_found(mutation):
    found = find(f"io:{mutation}", FAMILIES[MUTATIONS[mutation]], programs_at_most=ENOUGH, shrink=False)
    assert found.program is not None


@pytest.mark.parametrize("kind", FAMILIES)
def test_what_does_the_same_is_not_reported(kind):
    found = find("asyncio", FAMILIES[kind], programs_at_most=100)
    assert found.program is None, explain(found.program, "asyncio", FAMILIES[kind])
