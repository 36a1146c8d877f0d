"""The rows over the network: a server on one core, `boucle-load` on another, and the kernel's own account of it.

A figure is nanoseconds of CPU that all threads of the server used for one message. It does not depend on whether server
or client was the bottleneck; messages a second and latencies do.

# What is alike for all

Server and client are started anew for each figure. They run under SCHED_FIFO where that is permitted, so that nothing
else takes their core. `boucle-load serve`, which has no loop, takes part in each row that it can serve: the floor.

glibc gives a block of 128 KiB or more its own mapping until a larger one has been freed, and then raises that
threshold. Whoever reads into a new buffer of 256 KiB (asyncio, rloop, and uvloop over TLS) pays three system calls a
read until then, which no long-lived program goes on doing. So servers free a large block first, but for the rows that
say *fresh process*.
"""

import dataclasses
import importlib
import importlib.util
import json
import os
import shutil
import subprocess
import sys
import tempfile
from pathlib import Path

import certificate
from loops import Competitor
from processes import WorkerError, clean_environment, end, last_line, target_of

HERE = Path(__file__).resolve().parent
ROOT = HERE.parent

FLOOR = Competitor("floor", "", lacks=frozenset({"http"}))
"""The echo server in Rust, next to the loops."""

WARM_UP = 0.1
"""Seconds that the client drives the server before it measures."""

PATIENCE = 10
"""Seconds after which a server that does not listen, or a client that does not end, has failed."""

FRESH = ", fresh process"

CHECKED = 0.1
"""Seconds that a row is measured in the first round, which is dropped: boucle's steps are counted in it."""


@dataclasses.dataclass(frozen=True)
class Row:
    """What is served, and how it is driven."""

    name: str
    title: str
    kind: str
    """Of the server, see servers.py."""
    scheme: str = "tcp"
    connections: int = 10
    size: int = 1024
    depth: int = 1
    """Messages that a request holds."""
    is_fresh: bool = False
    """Whether the server's malloc is as a process begins with it. Otherwise the server first frees a large block."""
    is_quick: bool = False
    """Whether the short run has it."""

    has_ratio = True

    @property
    def needs(self):
        """What a loop must have to take part."""
        if self.kind.endswith("_hello"):
            return {"http"}
        return {self.scheme} - {"tcp", "udp"}


def _rows():
    kib, title = 1024, "TCP, Protocol, 1 KiB, {} connections"
    yield Row("tcp_protocol_10", title.format(10), "tcp_protocol", is_quick=True)
    yield Row("tcp_protocol_fresh", title.format(10) + FRESH, "tcp_protocol", is_fresh=True)
    yield Row("tcp_protocol_100", title.format(100), "tcp_protocol", connections=100)
    yield Row("tcp_protocol_1000", title.format("1,000"), "tcp_protocol", connections=1000)
    for count in 10, 100:
        quick = count == 10
        title = f"Streams of %s, 1 KiB, {count} connections"
        yield Row(f"streams_{count}", title % "asyncio", "tcp_streams", connections=count, is_quick=quick)
        yield Row(f"own_streams_{count}", title % "boucle", "tcp_own_streams", connections=count, is_quick=quick)
    for name, kind, whose in ("streams", "tcp_streams", "asyncio"), ("own_streams", "tcp_own_streams", "boucle"):
        title = f"Streams of {whose}, 100 KiB, 10 connections"
        quick = name == "streams"
        yield Row(f"{name}_100k", title + FRESH, kind, size=100 * kib, is_fresh=True, is_quick=quick)
        yield Row(f"{name}_100k_freed", title, kind, size=100 * kib)
    for size, text in (64, "64 B"), (kib, "1 KiB"), (10 * kib, "10 KiB"), (100 * kib, "100 KiB"):
        title = f"BufferedProtocol, {text}, 10 connections"
        yield Row(f"buffered_{size}", title, "tcp_buffered", size=size, is_quick=size == kib)
    yield Row("sock_10", "sock_recv and sock_sendall, 1 KiB, 10 connections", "tcp_sock", is_quick=True)
    yield Row(
        "pieces_10", "16 writes of 64 B in a step, 10 connections", "tcp_pieces", size=64, depth=16, is_quick=True
    )
    yield Row("unix_10", "Unix, 1 KiB, 10 connections", "unix_protocol", "unix", is_quick=True)
    yield Row("udp_10", "UDP, 1 KiB, 10 clients", "udp_protocol", "udp", is_quick=True)
    title, tls = "TLS, 1 KiB, 10 connections", ("tls_protocol", "tls")
    yield Row("tls_10", title + FRESH, *tls, is_fresh=True, is_quick=True)
    yield Row("tls_10_freed", title, *tls, is_quick=True)
    title = "TLS, 100 KiB, 1 connection" + FRESH
    yield Row("tls_100k", title, *tls, connections=1, size=100 * kib, is_fresh=True, is_quick=True)
    for name in "uvicorn", "aiohttp":
        for count in 10, 100:
            title = f"{name}, hello, {count} connections"
            yield Row(f"{name}_{count}", title, f"{name}_hello", connections=count, is_quick=count == 10)


ROWS = {row.name: row for row in _rows()}


