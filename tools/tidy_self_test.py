"""Shows that each check of tidy can fail, and what it lets pass: `python3 tools/tidy.py --self-test`."""

import unittest

import crate_graph
import tidy
from source_text import lines_of_code, rust_code, without_tests

DOC = "//! Doc.\n"

# For each check: files in which it finds something, at which place.
CAUGHT = {
    tidy.opens_with_its_design: [
        ({"crates/a/src/a.rs": "// Comment.\n"}, "crates/a/src/a.rs:1"),
        ({"tools/a.py": "import os\n"}, "tools/a.py:1"),
    ],
    tidy.arrows_in_the_code: [
        ({"crates/boucle-chronology/src/a.rs": DOC + "use std::fs::File;\n"}, "crates/boucle-chronology/src/a.rs:2"),
        ({"crates/boucle-chronology/src/a.rs": DOC + "use std::{fmt, net};\n"}, "crates/boucle-chronology/src/a.rs:2"),
        ({"crates/boucle-chronology/src/a.rs": DOC + "let i = Instant;\n"}, "crates/boucle-chronology/src/a.rs:2"),
        ({"crates/boucle-chronology/src/a.rs": DOC + 'println!("");\n'}, "crates/boucle-chronology/src/a.rs:2"),
        ({"crates/boucle-chronology/src/a.rs": DOC + "std::io::stdin();\n"}, "crates/boucle-chronology/src/a.rs:2"),
        ({"crates/boucle-core/src/a.rs": DOC + "\nfn f(item: Py<PyAny>) {}\n"}, "crates/boucle-core/src/a.rs:3"),
        ({"crates/boucle/src/a.rs": DOC + "use pyo3::prelude::*;\n"}, "crates/boucle/src/a.rs:2"),
    ],
    tidy.only_the_package_imports_the_extension: [
        ({"tests/a.py": "'Doc.'\nfrom boucle import _boucle\n"}, "tests/a.py:2"),
        ({"tests/a.py": "'Doc.'\nfrom boucle._boucle import Handle\n"}, "tests/a.py:2"),
        ({"tests/a.py": "'Doc.'\nimport boucle._boucle\n"}, "tests/a.py:2"),
        ({"tests/a.py": "'Doc.'\nimport boucle\nboucle._boucle.Handle\n"}, "tests/a.py:3"),
        ({}, "tools/tidy.py:1"),
    ],
    tidy.unsafe_stands_where_it_may: [
        ({"crates/boucle/src/a.rs": DOC + "fn f() { unsafe { g() } }\n"}, "crates/boucle/src/a.rs:2"),
        ({"crates/boucle/tests/a.rs": DOC + "unsafe fn f() {}\n"}, "crates/boucle/tests/a.rs:2"),
        ({tidy.CLOCK: DOC + "// unsafe\n"}, "tools/tidy.py:1"),
    ],
    tidy.slots_are_guarded: [
        (
            {
                "crates/boucle-python/src/a.rs": DOC
                + 'unsafe extern "C" fn good() { guard("good", || 1) }\nunsafe extern "C" fn bad() { 1 }\n'
            },
            "crates/boucle-python/src/a.rs:3",
        ),
    ],
    tidy.clocks_are_read_in_one_file: [
        ({"crates/boucle/src/a.rs": DOC + "let now = Instant::now();\n"}, "crates/boucle/src/a.rs:2"),
        ({"crates/boucle-core/src/turn.rs": DOC + "clock_gettime(id);\n"}, "crates/boucle-core/src/turn.rs:2"),
    ],
    tidy.nothing_is_unfinished: [({"docs/a.md": "Text.\nTO" + "DO: more\n"}, "docs/a.md:2")],
    tidy.files_are_short: [
        ({"crates/a/src/a.rs": DOC + "let a = 1;\n" * 401}, "crates/a/src/a.rs:1"),
        ({"tools/a.py": "'Doc.'\n" + "a = 1\n" * 401}, "tools/a.py:1"),
    ],
    tidy.names_say_something: [
        ({"tools/utils.py": "'Doc.'\n"}, "tools/utils.py:1"),
        ({"crates/a/src/common/a.rs": DOC}, "crates/a/src/common/a.rs:1"),
    ],
    tidy.no_path_of_a_machine: [({"docs/a.md": "Text.\nSee /ro" + "ot/notes.\n"}, "docs/a.md:2")],
    tidy.links_lead_somewhere: [
        ({"a.md": "Text.\n[b](docs/b.md)\n"}, "a.md:2"),
        ({"a.md": "[ref]: docs/b.md\n"}, "a.md:1"),
        ({"a.md": '<img src="docs/b.svg">\n'}, "a.md:1"),
        ({"a.md": "[b](#nowhere)\n"}, "a.md:1"),
    ],
}

