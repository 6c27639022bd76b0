"""Private counts: histograms in which every patient stands in one cell, with whole-number noise.

Counts travel in units of 1/1024, so that a site's part of the noise is wide against the grid and parts of several sites
add up to one Gaussian. What is made of the noisy counts (numbers at risk, curves, tests) costs nothing more.

Guarantee: one Gaussian event of the multiplier given, for one patient more or less. Design: privacy.md section 5.
"""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np
from numpy.typing import NDArray

from cohortium.privacy.dp.noise import IntegerGaussian, SecretStream

__all__ = ["COUNT_UNITS", "counted", "noisy_units"]

COUNT_UNITS = 1024
"""Units in one patient."""

Integers = NDArray[np.int64]


def noisy_units(cells: Mapping[str, Integers], *, multiplier: float, stream: SecretStream) -> dict[str, Integers]:
    """Counts in units, each with noise of std multiplier patients. cells: together, every patient is in one of them."""
    noise = IntegerGaussian(multiplier * COUNT_UNITS)
    found: dict[str, Integers] = {}
    for name, counts in cells.items():
        units = np.ascontiguousarray(counts, dtype=np.int64) * COUNT_UNITS
        noise.add(units.reshape(-1), stream)
        found[name] = units
    return found


def counted(units: NDArray[np.generic]) -> Integers:
    """Whole patients from an opened sum of units; never fewer than none."""
    return np.maximum(np.rint(units.astype(np.float64) / COUNT_UNITS), 0.0).astype(np.int64)
