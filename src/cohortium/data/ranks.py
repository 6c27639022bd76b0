"""How well single columns order an outcome: AUROC by mid-ranks, for all columns of a table at once.

For the data checks of one site; the study's own measures, with intervals, are in `reports`.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

__all__ = ["auroc", "mid_ranks"]

Floats = NDArray[np.float64]


def mid_ranks(values: NDArray[np.floating]) -> Floats:
    """Ranks from 1 of one column (n,) without NaN; equal values share the mean of their ranks."""
    _, which, count = np.unique(values, return_inverse=True, return_counts=True)
    last = np.cumsum(count)
    ranks: Floats = (last - (count - 1) / 2.0)[which]
    return ranks


def auroc(x: NDArray[np.floating], positive: NDArray[np.bool_]) -> Floats:
    """Chance that a positive row has the larger value, ties counted half, for each column of x (n, p).

    Rows whose value is NaN are left out of their column. NaN where a column leaves no row of one side.
    """
    found = np.full(x.shape[1], np.nan)
    for column in range(x.shape[1]):
        known = ~np.isnan(x[:, column])
        inside = positive[known]
        n_positive = int(np.count_nonzero(inside))
        n_negative = len(inside) - n_positive
        if n_positive and n_negative:
            ranks = mid_ranks(x[known, column])
            found[column] = (ranks[inside].sum() - n_positive * (n_positive + 1) / 2.0) / (n_positive * n_negative)
    return found
