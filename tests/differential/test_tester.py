"""The differential test can fail: it finds mistakes in tasks, and finds none where there is none."""

import sys

import pytest

from .mutations import existing
from .search import explain, find

# Then asyncio.current_task() does not see the tasks of Python, which differs from the native ones in every program.
sees_tasks_of_python = pytest.mark.skipif(sys.version_info >= (3, 14), reason="current_task() sees native tasks only")


@sees_tasks_of_python
@pytest.mark.parametrize("mutation", existing())
def test_a_mistake_is_found_within_a_minute(mutation):
    found = find(f"python:{mutation}", seconds=60, shrink=False)
    assert found.program is not None
    assert found.seconds < 60


@pytest.mark.parametrize("name", ["asyncio", pytest.param("python", marks=sees_tasks_of_python)])
def test_what_does_the_same_is_not_reported(name):
    found = find(name, programs_at_most=250)
    assert found.program is None, explain(found.program, name)
