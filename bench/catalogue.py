"""All workloads: importing the files that define some registers them."""

import children
import connections
import primitives
import sleeping
from workloads import WORKLOADS

__all__ = ["WORKLOADS", "children", "connections", "primitives", "sleeping"]
