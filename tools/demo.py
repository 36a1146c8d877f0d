"""Shows what boucle does: records two programs, in Python and in Rust, and draws who ran and who had to wait."""

import subprocess
import sys

import environments
from gate import ROOT

OUT = ROOT / "out"
PROGRAMS = ["pieces", "starvation"]


def run(*command):
    """Run a command with its output shown; end with its status if it fails."""
    words = [str(word) for word in command]
    print(f"\n$ {' '.join(word.removeprefix(f'{ROOT}/') for word in words)}", flush=True)
    status = subprocess.run(words, cwd=ROOT).returncode
    if status:
        sys.exit(status)


def main():
    found = environments.interpreters()
    if not found:
        sys.exit(f"demo: {environments.NONE_FOUND}")
    version, interpreter = list(found.items())[-1]
    environments.build(version, interpreter)
    boucle = environments.python_of(version).with_name("boucle")
    OUT.mkdir(exist_ok=True)
    for program in PROGRAMS:
        recording = OUT / f"{program}.boucle"
        run(boucle, "record", "-o", recording, ROOT / "examples" / f"{program}.py")
        run(boucle, "show", recording)
        for kind in ("svg", "html"):
            run(boucle, "show", recording, "-o", OUT / f"{program}.{kind}")
    for program in PROGRAMS:
        run("cargo", "run", "--release", "-p", "boucle", "--example", program)
    print("\nThe pictures, for a browser:")
    for program in PROGRAMS:
        print(f"    {OUT.name}/{program}.svg, {OUT.name}/{program}.html")


if __name__ == "__main__":
    main()
