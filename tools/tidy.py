"""Checks what linters cannot: forbidden arrows, where unsafe may stand, who reads a clock, licences, links, sizes.

    python3 tools/tidy.py               check the files of the working tree
    python3 tools/tidy.py --self-test   show that each check can fail

A check takes the files, {path: text}, and yields what it found. Exceptions stand in this file, each with its reason; an
exception that is not needed any more is a finding too.
"""

import ast
import json
import posixpath
import re
import subprocess
import sys
import unittest

import crate_graph
from finding import Finding
from gate import ROOT
from source_text import body, line_at, lines_of_code, rust_code, without_tests

UNSAFE = {
    "crates/boucle-chronology/tests/allocation.rs": "counts allocations: a global allocator is an unsafe trait",
    "crates/boucle-core/src/attendant.rs": "the mask of signals that a new thread inherits",
    "crates/boucle-core/src/clock.rs": "reads the time stamp counter, and the processor time of a thread",
    "crates/boucle-core/src/reactor/epoll.rs": "epoll_pwait2, which rustix does not have at its full resolution",
    "crates/boucle-core/src/recorder/mapping.rs": "the memory of the recorder, which others read",
    "crates/boucle-core/src/socket.rs": "a descriptor that a Python object owns, for the time of one call",
    "crates/boucle-python/src/raw/": "the unsafe floor: CPython's C API",
    "crates/boucle-python/src/directory.rs": "takes a code object that its caller borrows",
    "crates/boucle-python/src/frames.rs": "reads CPython's frames in place",
    "crates/boucle-python/src/handle.rs": "the slots of a hot type, and its view as a base class",
    "crates/boucle-python/src/stacks/memory.rs": "the system calls that copy our own memory",
    "crates/boucle-python/src/task.rs": "a task's value begins with its future's",
    "crates/boucle-python/src/witness.rs": "looks into callbacks without asking their attributes",
}
CLOCK = "crates/boucle-core/src/clock.rs"
CLOCKS = (CLOCK, "bench/load/src/clock.rs")
MAY_IMPORT_NATIVE = {
    "python/boucle/": "the package is the extension module's only user",
    "tests/conftest.py": "has contexts kept and entered in both ways",
    "tests/differential/": "tells the native classes which mistake to make",
    "tests/stacks/": "reads frames, which the package has no function for",
    "tests/test_panics.py": "arms the slots of the native classes",
}
LONG_FILES = {
    "crates/boucle-python/src/handle.rs": "two classes of one layout, which share fields, life and slots",
}
LONGEST = 400
INVENTED_PEOPLE = {"me", "ada"}  # of /home/ada/shop.py and the like, in tests

# What code of a folder must not contain, why, and what to do instead.
ARROWS = [
    (
        "crates/boucle-chronology/src/",
        r"\bstd::(?:fs|net|process|time|thread|env|os)\b|\bstd::\{[^}]*\b(?:fs|net|process|time|thread|env|os)\b"
        r"|\bstd::io::(?:std|\{[^}]*\bstd)(?:in|out|err)|\be?print(?:ln)?!|\b(?:Instant|SystemTime)\b",
        "boucle-chronology knows no I/O and no clock",
        "take bytes, or a time, as an argument",
    ),
    (
        "crates/boucle-core/src/",
        r"\bpyo3\b|\bffi::|\bPy(?:[A-Z]\w*|<|_\w+)",
        "boucle-core knows no Python",
        "make it generic over the item, or move it to boucle-python",
    ),
    (
        "crates/boucle/src/",
        r"\bpyo3\b|\bffi::|\bPy(?:[A-Z]\w*|<|_\w+)",
        "the Rust face knows no Python",
        "move it to boucle-python",
    ),
]
CLOCK_READ = r"\b(?:Instant|SystemTime)::now\b|\bclock_gettime\b|\bgettimeofday\b|\b_rdtscp?\b"
VAGUE_NAMES = {"util", "utils", "helper", "helpers", "common", "misc", "manager", "managers"}
# Spelt apart, or this file would find itself.
UNFINISHED = r"\b(?:TO" r"DO|FIX" r"ME|XX" r"X|HA" r"CK)\b"
MACHINE_PATH = r"(?<![\w.])/(?:ro" r"ot|wo" r"rk|ho" r"me)/(?:(\w+)/)?"


