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
        Competitor("uvloop", "uvloop"),
        Competitor("rloop", "rloop"),
        Competitor("blazio", "blazio"),
        Competitor("asyncio", "asyncio"),
    )
}

USUAL = ["boucle", "uvloop", "rloop", "asyncio"]
"""Those of a run that does not say which."""
