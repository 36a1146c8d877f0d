"""All workloads: importing the files that define some registers them."""

import primitives
from workloads import WORKLOADS

__all__ = ["WORKLOADS", "primitives"]