def opens_with_its_design(files):
    """Every Rust file begins with `//!`, every Python file with a docstring."""
    for path, text in files.items():
        if path.endswith(".rs") and not text.startswith("//!"):
            yield Finding(path, 1, "does not begin with //!", "say in the first line what the file is for")
        if path.endswith(".py") and ast.get_docstring(ast.parse(text)) is None:
            yield Finding(path, 1, "has no docstring", "say in the first line what the file is for")


def arrows_in_the_code(files):
    """What a crate must not know does not stand in its code."""
    for folder, pattern, why, remedy in ARROWS:
        for path, code in _rust(files, folder):
            for match in re.finditer(pattern, code):
                yield Finding(path, line_at(code, match.start()), f"`{match.group()}`: {why}", remedy)


def only_the_package_imports_the_extension(files):
    """Only python/boucle imports `_boucle`."""
    yield from _unneeded(MAY_IMPORT_NATIVE, "MAY_IMPORT_NATIVE", {path for path, _ in _native_imports(files)})
    for path, line in _native_imports(files):
        if not _listed(path, MAY_IMPORT_NATIVE):
            yield Finding(path, line, "imports _boucle", "use the package boucle, or list it in tools/tidy.py")


def _native_imports(files):
    for path, text in files.items():
        if not path.endswith(".py"):
            continue
        for node in ast.walk(ast.parse(text)):
            names = {alias.name for alias in getattr(node, "names", []) if isinstance(alias, ast.alias)}
            names |= {getattr(node, "module", None) or "", getattr(node, "attr", "")}
            if any(str(name).split(".")[-1] == "_boucle" for name in names):
                yield path, node.lineno


def unsafe_stands_where_it_may(files):
    """`unsafe` stands only in the files of the list, each of which has some."""
    found = {path: match for path, code in _rust(files, tests=True) if (match := re.search(r"\bunsafe\b", code))}
    yield from _unneeded(UNSAFE, "UNSAFE", found)
    for path, match in found.items():
        if not _listed(path, UNSAFE):
            line = line_at(match.string, match.start())
            yield Finding(path, line, "holds unsafe", "write it safely on top of raw/, or list it in tools/tidy.py")


def slots_are_guarded(files):
    """Every function that C calls runs its body through the guard, which turns a panic into an exception."""
    for path, code in _rust(files, "crates/boucle-python/src/"):
        for match in re.finditer(r'extern\s+""\s+fn\s+(\w+)', code):
            if "guard" not in body(code, match.end()):
                line = line_at(code, match.start())
                yield Finding(path, line, f"`{match.group(1)}` has no guard", "a panic in it aborts: use raw::guard")


def clocks_are_read_in_one_file(files):
    """Only boucle-core's clock.rs reads a clock, and the load generator's, which is not of the loop. Tests may."""
    for path, code in _rust(files):
        for match in re.finditer(CLOCK_READ, code) if path not in CLOCKS else ():
            line = line_at(code, match.start())
            yield Finding(path, line, f"reads a clock: `{match.group()}`", "take the time as an argument")


def nothing_is_unfinished(files):
    """No note of what is still to be done."""
    for path, text in files.items():
        for match in re.finditer(UNFINISHED, text):
            yield Finding(path, line_at(text, match.start()), f"says {match.group()}", "do it, or file an issue")


def files_are_short(files):
    """No file has more than 400 lines of code."""
    long = {path for path, text in files.items() if _is_code(path) and lines_of_code(path, text) > LONGEST}
    yield from _unneeded(LONG_FILES, "LONG_FILES", long)
    for path in sorted(long - set(LONG_FILES)):
        count = lines_of_code(path, files[path])
        yield Finding(
            path, 1, f"has {count} lines of code, more than {LONGEST}", "split it, or list it in tools/tidy.py"
        )


def names_say_something(files):
    """No file or folder has a name that fits everything."""
    for path in files:
        for part in path.split("/"):
            if part.split(".")[0].lower() in VAGUE_NAMES:
                yield Finding(path, 1, f"the name {part} says nothing", "name the concept that is in it")


def no_path_of_a_machine(files):
    """No absolute path that exists on somebody's machine only."""
    for path, text in files.items():
        for match in re.finditer(MACHINE_PATH, text):
            if match.group(1) not in INVENTED_PEOPLE:
                line = line_at(text, match.start())
                yield Finding(path, line, f"has the path {match.group()} of a machine", "make it relative")