# For each check: files that pass it.
PASSED = {
    tidy.opens_with_its_design: [{"crates/a/src/a.rs": DOC, "tools/a.py": "#!/usr/bin/env python3\n'''Doc.'''\n"}],
    tidy.arrows_in_the_code: [
        {"crates/boucle-chronology/src/a.rs": DOC + '// std::fs\nlet text = "Instant";\nuse std::io::Write;\n'},
        {"crates/boucle-chronology/src/a.rs": DOC + "#[cfg(test)]\nmod tests { use std::fs; }\n"},
        {"crates/boucle-chronology/tests/a.rs": DOC + "use std::fs;\n"},
        {"crates/boucle-python/src/a.rs": DOC + "use pyo3::prelude::*;\n"},
    ],
    tidy.only_the_package_imports_the_extension: [
        dict.fromkeys(["python/boucle/a.py", "tests/test_panics.py"], "'Doc.'\nfrom . import _boucle\n")
    ],
    tidy.clocks_are_read_in_one_file: [
        {tidy.CLOCK: DOC + "clock_gettime(id);\n", "crates/boucle/tests/a.rs": DOC + "Instant::now();\n"}
    ],
    tidy.files_are_short: [
        {"crates/a/src/a.rs": DOC + "let a = 1;\n" * 400 + "\n// Comment.\n#[cfg(test)]\nmod tests {\n    a();\n}\n"},
        {"tools/a.py": "'Doc.'\n" + "a = 1\n\n# Comment.\n" * 400},
    ],
    tidy.no_path_of_a_machine: [{"tests/a.py": '"/ho' + 'me/ada/shop.py"\n'}],
    tidy.links_lead_somewhere: [
        {
            "a.md": "[b](docs/b.md#two-words) [c](docs/) [d](https://example.org/x)\n`[e](f)`\n",
            "docs/b.md": "# Two words\n",
        }
    ],
}


class Checks(unittest.TestCase):
    """Each check, on files made up for it."""

    def test_every_check_finds_something(self):
        self.assertEqual(set(CAUGHT), set(tidy.CHECKS))
        for check, cases in CAUGHT.items():
            for files, place in cases:
                with self.subTest(check=check.__name__, files=files):
                    found = [f"{finding.path}:{finding.line}" for finding in check(files)]
                    self.assertIn(place, found)

    def test_what_is_right_passes(self):
        for check, cases in PASSED.items():
            for files in cases:
                with self.subTest(check=check.__name__, files=files):
                    found = [finding for finding in check(files) if finding.path in files]
                    self.assertEqual(found, [])


class Text(unittest.TestCase):
    """Rust's comments and strings hide what is in them."""

    def test_comments_and_strings_are_no_code(self):
        for hidden in ("// word", "/* word\n */", '"word"', 'r#"a "word" b"#', 'c"word"', '"\\"word"', "b'\"' // word"):
            with self.subTest(hidden=hidden):
                self.assertNotIn("word", rust_code(f"{hidden}\n"))

    def test_code_stays(self):
        for code in ("fn f<'a>(word: &'a str) {}", "let quote = '\"'; word();", "let quote = '\\''; word();"):
            with self.subTest(code=code):
                self.assertIn("word", rust_code(code))

    def test_line_numbers_stay_true(self):
        text = '/* a\n b */\nlet c = "d\n e";\n#[cfg(all(test, loom))]\nmod tests {\n    f();\n}\ng();\n'
        code = without_tests(rust_code(text))
        self.assertEqual(code.count("\n"), text.count("\n"))
        self.assertEqual(code.splitlines()[-1], "g();")
        self.assertEqual(lines_of_code("a.rs", text), 3)


def metadata(*edges, source=None, licence="MIT"):
    """What `cargo metadata` prints of crates with these dependencies."""
    names = sorted({name for edge in edges for name in edge})
    return {
        "packages": [
            {"id": name, "name": name, "version": "1", "source": source, "license": licence} for name in names
        ],
        "resolve": {
            "nodes": [{"id": name, "dependencies": [to for at, to in edges if at == name]} for name in names],
        },
        "workspace_members": [name for name in names if name.startswith("boucle") or name == "new"],
    }


class Crates(unittest.TestCase):
    """The arrows between crates, and what they are made of."""

    def test_forbidden_arrows_are_found(self):
        for edges in (
            [("boucle-chronology", "boucle-core")],
            [("boucle-core", "pyo3")],
            [("boucle", "between"), ("between", "pyo3")],
            [("boucle", "boucle-python")],
            [("new", "boucle-core")],
        ):
            with self.subTest(edges=edges):
                self.assertEqual(len(list(crate_graph.arrows(metadata(*edges)))), 1)

    def test_allowed_arrows_pass(self):
        edges = [("boucle-python", "pyo3"), ("boucle-python", "boucle-core"), ("boucle-core", "boucle-chronology")]
        self.assertEqual(list(crate_graph.arrows(metadata(*edges))), [])

    def test_licences_and_sources_are_checked(self):
        deny = '[licenses]\nallow = [\n    "MIT", # "GPL-3.0"\n    "Apache-2.0 WITH LLVM-exception",\n]\n'
        edge = ("boucle", "other")
        self.assertEqual(list(crate_graph.licences(metadata(edge), deny)), [])
        for wrong in ({"licence": "GPL-3.0"}, {"licence": None}, {"source": "git+https://example.org/other"}):
            with self.subTest(wrong=wrong):
                self.assertEqual(len(list(crate_graph.licences(metadata(edge, **wrong), deny))), 2)

    def test_licence_expressions(self):
        allowed = {"MIT", "Unicode-3.0", "Apache-2.0 WITH LLVM-exception"}
        for expression, permitted in {
            "MIT": True,
            "GPL-3.0": False,
            "GPL-3.0 OR MIT": True,
            "GPL-3.0/MIT": True,
            "GPL-3.0 AND MIT": False,
            "(MIT OR Apache-2.0) AND Unicode-3.0": True,
            "(MIT OR Apache-2.0) AND GPL-3.0": False,
            "Apache-2.0": False,
            "Apache-2.0 WITH LLVM-exception": True,
        }.items():
            with self.subTest(expression=expression):
                self.assertEqual(crate_graph.permits(expression, allowed), permitted)
