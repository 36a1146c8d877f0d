"""docs/methods.md is complete: it names every public method of the Python that runs, and tests that exist."""

import asyncio
import re

import pytest

from conftest import ROOT

ROWS = re.findall(
    r"^\| `([\w.]+)` \| (\S+) \|.*\| `(test_\w+\.py)` \|$", (ROOT / "docs" / "methods.md").read_text(), re.M
)
INTERFACES = [
    asyncio.AbstractEventLoop,
    asyncio.AbstractServer,
    asyncio.BaseTransport,
    asyncio.ReadTransport,
    asyncio.WriteTransport,
    asyncio.DatagramTransport,
    asyncio.SubprocessTransport,
]


def public_methods(interface):
    return {name for name, value in vars(interface).items() if not name.startswith("_") and callable(value)}


@pytest.mark.parametrize("interface", INTERFACES)
def test_every_method_is_in_the_table(interface):
    named = {name.rpartition(".")[2] for name, _, _ in ROWS}
    assert public_methods(interface) <= named


def test_the_tests_exist():
    files = {path.name for path in (ROOT / "tests").rglob("test_*.py")}
    assert {file for _, _, file in ROWS} <= files
