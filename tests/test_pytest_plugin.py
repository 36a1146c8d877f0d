"""The pytest plugin: tests run on boucle, and fail when they block it. Each run here is a pytest of its own."""

import os
import re

import pytest

from conftest import run_boucle

pytest_plugins = "pytester"

BLOCKING = """
import asyncio, time
import pytest

async def report():
    await asyncio.sleep(0)
    time.sleep(0.3)

async def chat():
    await asyncio.sleep(0.01)

async def both():
    await asyncio.gather(report(), chat())
"""
IS_OURS = "assert type(asyncio.get_running_loop()).__module__ == 'boucle._loop'"
# What leaves no doubt on a busy machine, since the steps of a fast test take no time at all.
LIMIT = "--boucle-max-block=200ms"


@pytest.fixture
def run(pytester, monkeypatch):
    """Runs pytest on a file. All warnings are errors there."""
    for name in [name for name in os.environ if name.startswith(("GITHUB_", "PYTEST_"))]:
        monkeypatch.delenv(name)
    pytester.makeini(
        "[pytest]\nfilterwarnings = error\naddopts = --strict-markers -p no:cacheprovider\n"
        "asyncio_default_fixture_loop_scope = function\n"
    )

    def run(source, *options):
        pytester.makepyfile(test_file=source)
        return pytester.runpytest_subprocess(*options)

    return run


def test_without_an_option_nothing_of_boucle_is_loaded(run):
    result = run(
        """
        import asyncio, sys
        import pytest

        @pytest.mark.boucle_max_block("1s")
        def test_it():
            assert "pytest_boucle" in sys.modules
            assert "boucle" not in sys.modules
            loop = asyncio.new_event_loop()
            assert type(loop).__module__.startswith("asyncio")
            loop.close()
        """
    )
    result.assert_outcomes(passed=1)
    result.stdout.no_fnmatch_line("*boucle*ran*")


def test_a_program_that_has_imported_boucle_can_run_pytest(run, pytester):
    pytester.makepyfile(test_file="def test(): pass")
    finished = run_boucle("run", "-m", "pytest", "-W", "error", str(pytester.path))
    assert finished.returncode == 0, finished.stderr
    assert "1 passed" in finished.stdout
    assert "rewritten" not in finished.stdout


def test_every_new_loop_is_ours(run):
    result = run(
        f"""
        import asyncio
        async def main():
            {IS_OURS}
        def test_run():
            asyncio.run(main())
        def test_new():
            loop = asyncio.new_event_loop()
            loop.run_until_complete(main())
            loop.close()
        def test_no_loop():
            pass
        """,
        "--boucle",
    )
    result.assert_outcomes(passed=3)
    result.stdout.fnmatch_lines(["boucle *: new event loops are boucle's", "boucle: 2 tests ran a boucle loop"])


@pytest.mark.parametrize("mark", ["asyncio", "anyio"])
def test_with_plugins_that_run_coroutines(run, mark):
    result = run(
        BLOCKING
        + f"""
@pytest.fixture
def anyio_backend():
    return "asyncio"

@pytest.mark.{mark}
async def test_fast():
    {IS_OURS}

@pytest.mark.{mark}
async def test_slow():
    {IS_OURS}
    await both()
""",
        LIMIT,
    )
    result.assert_outcomes(passed=1, failed=1)
    result.stdout.fnmatch_lines(["*event loop blocked * (at most 200 ms): Task-* (report) at test_file.py:*"])


def test_a_test_that_blocks_fails_with_the_picture(run):
    result = run(BLOCKING + "def test_slow(): asyncio.run(both())\ndef test_fast(): asyncio.run(chat())\n", LIMIT)
    result.assert_outcomes(passed=1, failed=1)
    result.stdout.fnmatch_lines(
        [
            "*event loop blocked * (at most 200 ms): Task-2 (report) at test_file.py:[56]*",
            "had to wait: Task-3 *s",
            "*Task-2 held the processor for*; Task-3 was ready and waited*",
            "processor *▓*",
            "*FAILED test_file.py::test_slow*",
        ]
    )


def test_a_test_that_fails_anyway_shows_both(run):
    result = run(BLOCKING + "def test_slow():\n    asyncio.run(both())\n    assert 1 == 2\n", LIMIT)
    result.assert_outcomes(failed=1)
    result.stdout.fnmatch_lines(["E*assert 1 == 2", "*boucle call*", "event loop blocked*"])


def test_fixtures_are_looked_at_too(run):
    result = run(
        BLOCKING
        + """
@pytest.fixture
def slow_setup():
    asyncio.run(both())

@pytest.fixture
def slow_teardown():
    yield
    asyncio.run(both())

def test_setup(slow_setup): pass
def test_teardown(slow_teardown): pass
""",
        LIMIT,
    )
    result.assert_outcomes(passed=1, errors=2)


