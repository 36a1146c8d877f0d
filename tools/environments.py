"""One environment per Python: finds the interpreters, builds a wheel for each, installs it with what the tests need.

    python3 tools/environments.py build [--python 3.13|one] [--with test|bench|lint|nothing ...]
    python3 tools/environments.py list
    python3 tools/environments.py which

The viewer of `boucle top`, a program in Rust alone, is built once and installed in each.

Everything it makes lies inside of the clone: environments in .venv/, wheels in dist/, compiled code in target/.
An environment is rebuilt when the sources or the requirements have changed, and left alone otherwise.
"""

import argparse
import hashlib
import os
import re
import shutil
import subprocess
import sys
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent
SUPPORTED = ["3.10", "3.11", "3.12", "3.13", "3.14", "3.15"]
REQUIREMENTS = ["test", "bench", "lint"]
NOTHING = "nothing"
VIEWER = ROOT / "dist" / "top"
NONE_FOUND = f"no supported Python found (looked for {', '.join(SUPPORTED)} on PATH and in pyenv)"
VERSION = "import sys; print('%d.%d' % sys.version_info[:2] if sys.implementation.name == 'cpython' else '')"


def interpreters():
    """The supported Pythons of this machine, oldest first: {"3.13": path}. BOUCLE_PYTHONS, a list of versions, narrows
    them down."""
    wanted = os.environ.get("BOUCLE_PYTHONS", "").replace(",", " ").split() or SUPPORTED
    found = {}
    for candidate in _candidates():
        version = _version_of(candidate)
        if version in wanted and version not in found and version in SUPPORTED:
            found[version] = candidate
    return dict(sorted(found.items(), key=lambda item: SUPPORTED.index(item[0])))


def _candidates():
    for version in SUPPORTED:
        on_path = shutil.which(f"python{version}")
        if on_path:
            yield on_path
    pyenv = Path(os.environ.get("PYENV_ROOT", Path.home() / ".pyenv")) / "versions"
    for folder in sorted(pyenv.glob("3.*"), reverse=True):
        if (folder / "bin" / "python").exists():
            yield str(folder / "bin" / "python")
    yield sys.executable


def _version_of(python):
    """The version of an interpreter that works; None of one that does not (pyenv's shims of absent versions)."""
    try:
        result = subprocess.run([python, "-c", VERSION], capture_output=True, text=True, timeout=60)
    except OSError:
        return None
    return result.stdout.strip() if result.returncode == 0 else None


def python_of(version):
    """The interpreter of an environment."""
    return ROOT / ".venv" / version / "bin" / "python"


def build(version, interpreter, purposes=()):
    """Make the environment of a Python complete: boucle, and the requirements of each purpose."""
    folder = ROOT / ".venv" / version
    _make(folder, interpreter)
    for purpose in purposes:
        _install_requirements(folder, purpose)
    _once(folder / "boucle.stamp", _digest(_sources()), lambda: _install_boucle(version, python_of(version)))
    viewer = _digest(_viewer_sources())
    _once(ROOT / "dist" / "top.stamp", viewer, _build_viewer)
    _once(folder / "top.stamp", viewer, lambda: _install_wheel(python_of(version), VIEWER))


def _make(folder, interpreter):
    if not (folder / "bin" / "pip").exists():
        _say(f"making {folder.relative_to(ROOT)}")
        # Fails on Debian without the package python3-venv, and says so.
        _run([interpreter, "-m", "venv", str(folder)])


def _install_requirements(folder, purpose):
    requirements = ROOT / "tools" / "requirements" / f"{purpose}.txt"

    def install():
        _say(f"{folder.name}: installing {requirements.relative_to(ROOT)}")
        _run([str(folder / "bin" / "python"), "-m", "pip", "install", "--quiet", "-r", str(requirements)])

    _once(folder / f"{purpose}.stamp", _digest([requirements]), install)


def _install_boucle(version, python):
    _say(f"{version}: building the wheel")
    folder = ROOT / "dist" / version
    _build_wheel(folder, f"python{version}", "--interpreter", str(python))
    _install_wheel(python, folder)


