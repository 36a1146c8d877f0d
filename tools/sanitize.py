"""Runs tests under the address sanitizer, which only nightly Rust has: those of the core and of the chronology, then
those of the native classes on the newest Python found.

The interpreter is not built with the sanitizer. Its allocations go through it all the same, since PYTHONMALLOC takes
the interpreter's own allocator away; the C compiler's runtime is loaded first, for an extension module brings none.
"""

import re
import shutil
import subprocess
import sys
from pathlib import Path

import environments
from gate import ROOT, Gate, target

# With cfg(sanitized) freed objects are given back to the allocator at once.
SANITIZER = {"RUSTFLAGS": "-Zsanitizer=address --cfg sanitized"}
FOLDER = ROOT / "build" / "sanitized"
# What the native classes are used for. Not in here: tests that start other programs, and those that count memory.
TESTS = [
    "test_tasks.py",
    "test_futures.py",
    "test_task_factories.py",
    "test_finding_tasks.py",
    "test_handles.py",
    "test_scheduling.py",
    "test_watching.py",
]


def main():
    gate = Gate("sanitize")
    host = nightly_host()
    if host is None:
        gate.skip("address sanitizer", "no nightly Rust is installed here: rustup toolchain install nightly")
    else:
        core = ["-p", "boucle-core", "-p", "boucle-chronology", "--tests"]
        gate.run("core", ["cargo", "+nightly", "test", "--target", host, *core], target("sanitize") | SANITIZER)
        extension(gate, host)
    sys.exit(gate.close())


def extension(gate, host):
    """The tests of the native classes."""
    found = environments.interpreters()
    runtime = sanitizer_runtime()
    if not found or runtime is None:
        gate.skip("extension module", environments.NONE_FOUND if not found else "the C compiler has no libasan.so")
        return
    version = list(found)[-1]
    variables = {"PYO3_PYTHON": found[version], "PYO3_BUILD_EXTENSION_MODULE": "1"}
    build = ["cargo", "+nightly", "build", "--target", host, "-p", "boucle-python"]
    tools = [sys.executable, ROOT / "tools" / "environments.py", "build", "--python", version, "--with", "test"]
    if not gate.run("extension module, build", build, target("sanitize") | SANITIZER | variables):
        return
    if not gate.run(f"extension module, Python {version}", tools):
        return
    shutil.rmtree(FOLDER, ignore_errors=True)
    shutil.copytree(ROOT / "python" / "boucle", FOLDER / "boucle", ignore=shutil.ignore_patterns("__pycache__"))
    shutil.copy(ROOT / "target" / "sanitize" / host / "debug" / "lib_boucle.so", FOLDER / "boucle" / "_boucle.so")
    settings = {
        "LD_PRELOAD": str(runtime),
        # What the interpreter still holds when it ends is no leak of ours. It catches faults by itself in some tests.
        "ASAN_OPTIONS": "detect_leaks=0:handle_segv=0",
        "PYTHONMALLOC": "malloc",
        "PYTHONPATH": str(FOLDER),
    }
    tests = [ROOT / "tests" / name for name in TESTS]
    gate.run("extension module, tests", [environments.python_of(version), "-m", "pytest", "-q", *tests], settings)


def sanitizer_runtime():
    """The C compiler's runtime of the sanitizer; None where it has none."""
    result = subprocess.run(["cc", "-print-file-name=libasan.so"], capture_output=True, text=True)
    path = Path(result.stdout.strip())
    return path if path.is_absolute() and path.exists() else None


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
