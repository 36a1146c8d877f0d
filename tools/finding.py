"""What a check has found: where, what, and what to do about it."""

from typing import NamedTuple


class Finding(NamedTuple):
    """One thing that is not as it should be."""

    path: str
    line: int
    what: str
    remedy: str

    def __str__(self):
        return f"{self.path}:{self.line}: {self.what}; {self.remedy}"
