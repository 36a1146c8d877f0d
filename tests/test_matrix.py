"""The matrix of tasks and futures (conformance/matrix.py): whatever it is there to notice, it notices."""

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

FOLDER = Path(__file__).resolve().parent.parent / "conformance"
ACCIDENTS = """
import os, time
from test.test_asyncio.test_futures import BaseFutureTests
BaseFutureTests.test_isfuture = lambda self: {accident}
"""


@pytest.fixture
def matrix(monkeypatch):
    monkeypatch.syspath_prepend(str(FOLDER))
    import matrix

    return matrix


@pytest.fixture
def cell(matrix):
    """A combination that passed one test and failed another."""
    return matrix.Cell(
        ("ours", "C"),
        "boucle",
        plan={"CFutureTests": {"tests": 2, "fake_clock": []}},
        outcomes={"CFutureTests.test_good": ("passed", ""), "CFutureTests.test_bad": ("failed", "ValueError")},
    )


def run_with_accident(tmp_path, accident):
    """Run two tests of CPython, of which the first suffers an accident."""
    (tmp_path / "sitecustomize.py").write_text(ACCIDENTS.format(accident=accident))
    command = [sys.executable, FOLDER / "matrix.py", "--oracle", "--loop", "cpython"]
    command += ["--only", r"\(C, C\) cpython CFutureTests\.test_(isfuture|uninitialized)"]
    environment = os.environ | {"PYTHONPATH": str(tmp_path)}
    return subprocess.run(command, env=environment, capture_output=True, text=True, timeout=100)


def expect(matrix, classes):
    matrix.COUNTS.write_text(json.dumps({matrix.MINOR: {"release": matrix.RELEASE, "classes": classes}}))


@pytest.mark.parametrize(
    ("accident", "words"),
    [("os.abort()", "died of SIGABRT"), ("os._exit(0)", "exited with status 0"), ("1 / 0", "ZeroDivisionError")],
)
def test_an_accident_costs_one_test(tmp_path, accident, words):
    result = run_with_accident(tmp_path, accident)
    assert result.returncode == 1
    assert "FAILED CFutureTests.test_isfuture (C, C) on cpython" in result.stdout
    assert words in result.stdout
    assert "matrix: 1 passed, 1 failed" in result.stdout


def test_a_failure_fails_unless_it_is_listed(matrix, cell):
    failures, _ = matrix.compare_with_differences([cell], [])
    assert list(failures) == ["CFutureTests.test_bad"]
    failures, listed = matrix.compare_with_differences([cell], [{"test": "test_bad", "reason": "it is bad"}])
    assert not failures
    assert listed[0]["failed"] == 1


def test_an_entry_holds_only_where_it_says(matrix, cell):
    for narrow in ({"loops": ["cpython"]}, {"combinations": [["C", "ours"]]}, {"classes": ["PyFutureTests"]}):
        failures, _ = matrix.compare_with_differences([cell], [{"test": "test_bad", **narrow}])
        assert list(failures) == ["CFutureTests.test_bad"]


def test_a_listed_test_that_passes_fails(matrix, cell):
    failures, _ = matrix.compare_with_differences([cell], [{"test": "test_good"}])
    assert "remove it" in failures["CFutureTests.test_good"][0][1]


def test_an_entry_needs_a_reason_a_test_and_a_line_in_the_documentation(matrix, cell):
    entry = {"test": "test_that_does_not_exist"}
    _, listed = matrix.compare_with_differences([cell], [entry])
    assert len(list(matrix.unused([entry], listed, complete=True))) == 3


def test_a_class_that_tests_less_or_skips_more_is_noticed(matrix, cell, monkeypatch, tmp_path):
    monkeypatch.setattr(matrix, "COUNTS", tmp_path / "counts.json")
    for expected, right in [(1, False), (2, True), (3, False)]:
        expect(matrix, {"CFutureTests": {"boucle": expected}})
        assert (not list(matrix.wrong_counts([cell], complete=True))) is right
    expect(matrix, {"CFutureTests": {"boucle": 2}})
    cell.outcomes["CFutureTests.test_good"] = "skipped", "no mood"
    assert any("skipped" in problem for problem in matrix.wrong_counts([cell], complete=True))


def test_a_class_that_is_not_run_is_noticed(matrix, cell, monkeypatch, tmp_path):
    monkeypatch.setattr(matrix, "COUNTS", tmp_path / "counts.json")
    expect(matrix, {"CFutureTests": {"boucle": 2}, "Forgotten": {"boucle": 1}})
    assert list(matrix.wrong_counts([cell], complete=True)) == ["Forgotten was not run at all"]


def test_another_release_may_have_a_few_tests_more_or_fewer(matrix):
    assert matrix.agrees(110, 100, "0.0.0")
    assert not matrix.agrees(111, 100, "0.0.0")
    assert not matrix.agrees(0, 1, "0.0.0")
    assert not matrix.agrees(101, 100, matrix.RELEASE)
