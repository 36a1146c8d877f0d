"""Runs the tests of the core and of the chronology under the address sanitizer, which only nightly Rust has.

The extension module is left out: the interpreter it is loaded into would have to be built with the sanitizer as well.
"""

import re
import subprocess
import sys

from gate import Gate, target


def main():
    gate = Gate("sanitize")
    host = nightly_host()
    if host is None:
        gate.skip("address sanitizer", "no nightly Rust is installed here: rustup toolchain install nightly")
    else:
        gate.run(
            "address sanitizer",
            ["cargo", "+nightly", "test", "--target", host, "-p", "boucle-core", "-p", "boucle-chronology", "--tests"],
            target("sanitize") | {"RUSTFLAGS": "-Zsanitizer=address"},
        )
    sys.exit(gate.close())


def nightly_host():
    """The platform of the nightly toolchain; None where there is none."""
    try:
        result = subprocess.run(["rustc", "+nightly", "-vV"], capture_output=True, text=True)
    except OSError:
        return None
    host = re.search(r"^host: (\S+)", result.stdout, re.MULTILINE)
    return host.group(1) if result.returncode == 0 and host else None


if __name__ == "__main__":
    main()
