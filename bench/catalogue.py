"""All workloads: importing the files that define some registers them. And how a person names some of the rows."""

import argparse
import re

import children
import connections
import primitives
import sleeping
from workloads import WORKLOADS

__all__ = ["WORKLOADS", "children", "connections", "pattern", "primitives", "sleeping"]


def pattern(text):
    """The regular expression of an option ``--only``."""
    try:
        return re.compile(text, re.IGNORECASE)
    except re.error as error:
        raise argparse.ArgumentTypeError(f"not a regular expression: {error}") from None
