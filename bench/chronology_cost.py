"""What the recorder and the watchdog cost a uvicorn server, in instructions of user space for one request.

    python bench/chronology_cost.py [PAIRS]      default 3; needs uvicorn and valgrind; a minute or two a pair

A server runs under callgrind and answers 500 requests, another one 2,500, each over one connection: their difference,
divided by 2,000, is a request without the start of the process. That is done with the recorder and the watchdog on, and
with both off, in turns. Under valgrind all is about fifty times slower, so the watchdog's threshold is 5 s: it looks
after the loop as it does otherwise, and finds no starvation.

Nothing here passes or fails.
"""

import os
import re
import signal
import socket
import statistics
import subprocess
import sys
import tempfile
from pathlib import Path

FEW, MANY = 500, 2_500
REQUEST = b"GET / HTTP/1.1\r\nHost: localhost\r\n\r\n"
APPLICATION = """
async def app(scope, receive, send):
    await send({"type": "http.response.start", "status": 200, "headers": [(b"content-type", b"text/plain")]})
    await send({"type": "http.response.body", "body": b"hello"})
"""
OFF = {"BOUCLE_RECORD": "0"}
ON = {"BOUCLE_WATCH": "5s"}


def instructions(requests, setting):
    """Instructions of a whole server that answers so many requests."""
    with tempfile.TemporaryDirectory() as folder:
        (Path(folder) / "hello.py").write_text(APPLICATION)
        counts = Path(folder) / "counts"
        valgrind = ["valgrind", "--tool=callgrind", f"--callgrind-out-file={counts}"]
        uvicorn = ["-m", "uvicorn", "hello:app", "--port", "0", "--no-access-log", "--lifespan", "off"]
        clean = {name: value for name, value in os.environ.items() if not name.startswith("BOUCLE_")}
        process = subprocess.Popen(
            [*valgrind, sys.executable, *uvicorn, "--loop", "boucle:new_event_loop"],
            cwd=folder,
            env=clean | {"PYTHONHASHSEED": "0"} | setting,
            stderr=subprocess.PIPE,
            text=True,
        )
        port = next(
            int(found.group(1))
            for line in process.stderr
            if (found := re.search(r"running on http://127\.0\.0\.1:(\d+)", line))
        )
        with socket.create_connection(("127.0.0.1", port)) as client:
            for _ in range(requests):
                client.sendall(REQUEST)
                answer = b""
                while not answer.endswith(b"0\r\n\r\n"):
                    answer += client.recv(65536)
        process.send_signal(signal.SIGINT)
        process.stderr.read()
        process.wait()
        return int(re.search(r"^(?:totals|summary): (\d+)", counts.read_text(), re.MULTILINE).group(1))


def per_request(setting):
    return (instructions(MANY, setting) - instructions(FEW, setting)) / (MANY - FEW)


def main():
    pairs = int(sys.argv[1]) if len(sys.argv) > 1 else 3
    ratios = []
    for number in range(pairs):
        both = {}
        for name, setting in (("off", OFF), ("on", ON)) if number % 2 else (("on", ON), ("off", OFF)):
            both[name] = per_request(setting)
        ratios.append(both["on"] / both["off"])
        print(f"pair {number + 1}: on {both['on']:,.0f}, off {both['off']:,.0f}, on/off {ratios[-1]:.4f}", flush=True)
    print(f"on/off: median {statistics.median(ratios):.4f}, from {min(ratios):.4f} to {max(ratios):.4f}")


if __name__ == "__main__":
    main()
