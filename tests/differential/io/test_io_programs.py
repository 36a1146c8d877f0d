"""Random programs with sockets do the same on boucle as on asyncio.

BOUCLE_DIFFERENTIAL_IO says how many of each kind are run, as 2000, or for how long, as 30s or 10m. Their seeds are
always the same ones here; make soak IO=1 runs others.
"""

import os

import pytest

from ..search import amount, explain, find
from .families import FAMILIES

AMOUNT = amount(os.environ.get("BOUCLE_DIFFERENTIAL_IO", "100"))


# A program that differs is made smaller, for up to five minutes.
@pytest.mark.timeout(600 + AMOUNT.get("seconds", 0))
@pytest.mark.parametrize("kind", FAMILIES)
def test_programs_do_on_boucle_what_they_do_on_asyncio(kind):
    found = find("boucle", FAMILIES[kind], **AMOUNT)
    assert found.program is None, explain(found.program, "boucle", FAMILIES[kind])
