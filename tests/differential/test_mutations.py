"""The differential test finds mistakes in boucle's own tasks and futures."""

import pytest

import boucle

from .search import explain, find

pytestmark = pytest.mark.skipif(
    not hasattr(boucle._boucle, "mutate"), reason="this build makes no mistakes: see tools/panics.py"
)


@pytest.fixture(autouse=True)
def no_mistake_afterwards():
    yield
    boucle._boucle.mutate("")


@pytest.mark.parametrize("mutation", getattr(boucle._boucle, "mutations", list)())
def test_a_mistake_is_found_within_a_minute(mutation):
    found = find(f"boucle:{mutation}", seconds=60, shrink=False)
    assert found.program is not None
    assert found.seconds < 60


def test_without_a_mistake_nothing_is_found():
    found = find("boucle", programs_at_most=250)
    assert found.program is None, explain(found.program, "boucle")
