"""Random programs do the same on boucle as on asyncio.

BOUCLE_DIFFERENTIAL says how many are run, as 2000, or for how long, as 30s or 10m. Their seeds are always the same ones
here; make soak runs others.
"""

import os

import pytest

from .search import amount, explain, find

AMOUNT = amount(os.environ.get("BOUCLE_DIFFERENTIAL", "2000"))


# A program that differs is made smaller, for up to five minutes.
@pytest.mark.timeout(600 + AMOUNT.get("seconds", 0))
def test_programs_do_on_boucle_what_they_do_on_asyncio():
    found = find("boucle", **AMOUNT)
    assert found.program is None, explain(found.program, "boucle")