class Network:
    """Where rows are measured: two cores, the load generator, a certificate."""

    def __init__(self, seconds, realtime):
        cores = sorted(os.sched_getaffinity(0))
        if len(cores) < 2:
            raise WorkerError("needs two cores: one for the server, one for the client")
        self._server_core, self._client_core = cores[:2]
        self._seconds = seconds
        self._under = ["chrt", "-f", "1"] if realtime and _may_be_realtime() else []
        self._load, self._has_tls = _build_load()
        self._folder = Path(tempfile.mkdtemp(prefix="boucle-bench-"))
        self._certificate = certificate.make(self._folder / "certificate.pem") if self._has_tls else None

    def __enter__(self):
        return self

    def __exit__(self, *exception):
        shutil.rmtree(self._folder)

    def describe(self):
        """How server and client run, in words."""
        how = "under SCHED_FIFO" if self._under else "under the usual scheduler"
        return f"server on core {self._server_core}, client on core {self._client_core}, {how}"

    def can(self, row):
        """Whether a row can be measured here."""
        if row.kind == "tcp_own_streams" and not boucle_has_streams():
            return False
        return row.scheme != "tls" or self._has_tls

    def take(self, row, competitor, number):
        """Measures a row on a loop, or the floor."""
        is_warm_up = number == 0
        with tempfile.TemporaryFile("w+") as said:
            server = self._start(row, competitor, is_warm_up, said)
            try:
                target = self._target(row, server, said)
                sample = self._drive(row, target, server.pid, CHECKED if is_warm_up else self._seconds)
                if competitor is not FLOOR:
                    sample |= _end_of(server, said)
            finally:
                end(server)
        if is_warm_up and competitor.is_recorded:
            steps, recorded = sample["steps"], sample["recorded"]
            if not recorded == steps > 0:
                raise WorkerError(f"{steps} steps ran, and the recorder wrote {recorded}")
        return sample

    def _start(self, row, competitor, is_checked, said):
        if competitor is FLOOR:
            address = self._folder / "floor" if row.scheme == "unix" else "127.0.0.1:0"
            command = [self._load, "serve", f"{row.scheme}:{address}"]
        else:
            command = [sys.executable, HERE / "server.py", competitor.name, row.kind]
            command += ["--check"] * is_checked + ["--after-large-free"] * (not row.is_fresh)
        command += ["--core", self._server_core]
        if row.scheme == "tls":
            command += ["--certificate", self._certificate]
        return subprocess.Popen(
            [*self._under, *map(str, command)],
            env=clean_environment(competitor),
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=said,
            text=True,
        )

    def _target(self, row, server, said):
        """What the server says that it listens on."""
        where = target_of(server, said, PATIENCE)
        if where.isdecimal():
            return f"{row.scheme}:127.0.0.1:{where}"
        return where or f"{row.scheme}:{self._folder / 'floor'}"

    def _drive(self, row, target, pid, seconds):
        command = [*self._under, self._load, "drive", target, "--server-pid", pid, "--core", self._client_core]
        command += ["--connections", row.connections, "--size", row.size, "--depth", row.depth]
        command += ["--seconds", seconds, "--warm-up", WARM_UP]
        if "http" in row.needs:
            command += ["--http", "/"]
        try:
            client = subprocess.run([*map(str, command)], capture_output=True, text=True, timeout=PATIENCE + seconds)
        except subprocess.TimeoutExpired:
            raise WorkerError("the client did not end: the server does not answer") from None
        if client.returncode:
            raise WorkerError((client.stderr.splitlines() or ["the client said nothing"])[-1])
        sample = json.loads(client.stdout)
        if not sample["messages"]:
            raise WorkerError("the server answered nothing")
        sample["figure"] = sample["server_cpu_nanoseconds"] / sample["messages"]
        return sample


def _end_of(server, said):
    """Ends a server, and returns what it reports."""
    try:
        report, _ = server.communicate(timeout=PATIENCE)
        return json.loads(report)
    except (subprocess.TimeoutExpired, ValueError):
        raise WorkerError(f"the server did not end as it should: {last_line(said)}") from None


def boucle_has_streams():
    """Whether boucle has streams of its own."""
    return importlib.util.find_spec("boucle") and hasattr(importlib.import_module("boucle"), "start_server")


def _may_be_realtime():
    return shutil.which("chrt") is not None and not subprocess.run(["chrt", "-f", "1", "true"], stderr=-3).returncode


def _build_load():
    """Builds the load generator. Where it is, and whether it speaks TLS."""
    if shutil.which("cargo") is None:
        raise WorkerError("needs cargo, to build bench/load")
    has_tls = shutil.which("openssl") and shutil.which("pkg-config")
    has_tls = bool(has_tls) and not subprocess.run(["pkg-config", "--exists", "openssl"]).returncode
    command = ["cargo", "build", "--release", "--quiet", "--package", "boucle-load"]
    result = subprocess.run(command + ["--features", "tls"] * has_tls, cwd=ROOT)
    if result.returncode:
        raise WorkerError("bench/load does not build")
    target = Path(os.environ.get("CARGO_TARGET_DIR", ROOT / "target"))
    return ROOT / target / "release" / "boucle-load", has_tls