def test_a_marker_excuses_or_tightens(run):
    result = run(
        BLOCKING
        + """
@pytest.mark.boucle_max_block("60s")
def test_excused(): asyncio.run(both())

@pytest.mark.boucle_max_block(None)
def test_free(): asyncio.run(both())

@pytest.mark.boucle_max_block("100ms")
def test_tight(): asyncio.run(both())

@pytest.mark.boucle_max_block("soon")
def test_wrong(): pass
""",
        "--boucle",
    )
    result.assert_outcomes(passed=2, failed=1, errors=2)
    result.stdout.fnmatch_lines(["*boucle_max_block: 'soon' is no time: write 50ms, 0.05s or 0.05"])


def test_a_wrong_time_is_a_wrong_call(run):
    result = run("", "--boucle-max-block=soon")
    assert result.ret == pytest.ExitCode.USAGE_ERROR
    result.stderr.fnmatch_lines(["ERROR: --boucle-max-block: 'soon' is no time: write 50ms, 0.05s or 0.05"])


def test_the_former_policy_is_put_back(run, pytester):
    pytester.makeconftest(
        """
        import asyncio, warnings
        import pytest

        def policy():
            with warnings.catch_warnings():
                warnings.simplefilter("ignore")
                return asyncio.get_event_loop_policy()

        former = policy()

        @pytest.hookimpl(trylast=True)
        def pytest_unconfigure():
            print("put back:", policy() is former)
        """
    )
    run("def test(): pass", "--boucle").stdout.fnmatch_lines(["put back: True"])


def test_chronologies_are_saved(run, pytester):
    result = run(
        BLOCKING
        + """
@pytest.mark.parametrize("name", ["a/b", "é", "z" * 300, "a b", "a_b"])
def test_names(name): asyncio.run(chat())
def test_slow(): asyncio.run(both())
def test_no_loop(): pass
""",
        "--boucle-record=new/folder",
    )
    result.assert_outcomes(passed=7)
    result.stdout.fnmatch_lines(["boucle: 6 tests ran a boucle loop; their chronologies are in *new/folder"])
    saved = sorted(path.name for path in (pytester.path / "new" / "folder").iterdir())
    assert len(saved) == 6
    assert all(re.fullmatch(r"test_file\.py--test_[\w.-]{1,210}\.(svg|html)", name, re.ASCII) for name in saved), saved
    (slow,) = (pytester.path / "new" / "folder").glob("test_file.py--test_slow.*")
    assert "test_file.py::test_slow" in slow.read_text()


def test_in_several_processes(run, pytester):
    pytest.importorskip("xdist")
    source = BLOCKING + "def test_slow(): asyncio.run(both())\ndef test_fast(): asyncio.run(chat())\n"
    result = run(source, "-n2", LIMIT, "--boucle-record=out")
    result.assert_outcomes(passed=1, failed=1)
    result.stdout.fnmatch_lines(["*had to wait: Task-3*", "boucle: 2 tests ran a boucle loop; *out"])
    assert len(list((pytester.path / "out").iterdir())) == 2


def test_github_is_told_which_line_blocked(run, monkeypatch, pytester):
    monkeypatch.setenv("GITHUB_ACTIONS", "true")
    monkeypatch.setenv("GITHUB_WORKSPACE", str(pytester.path.parent))
    result = run(BLOCKING + "def test_slow(): asyncio.run(both())\n", LIMIT)
    folder = pytester.path.name
    result.stdout.re_match_lines(
        [
            rf"::warning file={folder}/test_file\.py,line=\d+,title=event loop blocked [\d.]+ m?s::event loop blocked "
            r".*Task-2 \(report\) at test_file\.py:.*%0Ahad to wait: Task-3 [\d.]+ m?s%0A"
        ]
    )


def test_the_command_annotates_too(tmp_path, monkeypatch):
    program = tmp_path / "a,b%.py"
    program.write_text(BLOCKING.replace("import pytest", "") + "asyncio.run(both())\n")
    recorded = run_boucle(
        "record", "-o", tmp_path / "run.boucle", "--annotate", program, GITHUB_WORKSPACE=str(tmp_path)
    )
    shown = run_boucle("show", "--annotate", tmp_path / "run.boucle", GITHUB_WORKSPACE=str(tmp_path))
    for result in (recorded, shown):
        assert result.returncode == 0, result.stderr
        lines = [line for line in result.stdout.splitlines() if line.startswith("::")]
        assert len(lines) == 1, result.stdout
        assert re.match(
            r"::warning file=a%2Cb%25\.py,line=\d,title=event loop blocked [\d.]+ m?s::event loop.* a,b%25\.py:\d",
            lines[0],
        )
