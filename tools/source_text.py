"""Source files seen as code: without their comments, without what stands in strings, without their tests.

What is taken out leaves its line breaks behind, so that line numbers stay true. This is no parser: it knows the tokens
in which other tokens can hide, and matching braces.
"""

import ast
import io
import re
import tokenize

# The parts of Rust text that are not code.
_RUST_HIDING = re.compile(
    r"""
      //[^\n]*
    | /\*.*?\*/
    | \b[bc]?r(?P<hashes>\#*)".*?"(?P=hashes)
    | \b[bc]?"(?:\\.|[^"\\])*"
    | "(?:\\.|[^"\\])*"
    | '(?:\\(?:u\{[0-9a-fA-F_]+\}|x[0-9a-fA-F]{2}|.)|[^\\'\n])'
    """,
    re.VERBOSE | re.DOTALL,
)
_TEST_ATTRIBUTE = re.compile(r"#\[cfg\((?:all\()?test\b[^\]]*\]")


def rust_code(text):
    """Rust without comments, and with empty strings."""

    def emptied(match):
        breaks = "\n" * match.group().count("\n")
        return breaks if match.group().startswith(("//", "/*")) else f'"{breaks}"'

    return _RUST_HIDING.sub(emptied, text)


def without_tests(code):
    """Rust code without the items that only tests are compiled with."""
    while match := _TEST_ATTRIBUTE.search(code):
        end = _end_of_item(code, match.end())
        code = code[: match.start()] + "\n" * code.count("\n", match.start(), end) + code[end:]
    return code


def body(code, start):
    """The code in the first pair of braces after a position."""
    opening = code.find("{", start)
    return code[opening : _closing(code, opening)] if opening >= 0 else ""


def _end_of_item(code, start):
    """Where an item ends: at its semicolon, or at the brace that closes it."""
    semicolon, opening = code.find(";", start), code.find("{", start)
    if opening < 0 or 0 <= semicolon < opening:
        return len(code) if semicolon < 0 else semicolon + 1
    return _closing(code, opening)


def _closing(code, opening):
    depth = 0
    for position in range(opening, len(code)):
        depth += {"{": 1, "}": -1}.get(code[position], 0)
        if depth == 0:
            return position + 1
    return len(code)


def lines_of_code(path, text):
    """How many lines hold code; of Rust, code that is no test."""
    if path.endswith(".rs"):
        return sum(1 for line in without_tests(rust_code(text)).splitlines() if line.strip())
    return len(_python_lines(text))


def _python_lines(text):
    """The numbers of lines that hold Python code: no comments, no docstrings."""
    silent = {tokenize.COMMENT, tokenize.NL, tokenize.NEWLINE, tokenize.INDENT, tokenize.DEDENT, tokenize.ENDMARKER}
    lines = set()
    for token in tokenize.generate_tokens(io.StringIO(text).readline):
        if token.type not in silent:
            lines.update(range(token.start[0], token.end[0] + 1))
    for node in ast.walk(ast.parse(text)):
        if isinstance(node, ast.Expr) and isinstance(node.value, ast.Constant) and isinstance(node.value.value, str):
            lines.difference_update(range(node.lineno, node.end_lineno + 1))
    return lines


def line_at(text, position):
    """The number of the line of a position."""
    return text.count("\n", 0, position) + 1
