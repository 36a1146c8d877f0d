"""The budgets of bench/budget.py: what has become more expensive fails, and what is counted is what is there."""

import json
import shutil
import sys
from pathlib import Path

import pytest

from conftest import run_python
from system_calls import need_strace

FOLDER = Path(__file__).resolve().parent.parent / "bench"

PROFILE = """\
positions: line
events: Ir
summary: 160

ob=/lib/boucle/_boucle.so
fl=???
fn=turn
0 7
cob=/lib/libpython.so
cfn=call
calls=2 0
0 153
+3 5
fn=step
* 8
ob=/lib/libpython.so
fn=call
-2 100
cob=/lib/boucle/_boucle.so
cfn=step
calls=1 0
* 40
12 40
"""


@pytest.fixture
def bench(monkeypatch):
    """The modules of the folder bench can be imported."""
    monkeypatch.syspath_prepend(str(FOLDER))


def budget(*arguments):
    return run_python(FOLDER / "budget.py", *arguments)


def scale(path, what, factor):
    """Change the budgets for `what` by a factor."""
    (part,) = (budgets := json.loads(path.read_text())).values()
    for numbers in part["rows"].values():
        numbers[what] *= factor
    path.write_text(json.dumps(budgets))


@pytest.mark.parametrize(
    ("counted", "allowed", "verdict"),
    [
        (105, 100, ""),
        (106, 100, "over"),
        (95, 100, ""),
        (94, 100, "better"),
        (0.01, 0, ""),
        (0.02, 0, "over"),
        (0, 1.0, "better"),
        (1.0, None, "no budget"),
    ],
)
def test_a_count_may_be_five_per_cent_over_its_budget(bench, counted, allowed, verdict):
    import allowances

    assert allowances.Comparison("row", "calls", counted, allowed).verdict == verdict


def test_calls_that_are_new_and_calls_that_are_gone_are_compared_with_none(bench):
    import allowances

    counted = {"server": {"calls": 3.0, "recvfrom": 1.0, "poll": 1.0}}
    budgets = {"server": {"calls": 3.0, "recvfrom": 1.0, "epoll_wait": 1.0}}
    comparisons = allowances.compare(counted, budgets, is_same_python=True)
    assert {each.what: each.verdict for each in comparisons} == {
        "calls": "",
        "recvfrom": "",
        "poll": "over",
        "epoll_wait": "better",
    }


@pytest.mark.parametrize(("is_same_python", "compared"), [(True, ["own", "all"]), (False, ["own"])])
def test_the_whole_process_is_compared_on_the_same_python_only(bench, is_same_python, compared):
    import allowances

    row = {"row": {"own": 10, "all": 100}}
    assert [each.what for each in allowances.compare(row, row, is_same_python)] == compared


def test_budgets_are_read_as_they_were_written(bench, tmp_path):
    import allowances

    path = tmp_path / "budget.json"
    assert allowances.read(path) == {}
    part = {"made by": allowances.makers(), "rows": {"turn": {"own": 1, "all": 2}, "server": {"calls": 3.0}}}
    allowances.write(path, {"3.13 x86_64": part, "3.12 x86_64": part})
    assert allowances.read(path) == {"3.13 x86_64": part, "3.12 x86_64": part}


def test_what_a_call_costs_belongs_to_the_library_that_is_called(bench):
    import instructions

    costs = instructions.self_costs(PROFILE.splitlines())
    assert costs == {"/lib/boucle/_boucle.so": 20, "/lib/libpython.so": 140}


def test_the_budgets_of_the_clone_are_whole(bench):
    import allowances

    for part in allowances.read(FOLDER / "budget.json").values():
        assert part["made by"].keys() == allowances.makers().keys()
        assert all({"own", "all"} == numbers.keys() or "calls" in numbers for numbers in part["rows"].values())


def test_help_says_what_it_does():
    result = budget("--help")
    assert result.returncode == 0
    assert "--update" in result.stdout


def test_a_python_without_budgets_is_told_how_to_make_them(tmp_path):
    need_strace()
    result = budget("--file", tmp_path / "none.json", "--only", "^tcp_protocol$")
    assert result.returncode == 2
    assert f"{sys.executable} {FOLDER / 'budget.py'} --update" in result.stderr


def test_a_pattern_that_matches_nothing_is_an_error():
    result = budget("--only", "no such row")
    assert (result.returncode, result.stdout) == (2, "")


def test_a_server_that_asks_more_of_the_kernel_fails(tmp_path):
    need_strace()
    path = tmp_path / "budget.json"
    arguments = ["--file", path, "--only", "^tcp_protocol$"]
    made = budget(*arguments, "--update", "--json", tmp_path / "counted.json")
    assert made.returncode == 0, made.stderr
    counted = json.loads((tmp_path / "counted.json").read_text())["rows"]["tcp_protocol"]
    assert counted["calls"] == pytest.approx(3, 0.02), "it is woken, receives and sends"
    assert budget(*arguments).returncode == 0
    scale(path, "calls", 0.9)
    result = budget(*arguments)
    assert result.returncode == 1
    assert "more than 5% over the budget: tcp_protocol" in result.stdout


def test_a_loop_that_takes_more_instructions_fails(tmp_path):
    if shutil.which("valgrind") is None:
        pytest.skip("valgrind is not installed")
    path = tmp_path / "budget.json"
    arguments = ["--file", path, "--only", "^loop_lifetime$"]
    made = budget(*arguments, "--update")
    assert made.returncode == 0, made.stderr
    scale(path, "own", 0.9)
    result = budget(*arguments)
    assert result.returncode == 1
    assert "more than 5% over the budget: loop_lifetime" in result.stdout
