"""The loops that can take part: how to make one, and in which environment."""

import dataclasses
import importlib
import importlib.util


@dataclasses.dataclass(frozen=True)
class Competitor:
    """An event loop under its name in the table."""

    name: str
    module: str
    """Has new_event_loop()."""
    environment: "dict[str, str]" = dataclasses.field(default_factory=dict)
    """Variables that its processes get."""
    lacks: "frozenset[str]" = frozenset()
    """What it does not offer: "closing" connections, "sendfile", "tls", "unix"."""

    def can(self, needs):
        """Whether it offers all of this."""
        return self.lacks.isdisjoint(needs)

    @property
    def is_recorded(self):
        """Whether boucle's recorder is on."""
        return self.module == "boucle" and self.environment.get("BOUCLE_RECORD") != "0"

    def is_installed(self):
        """Whether its module can be imported here."""
        return importlib.util.find_spec(self.module) is not None

    def new_event_loop(self):
        """A loop of this kind."""
        return importlib.import_module(self.module).new_event_loop()


COMPETITORS = {
    competitor.name: competitor
    for competitor in (
        Competitor("boucle", "boucle"),
        Competitor("boucle-unrecorded", "boucle", {"BOUCLE_RECORD": "0"}),
        Competitor("boucle-spin", "boucle", {"BOUCLE_SPIN_US": "50"}),
        Competitor("uvloop", "uvloop", lacks=frozenset({"sendfile"})),
        # rloop 0.5.0 calls connection_lost and keeps the descriptor, so that the other end never hears of it.
        Competitor("rloop", "rloop", lacks=frozenset({"closing", "sendfile", "tls", "unix"})),
        Competitor("blazio", "blazio"),
        Competitor("asyncio", "asyncio"),
    )
}

USUAL = ["boucle", "uvloop", "rloop", "asyncio"]
"""Those of a run that does not say which."""
