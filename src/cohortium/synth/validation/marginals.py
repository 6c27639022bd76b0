"""One column against itself in another table: Kolmogorov-Smirnov for numbers, total variation for what is named.

A missing value counts: as the largest of all numbers, as a level of its own. 0 = the same, 1 = nothing in common.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from cohortium.synth.facts import Fact

__all__ = ["distance", "kolmogorov_smirnov", "total_variation"]

Floats = NDArray[np.float64]


def distance(a: Floats, b: Floats, fact: Fact) -> float:
    """How far two columns of one kind are apart, 0 to 1."""
    return kolmogorov_smirnov(a, b) if fact.is_number else total_variation(a, b)


def kolmogorov_smirnov(a: Floats, b: Floats) -> float:
    """The largest distance between the two distribution functions."""
    a, b = (np.sort(np.where(np.isnan(one), np.inf, one)) for one in (a, b))
    if not len(a) or not len(b):
        return float("nan")
    at = np.unique(np.concatenate([a, b]))
    return float(np.abs(np.searchsorted(a, at, "right") / len(a) - np.searchsorted(b, at, "right") / len(b)).max())


def total_variation(a: Floats, b: Floats) -> float:
    """Half the summed absolute difference of the shares of levels."""
    a, b = (np.where(np.isnan(one), -1.0, one) for one in (a, b))
    if not len(a) or not len(b):
        return float("nan")
    levels = np.unique(np.concatenate([a, b]))
    shares = [np.array([(one == level).mean() for level in levels]) for one in (a, b)]
    return float(0.5 * np.abs(shares[0] - shares[1]).sum())
