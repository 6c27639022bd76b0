"""The log-rank test between groups, from events and patients at risk per time cell.

O - E and its covariance are sums over cells (and over strata), so they merge exactly; the leader half is
element-wise. Source: Peto and Peto 1972; covariance of the multivariate hypergeometric distribution.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from cohortium.core import fixed_point as fp

__all__ = ["LogRank", "log_rank_test", "observed_minus_expected"]

Floats = NDArray[np.float64]


@dataclass(frozen=True, kw_only=True)
class LogRank:
    """Chi-square `statistic` on `degrees` of freedom and its p-value."""

    statistic: float
    degrees: int
    p_value: float


def observed_minus_expected(events: NDArray[np.int64], at_risk: NDArray[np.int64]) -> tuple[Floats, Floats]:
    """O - E (g,) and its covariance (g, g), from counts (g, k) of groups and cells."""
    d = events.sum(axis=0).astype(np.float64)
    n = at_risk.sum(axis=0).astype(np.float64)
    share = at_risk / np.maximum(n, 1.0)
    difference = fp.ordered_sum(events - d * share, axis=1)
    spread = d * (n - d) / np.maximum(n - 1.0, 1.0)
    g = len(events)
    covariance = np.zeros((g, g))
    for a in range(g):
        for b in range(a, g):
            covariance[a, b] = covariance[b, a] = fp.ordered_sum(spread * share[a] * (float(a == b) - share[b]))
    return difference, covariance


def log_rank_test(difference: Floats, covariance: Floats) -> LogRank:
    """The test from O - E and its covariance; groups that were never at risk beside another are left out."""
    from scipy.stats import chi2

    there = np.flatnonzero(np.diagonal(covariance) > 0)
    if len(there) < 2:
        return LogRank(statistic=float("nan"), degrees=0, p_value=float("nan"))
    used = there[:-1]  # the last group's O - E follows from the others
    solved = fp.solve_spd(covariance[np.ix_(used, used)], difference[used])
    statistic = float(fp.ordered_sum(difference[used] * solved))
    return LogRank(statistic=statistic, degrees=len(used), p_value=float(chi2.sf(statistic, len(used))))
