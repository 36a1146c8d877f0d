"""What a reader of the tables must know about the machine, the loops and how they were set."""

import sys

import machine
from processes import WorkerError, work


def ask(competitors, network):
    """What is known before anything is measured: about the machine, and about each loop."""
    about = machine.describe()
    loops = {}
    for competitor in competitors:
        try:
            loops[competitor.name] = work(competitor, "describe", competitor.name)
        except WorkerError as error:
            sys.exit(f"bench: {competitor.name} cannot be measured: {error}")
    about["loops"] = ", ".join(f"{name} {facts['version']}" for name, facts in loops.items())
    seen = ", ".join(f"{name} {facts['turns_until_seen']}" for name, facts in loops.items())
    about["polling"] = f"turns of a busy loop until it runs the reader of a readable descriptor: {seen}"
    if network:
        about["network"] = network.describe()
        about["libraries"] = _libraries()
    for competitor in competitors:
        facts = loops[competitor.name]
        if competitor.module == "boucle":
            about[competitor.name] = _settings(competitor, facts, network)
    return about, loops


def text(about, as_markdown):
    """The same as lines."""
    return "\n".join(f"- {name}: {fact}" if as_markdown else f"{name:18} {fact}" for name, fact in about.items())


def _settings(competitor, facts, network):
    """How a boucle is set: what it does by itself, but for the variables of its kind."""
    variables = competitor.environment
    spin = variables.get("BOUCLE_SPIN_US")
    words = [
        f"extension sha256 {facts['extension']}...",
        f"writes {variables.get('BOUCLE_WRITES', 'deferred')}",
        f"spin {spin + ' µs' if spin else 'off'}",
        "garbage collection as it is" if network else "",
    ]
    if "recorded" in facts:
        steps = sum(facts["recorded"].values())
        checked = f"{steps:,} steps of {len(facts['recorded'])} small benchmarks"
        network_too = ", and in the warm-up round those of each row over the network" if network else ""
        words.append(f"recorder on: it wrote down each of {checked}{network_too}")
    else:
        words.append("recorder off")
    return "; ".join(filter(None, words))


def _libraries():
    """What the servers are made with."""
    import importlib.metadata
    import ssl

    names = "uvicorn", "httptools", "aiohttp"
    found = []
    for name in names:
        try:
            found.append(f"{name} {importlib.metadata.version(name)}")
        except importlib.metadata.PackageNotFoundError:
            found.append(f"{name} is not installed")
    return ", ".join([*found, ssl.OPENSSL_VERSION])
