"""The process of a server that a network row measures.

    python bench/server.py LOOP KIND [--core N] [--certificate PEM] [--after-large-free] [--check]

Says `ready TARGET`, serves until its standard input ends, and then prints one line of JSON: the loop's counts. To look
into one (perf, callgrind, strace), start it by hand, and drive it:

    .venv/3.13/bin/python bench/server.py boucle tcp_protocol --core 0
    target/release/boucle-load drive tcp:127.0.0.1:PORT --connections 10 --seconds 5 --core 1 --server-pid PID

`network.py` starts it. Garbage collection and all else is as a program finds it.
"""

import argparse
import asyncio
import contextlib
import json
import os
import sys
import tempfile
from pathlib import Path

from loops import COMPETITORS
from servers import KINDS, Place

LARGE = 8 << 20
"""Bytes. Up to 32 MiB, glibc takes the size of a block that it gives back to the kernel as its new threshold: smaller
ones come from the heap from then on."""


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("loop", choices=COMPETITORS)
    parser.add_argument("kind", choices=KINDS)
    parser.add_argument("--core", type=int, help="the core to run on")
    parser.add_argument("--certificate", type=Path, help="for TLS: a PEM file with key and certificate")
    parser.add_argument("--after-large-free", action="store_true", help="give a large block back to malloc first")
    parser.add_argument("--check", action="store_true", help="count what boucle's recorder wrote, which takes a while")
    options = parser.parse_args()
    if options.core is not None:
        os.sched_setaffinity(0, {options.core})
    if options.after_large_free:
        block = bytearray(LARGE)
        del block
    competitor = COMPETITORS[options.loop]
    with tempfile.TemporaryDirectory() as folder:
        report = serve(competitor, KINDS[options.kind], Place(Path(folder), options.certificate), options.check)
    print(json.dumps(report), flush=True)
    # Connections are open; what a loop does about them when a process ends is nobody's figure.
    os._exit(0)


def serve(competitor, kind, place, check):
    """Serves until standard input ends. What is to be known afterwards."""

    serving = kind(place)

    async def run():
        stop = loop.create_future()
        target = await anext(serving)
        loop.add_reader(sys.stdin.fileno(), lambda: stop.done() or stop.set_result(None))
        print(f"ready {target}", flush=True)
        await stop

    loop = competitor.new_event_loop()
    asyncio.set_event_loop(loop)
    with _recording(competitor, check) as chronology:
        loop.run_until_complete(run())
    report = {}
    if competitor.is_recorded:
        report["steps"] = loop._counts()[1]
    if chronology is not None:
        report["recorded"] = len(chronology.steps) + chronology.lost
    return report


def _recording(competitor, check):
    if check and competitor.is_recorded:
        import boucle

        return boucle.record()
    return contextlib.nullcontext()


if __name__ == "__main__":
    main()