def _build_viewer():
    _say("building the viewer of boucle top")
    # Optimised, without the slow steps of a release: they would double the time and it spends none itself.
    quick = {"CARGO_PROFILE_RELEASE_LTO": "off", "CARGO_PROFILE_RELEASE_CODEGEN_UNITS": "16"}
    _build_wheel(VIEWER, "top", "--manifest-path", "crates/boucle-top/Cargo.toml", environment=quick)


def _build_wheel(folder, target, *options, environment=None):
    maturin = _maturin()
    shutil.rmtree(folder, ignore_errors=True)
    environment = os.environ | {"CARGO_TARGET_DIR": str(ROOT / "target" / target)} | (environment or {})
    _run([maturin, "build", "--quiet", "--release", "--out", str(folder), *options], environment)


def _install_wheel(python, folder):
    (wheel,) = folder.glob("*.whl")
    _run([str(python), "-m", "pip", "install", "--quiet", "--no-deps", "--force-reinstall", str(wheel)])
    _say(f"{python.parent.parent.name}: {wheel.name}")


def _maturin():
    """The wheel builder, in an environment of its own."""
    folder = ROOT / ".venv" / "tools"
    _make(folder, sys.executable)
    _install_requirements(folder, "build")
    return str(folder / "bin" / "maturin")


def _sources():
    """What the wheel of boucle is made of."""
    yield from (ROOT / name for name in ("Cargo.toml", "Cargo.lock", "pyproject.toml", "README.md"))
    for path in _code("crates", "python"):
        if path.relative_to(ROOT).parts[:2] != ("crates", "boucle-top"):
            yield path


def _viewer_sources():
    """What the wheel of boucle-top is made of."""
    yield from (ROOT / name for name in ("Cargo.toml", "Cargo.lock"))
    yield from _code("crates/boucle-top", "crates/boucle-core", "crates/boucle-chronology")


def _code(*folders):
    for folder in folders:
        for path in sorted((ROOT / folder).rglob("*")):
            if path.is_file() and re.search(r"\.(rs|toml|py|pyi|typed)$", path.name):
                yield path


def _digest(paths):
    digest = hashlib.sha256()
    for path in paths:
        digest.update(str(path.relative_to(ROOT)).encode() + b"\0")
        digest.update(path.read_bytes() + b"\0")
    return digest.hexdigest()


def _once(stamp, digest, work):
    """Do the work unless it was done for this digest."""
    if stamp.exists() and stamp.read_text() == digest:
        return
    stamp.unlink(missing_ok=True)
    work()
    stamp.write_text(digest)


def _run(command, environment=None):
    try:
        subprocess.run(command, check=True, cwd=ROOT, env=environment)
    except subprocess.CalledProcessError as error:
        sys.exit(f"environments: `{' '.join(command)}` failed with status {error.returncode}")


def _say(message):
    print(f"environments: {message}", file=sys.stderr, flush=True)


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    commands = parser.add_subparsers(dest="command", required=True)
    commands.add_parser("list", help="print the Pythons that would be used")
    commands.add_parser("which", help="print the interpreter of the newest Python's environment")
    building = commands.add_parser("build", help="build and install boucle for each Python")
    building.add_argument("--python", help="only this version; 'one' for the newest found")
    building.add_argument(
        "--with",
        dest="purposes",
        nargs="+",
        action="extend",
        choices=[*REQUIREMENTS, NOTHING],
        help="lists of tools/requirements, or 'nothing' (default: test)",
    )
    options = parser.parse_args()
    found = interpreters()
    if not found:
        sys.exit(f"environments: {NONE_FOUND}")
    if options.command == "list":
        for version, path in found.items():
            print(version, path)
        return
    if options.command == "which":
        print(python_of(list(found)[-1]))
        return
    if options.python == "one":
        options.python = list(found)[-1]
    if options.python and options.python not in found:
        sys.exit(f"environments: Python {options.python} was not found (found: {', '.join(found)})")
    for version, interpreter in found.items():
        if options.python in (None, version):
            build(version, interpreter, [purpose for purpose in options.purposes or ["test"] if purpose != NOTHING])


if __name__ == "__main__":
    main()
