"""The differential test can fail: it finds mistakes in tasks, and finds none where there is none."""

import pytest

from .mutations import existing
from .search import explain, find


@pytest.mark.parametrize("mutation", existing())
def test_a_mistake_is_found_within_a_minute(mutation):
    found = find(f"python:{mutation}", seconds=60, shrink=False)
    assert found.program is not None
    assert found.seconds < 60


@pytest.mark.parametrize("name", ["asyncio", "python"])
def test_what_does_the_same_is_not_reported(name):
    found = find(name, programs_at_most=250)
    assert found.program is None, explain(found.program, name)
