"""Checks of what the crates depend on: the arrows between them, the licences and the sources of what they use.

Both work on what `cargo metadata` prints and on the text of deny.toml, which cargo-deny reads too.
"""

import re

from finding import Finding

# Which crates of the workspace each of them may use. Arrows only go down.
BELOW = {
    "boucle-chronology": set(),
    "boucle-core": {"boucle-chronology"},
    "boucle": {"boucle-core", "boucle-chronology"},
    "boucle-python": {"boucle-core", "boucle-chronology"},
    "boucle-top": {"boucle-core", "boucle-chronology"},
    "boucle-load": set(),  # measures the loop from outside
}
# Which crates may reach pyo3, by whatever way.
MAY_USE_PYTHON = {"boucle-python"}
CRATES_IO = "registry+https://github.com/rust-lang/crates.io-index"


def arrows(metadata):
    """Crates use only what is below them, and only the Python face knows Python."""
    names = {package["id"]: package["name"] for package in metadata["packages"]}
    uses = {node["id"]: [names[id] for id in node["dependencies"]] for node in metadata["resolve"]["nodes"]}
    by_name = {names[id]: used for id, used in uses.items()}
    for id in metadata["workspace_members"]:
        crate = names[id]
        manifest = f"crates/{crate}/Cargo.toml"
        if crate not in BELOW:
            yield Finding(
                manifest, 1, f"the crate {crate} has no place", "say in BELOW of tools/crate_graph.py what it may use"
            )
            continue
        for used in by_name[crate]:
            if used in BELOW and used not in BELOW[crate]:
                yield Finding(
                    manifest, 1, f"{crate} depends on {used}", "arrows only go down: move what it needs below"
                )
        if crate not in MAY_USE_PYTHON and "pyo3" in _reachable(by_name, crate):
            yield Finding(manifest, 1, f"{crate} depends on pyo3", "only boucle-python knows Python")


def _reachable(by_name, crate):
    seen, todo = set(), [crate]
    while todo:
        for used in by_name.get(todo.pop(), ()):
            if used not in seen:
                seen.add(used)
                todo.append(used)
    return seen


def licences(metadata, deny):
    """Everything comes from crates.io, under a licence that deny.toml allows."""
    allowed = allowed_licences(deny)
    for package in metadata["packages"]:
        name = f"{package['name']} {package['version']}"
        if package["source"] not in (None, CRATES_IO):
            yield Finding("Cargo.lock", 1, f"{name} comes from {package['source']}", "use what is on crates.io")
        if not permits(package["license"] or "none", allowed):
            yield Finding(
                "Cargo.lock",
                1,
                f"{name} has the licence {package['license']}",
                "if it may be used, allow it in deny.toml, with the reason; else use another crate",
            )


def allowed_licences(deny):
    """The licences that deny.toml allows."""
    section = re.search(r"^\[licenses\]$(.*?)(?=^\[|\Z)", deny, re.MULTILINE | re.DOTALL)
    allow = re.search(r"^allow = \[(.*?)^\]", section.group(1), re.MULTILINE | re.DOTALL) if section else None
    return set(re.findall(r'^\s*"([^"]+)"', allow.group(1), re.MULTILINE)) if allow else set()


def permits(expression, allowed):
    """Whether a licence expression can be satisfied with these licences: `A OR B`, `A AND B`, `A WITH exception`."""
    tokens = re.findall(r"[()]|[^\s()]+", expression.replace("/", " OR "))

    def either():
        result = both()
        while tokens[:1] == ["OR"]:
            tokens.pop(0)
            result = both() or result
        return result

    def both():
        result = one()
        while tokens[:1] == ["AND"]:
            tokens.pop(0)
            result = one() and result
        return result

    def one():
        token = tokens.pop(0)
        if token == "(":
            result = either()
            tokens.pop(0)
            return result
        if tokens[:1] == ["WITH"]:
            token = " ".join([token, tokens.pop(0), tokens.pop(0)])
        return token in allowed

    return either()
