"""Count, mean and variance of every column (or image channel) by exact sums: what scaling, filling and ComBat share.

`moment_sums` is the site's half, `moments` what all make of the total; the result is the correctly
rounded mean and variance of all patients' values, whatever the number of sites (see `wide_sums.py`).
NaN is a missing value and counts for nothing.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from cohortium.core.examples import Examples, Layout
from cohortium.core.parameters import Parameters
from cohortium.core.wide_sums import LIMBS, wide_mean, wide_square_sums, wide_sums, wide_variance

__all__ = ["Moments", "floats", "moment_sums", "moments", "n_columns"]

_BLOCK = 1 << 20

Floats = NDArray[np.float64]


@dataclass(frozen=True)
class Moments:
    """count (p,): values present. mean, variance (p,): float64, dividing by n; NaN where nothing is present."""

    count: NDArray[np.int64]
    mean: Floats
    variance: Floats

    @property
    def usable(self) -> NDArray[np.bool_]:
        """Columns with at least two different values."""
        return (self.count > 0) & (self.variance > 0)


def floats(parameters: Parameters, name: str) -> Floats:
    """The named array as float64."""
    return np.asarray(parameters[name], dtype=np.float64)


def n_columns(layout: Layout) -> int:
    """Columns of a table or channels of an image."""
    return len(layout.features) if layout.image is None else layout.image[0]


def moment_sums(examples: Examples) -> Parameters:
    """`count` (p,), `sum` and `squares` (LIMBS, p), int64, over one site's values."""
    layout = examples.layout
    p = n_columns(layout)
    count = np.zeros(p, dtype=np.int64)
    total, squares = np.zeros((LIMBS, p), dtype=np.int64), np.zeros((LIMBS, p), dtype=np.int64)
    step = max(1, _BLOCK // max(1, layout.n_features))
    for at in range(0, len(examples), step):
        block = np.asarray(examples.x[at : at + step], dtype=np.float64)
        if layout.image is not None:
            block = np.moveaxis(block, 1, -1).reshape(-1, p)
        missing = np.isnan(block)
        block = np.where(missing, 0.0, block)
        count += len(block) - np.count_nonzero(missing, axis=0)
        total += wide_sums(block, what="a feature")
        squares += wide_square_sums(block, what="a feature")
    return Parameters({"count": count, "sum": total, "squares": squares})


def moments(total: Parameters) -> Moments:
    """Exact moments from added `moment_sums`."""
    count = np.asarray(total["count"], dtype=np.int64)
    first, second = (np.asarray(total[name], dtype=np.int64) for name in ("sum", "squares"))
    return Moments(count, wide_mean(first, count), wide_variance(first, second, count))
