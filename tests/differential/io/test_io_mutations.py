"""The differential test of I/O can fail: it finds mistakes in transports and loops, and none where there is none."""

import pytest

from ..search import explain, find
from .families import FAMILIES
from .mutations import MUTATIONS

A_FEW_HUNDRED = 500


@pytest.mark.parametrize("mutation", MUTATIONS)
def test_a_mistake_is_found_within_a_few_hundred_programs(mutation):
    found = find(f"io:{mutation}", FAMILIES[MUTATIONS[mutation]], programs_at_most=A_FEW_HUNDRED, shrink=False)
    assert found.program is not None


@pytest.mark.parametrize("kind", FAMILIES)
def test_what_does_the_same_is_not_reported(kind):
    found = find("asyncio", FAMILIES[kind], programs_at_most=100)
    assert found.program is None, explain(found.program, "asyncio", FAMILIES[kind])
