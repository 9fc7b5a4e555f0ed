"""What the functions and their running twins share."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TypeAlias

import numpy as np

Sums: TypeAlias = Mapping[str, "np.ndarray | np.floating"]
"""Named sums over frames, float64: all that a metric must remember of what it saw, so that two add up."""
