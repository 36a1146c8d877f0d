"""The REPL, driven as a person drives it: through a terminal."""

import os
import re
import sys

import pexpect
import pytest

ESCAPES = re.compile(r"\x1b\[[0-9;?]*[a-zA-Z]|\x1b[=>]|\r")


@pytest.fixture(params=["basic", "full"])
def repl(request, tmp_path):
    environment = {name: value for name, value in os.environ.items() if not name.startswith("PYTHON")}
    environment |= {"TERM": "xterm", "NO_COLOR": "1"}
    environment |= {"PYTHON_HISTORY": str(tmp_path / "history"), "HOME": str(tmp_path)}
    if request.param == "basic":
        environment["PYTHON_BASIC_REPL"] = "1"
    child = pexpect.spawn(sys.executable, ["-m", "boucle"], env=environment, encoding="utf-8", timeout=30)
    child.setwinsize(40, 200)
    yield child
    child.close(force=True)


def say(repl, line, expected):
    repl.sendline(line)
    repl.expect(expected)


def test_a_session(repl):
    repl.expect("boucle REPL 3")
    repl.expect('Use "await" directly instead of "asyncio.run\\(\\)"')
    repl.expect("import asyncio")
    say(repl, "6 * 7", "42")
    say(repl, "await asyncio.sleep(0.01, 'slept' + ' well')", "'slept well'")
    say(repl, "type(asyncio.get_running_loop()).__module__", "boucle._loop")
    say(repl, "1 / 0", "ZeroDivisionError: division by zero")
    say(repl, "x = await asyncio.sleep(0, 'kept' * 2)", ">>>")
    say(repl, "x", "'keptkept'")
    # Only a REPL that waits for a line takes the end of the input.
    repl.expect(">>> ")
    repl.sendeof()
    repl.expect("exiting boucle REPL")
    repl.expect(pexpect.EOF)


def test_ctrl_c_ends_the_await_and_not_the_session(repl):
    repl.expect("import asyncio")
    repl.sendline("print('be' + 'gun'); await asyncio.sleep(60)")
    repl.expect("begun")
    # The REPL of 3.14 may lose an interrupt that comes just when a step ends, asyncio's as ours: one presses again.
    for _ in range(5):
        repl.sendintr()
        if repl.expect(["KeyboardInterrupt", pexpect.TIMEOUT], timeout=3) == 0:
            break
    say(repl, "'still ' + 'here'", "'still here'")


def test_tab_completes(repl):
    repl.expect("import asyncio")
    say(repl, "unmistakable_name = 'com' + 'pleted'", ">>>")
    repl.send("unmistakable_n\t")
    repl.expect("ame")
    repl.sendline("")
    repl.expect("'completed'")