def links_lead_somewhere(files):
    """Relative links in Markdown lead to files that exist, and to headings that they have."""
    folders = {posixpath.dirname(path) for path in files}
    for path, text in files.items():
        if not path.endswith(".md"):
            continue
        prose = re.sub(r"```.*?```|`[^`\n]*`", lambda match: "\n" * match.group().count("\n"), text, flags=re.DOTALL)
        links = r"\]\(<?([^)\s>]+)>?(?:\s+\"[^\"]*\")?\)|^\[[^\]]+\]:\s*(\S+)|\b(?:src|href)=\"([^\"]+)\""
        for match in re.finditer(links, prose, re.MULTILINE):
            link = next(filter(None, match.groups()))
            if re.match(r"[a-z]+:", link):
                continue
            name, _, heading = link.partition("#")
            target = posixpath.normpath(posixpath.join(posixpath.dirname(path), name)) if name else path
            known = target in files or any(folder == target or folder.startswith(f"{target}/") for folder in folders)
            line = line_at(prose, match.start())
            if not known:
                yield Finding(path, line, f"the link {link} leads nowhere", "correct it")
            elif heading and target.endswith(".md") and heading not in _headings(files[target]):
                yield Finding(path, line, f"the link {link} leads to no heading", "correct it")


def _headings(markdown):
    """The anchors that a Markdown file's headings get."""
    titles = re.findall(r"^#+\s+(.*?)\s*$", markdown, re.MULTILINE)
    return {re.sub(r"[^\w\- ]", "", title.lower()).replace(" ", "-") for title in titles}


def _rust(files, folder="", tests=False):
    """The code of the Rust files under a folder; what only tests are made of is left out unless it is asked for."""
    for path, text in files.items():
        if path.endswith(".rs") and path.startswith(folder):
            if tests:
                yield path, rust_code(text)
            elif not re.search(r"/(?:tests|benches)/", path):
                yield path, without_tests(rust_code(text))


def _is_code(path):
    return path.endswith((".rs", ".py"))


def _listed(path, exceptions):
    return any(path == entry or (entry.endswith("/") and path.startswith(entry)) for entry in exceptions)


def _unneeded(exceptions, name, found):
    """Entries of a list that except nothing."""
    for entry in exceptions:
        if not any(_listed(path, [entry]) for path in found):
            yield Finding("tools/tidy.py", 1, f"{name} lists {entry}, which does not need it", "remove the entry")


CHECKS = [
    opens_with_its_design,
    arrows_in_the_code,
    only_the_package_imports_the_extension,
    unsafe_stands_where_it_may,
    slots_are_guarded,
    clocks_are_read_in_one_file,
    nothing_is_unfinished,
    files_are_short,
    names_say_something,
    no_path_of_a_machine,
    links_lead_somewhere,
]


def files_of_the_project():
    """The texts that are, or would be, in git: {path: text}."""
    listing = ["git", "ls-files", "-z", "--cached", "--others", "--exclude-standard"]
    files = {}
    for path in _output(*listing).split("\0"):
        if path and (ROOT / path).is_file():
            try:
                files[path] = (ROOT / path).read_text()
            except UnicodeDecodeError:
                continue
    return files


def _output(*command):
    result = subprocess.run(command, cwd=ROOT, capture_output=True, text=True)
    if result.returncode:
        sys.exit(f"tidy: `{' '.join(command)}` failed: {result.stderr.strip()}")
    return result.stdout


def main():
    if sys.argv[1:] == ["--self-test"]:
        unittest.main("tidy_self_test", argv=sys.argv[:1], verbosity=1)
    files = files_of_the_project()
    metadata = json.loads(_output("cargo", "metadata", "--format-version", "1", "--locked"))
    findings = [finding for check in CHECKS for finding in check(files)]
    findings += crate_graph.arrows(metadata)
    findings += crate_graph.licences(metadata, files["deny.toml"])
    for finding in findings:
        print(finding)
    count = f"{len(findings) or 'no'} finding{'' if len(findings) == 1 else 's'}"
    print(f"tidy: {len(CHECKS) + 2} checks of {len(files)} files: {count}")
    sys.exit(1 if findings else 0)


if __name__ == "__main__":
    main()
