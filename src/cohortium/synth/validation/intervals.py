"""95 % intervals for figures that have no formula: jackknife by groups, order statistics, the ends of a p-value.

A jackknife leaves a tenth of the rows out at a time, of either table in turn, so that no row is ever doubled: doubled
rows would make two tables look farther apart than they are. Sources: Efron and Tibshirani 1993 (jackknife); Hahn and
Meeker 1991 (quantiles).
"""

from __future__ import annotations

from collections.abc import Callable, Sequence

import numpy as np
from numpy.typing import NDArray
from scipy import stats

from cohortium.reports.measure import Measure

__all__ = ["jackknifed", "p_value_measure", "quantile_measure"]

Floats = NDArray[np.float64]
Integers = NDArray[np.int64]

N_GROUPS = 10
_Z = 1.96


def jackknifed(
    statistic: Callable[[Sequence[Integers]], Sequence[float]],
    sizes: Sequence[int],
    *,
    seed: int,
    lowest: float = -np.inf,
    highest: float = np.inf,
) -> tuple[Measure, ...]:
    """Each of the figures `statistic` gives, with its interval.

    statistic: takes the rows to be used of every table, as indices. sizes: rows of every table. lowest, highest: what a
    figure can be.
    """
    rng = np.random.default_rng([seed, 13])
    whole = [np.arange(size) for size in sizes]
    values = np.asarray(statistic(whole), dtype=np.float64)
    variance = np.zeros(len(values))
    for at, size in enumerate(sizes):
        group = rng.permutation(size) % min(N_GROUPS, size)
        left = np.array([statistic([rows[group != g] if k == at else rows for k, rows in enumerate(whole)])
                         for g in range(min(N_GROUPS, size))])  # fmt: skip
        spread = ((left - left.mean(axis=0)) ** 2).sum(axis=0)
        variance = variance + spread * (len(left) - 1) / len(left)
    half = _Z * np.sqrt(variance)
    n = min(sizes)
    return tuple(
        Measure(value=float(v), low=float(max(v - h, lowest)), high=float(min(v + h, highest)), n=n, method="jackknife")
        for v, h in zip(values, half, strict=True)
    )


def quantile_measure(values: Floats, q: float) -> Measure:
    """A quantile between the two values that hold the true one in 95 of 100 samples."""
    n = len(values)
    if n == 0:
        return Measure(value=None, n=0)
    ordered = np.sort(values)
    low, high = stats.binom.ppf([0.025, 0.975], n, q)
    return Measure(
        value=float(np.quantile(ordered, q)),
        low=float(ordered[max(int(low) - 1, 0)]),
        high=float(ordered[min(int(high), n - 1)]),
        n=n,
        method="order statistics",
    )


def p_value_measure(p: float, *, n: int) -> Measure:
    """A two-sided p-value and what 95 of 100 repetitions of the same comparison would give around it."""
    if not np.isfinite(p):
        return Measure(value=None, n=n)
    z = float(stats.norm.isf(max(p, 1e-300) / 2))
    ends = [2 * float(stats.norm.sf(max(one, 0.0))) for one in (z + _Z, z - _Z)]
    return Measure(value=p, low=ends[0], high=ends[1], n=n, method="normal")
