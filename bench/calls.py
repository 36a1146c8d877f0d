"""Counting what a server asks of the kernel for one message, by the names of the system calls.

A server of the network rows runs under strace, twice: for a few messages of a client in lockstep, and for many. Their
difference, divided by the messages between them, leaves out the start and the end of the process.
"""

import collections
import importlib.util
import re
import subprocess
import sys
import tempfile
from pathlib import Path

import certificate
import lockstep
from network import boucle_has_streams
from processes import WorkerError, clean_environment, end, last_line, target_of
from servers import KINDS

SERVER = Path(__file__).resolve().parent / "server.py"

FEW, MANY = 100, 1_100

PATIENCE = 60
"""Seconds in which a server must listen, and in which it must end."""

HTTP = "_hello"
"""What the names of the kinds end with that serve HTTP. Before it stands the library that does."""

TOTAL = "calls"
"""The name of all calls together."""

FIRST = re.compile(r"\d+ +(\w+)\(")
"""Process or thread, and a call. The line on which one that was interrupted by another goes on begins otherwise."""


def kinds():
    """The servers that can run here."""
    return [kind for kind in KINDS if _is_there(kind)]


def _is_there(kind):
    if kind == "tcp_own_streams":
        return boucle_has_streams()
    return not kind.endswith(HTTP) or importlib.util.find_spec(kind.removesuffix(HTTP)) is not None


def per_message(competitor, kind):
    """System calls for one message, {name: number}, and all together."""
    few, many = (_calls(competitor, kind, messages) for messages in (FEW, MANY))
    # Whatever does not come with the messages, such as a heap that grows, is no part of one.
    numbers = {name: round((many[name] - few[name]) / (MANY - FEW), 2) for name in sorted(many)}
    numbers = {name: number for name, number in numbers.items() if number > 0}
    return {TOTAL: round(sum(numbers.values()), 2), **numbers}


def _calls(competitor, kind, messages):
    """The system calls of a whole server that answers so many messages, {name: number}."""
    with tempfile.TemporaryDirectory() as folder, tempfile.TemporaryFile("w+") as said:
        trace = Path(folder) / "trace"
        command = ["strace", "-f", "-e", "signal=none", "-o", trace, sys.executable, SERVER, competitor.name, kind]
        command += ["--after-large-free"]
        if kind.startswith("tls"):
            command += ["--certificate", certificate.make(Path(folder) / "certificate.pem")]
        server = subprocess.Popen(
            [*map(str, command)],
            env=clean_environment(competitor) | {"PYTHONHASHSEED": "0"},
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=said,
            text=True,
        )
        try:
            target = target_of(server, said, PATIENCE)
            lockstep.drive(target, _only_child(server.pid), messages, kind.endswith(HTTP))
            server.communicate(timeout=PATIENCE)
        except (OSError, subprocess.TimeoutExpired) as error:
            raise WorkerError(f"{error}: {last_line(said)}") from None
        finally:
            end(server)
        return collections.Counter(
            found.group(1) for line in trace.read_text(errors="replace").splitlines() if (found := FIRST.match(line))
        )


def _only_child(process):
    """The process that strace has started."""
    return int(Path(f"/proc/{process}/task/{process}/children").read_text())
