"""Estimates from several synthetic tables: one table understates how uncertain they are.

Simple synthesis (one fitted model, m tables of n_syn rows from n real ones): the estimate is the mean, its variance
T = u (n_syn / n + 1 / m) with u the mean variance within tables. A single table's own 95 % interval would cover only
about 83 % at n_syn = n, because its variance is half of what it should be. Source: Raab, Nowok and Dibben 2016.

Filled tables are another matter: the patients are real, only their gaps are drawn, so what the tables differ in is on
top of u: T = u + (1 + 1 / m) b with b the variance between tables. Source: Rubin 1987. `pool` would be too sure there.
"""

from __future__ import annotations

from dataclasses import dataclass
from statistics import NormalDist

import numpy as np
from numpy.typing import ArrayLike, NDArray
from scipy import stats

from cohortium.errors import UsageError

__all__ = ["Pooled", "pool", "pool_filled"]

Floats = NDArray[np.float64]

_Z = NormalDist().inv_cdf(0.975)


@dataclass(frozen=True, kw_only=True, eq=False)
class Pooled:
    """Estimates, their standard errors and 95 % intervals, one entry a quantity."""

    estimate: Floats
    error: Floats

    @property
    def low(self) -> Floats:
        """Lower ends."""
        return self.estimate - _Z * self.error

    @property
    def high(self) -> Floats:
        """Upper ends."""
        return self.estimate + _Z * self.error


def pool(estimates: ArrayLike, variances: ArrayLike, *, n_real: int, n_synthetic: int) -> Pooled:
    """estimates, variances: (m tables, quantities). Raises UsageError for fewer than two tables."""
    q, u = _tables(estimates, variances)
    if n_real < 1 or n_synthetic < 1:
        raise UsageError(f"row counts must be positive, got {n_real} real and {n_synthetic} synthetic")
    within = u.mean(axis=0)
    return Pooled(estimate=q.mean(axis=0), error=np.sqrt(within * (n_synthetic / n_real + 1.0 / len(q))))


def pool_filled(estimates: ArrayLike, variances: ArrayLike) -> Pooled:
    """Of real tables whose gaps were filled m times: (m tables, quantities). Raises UsageError for fewer than two.

    The errors are widened so that the intervals are those of Student's t, of (m - 1) (T / ((1 + 1 / m) b))^2 degrees.
    """
    q, u = _tables(estimates, variances)
    m, within, between = len(q), u.mean(axis=0), q.var(axis=0, ddof=1)
    total = within + (1.0 + 1.0 / m) * between
    share = np.clip((1.0 + 1.0 / m) * between / np.maximum(total, 1e-300), 1e-6, 1.0)
    wider = stats.t.ppf(0.975, (m - 1) / share**2) / _Z  # few tables tell little of how they differ
    return Pooled(estimate=q.mean(axis=0), error=np.sqrt(total) * wider)


def _tables(estimates: ArrayLike, variances: ArrayLike) -> tuple[Floats, Floats]:
    q, u = np.asarray(estimates, dtype=np.float64), np.asarray(variances, dtype=np.float64)
    if q.ndim != 2 or q.shape != u.shape or len(q) < 2:
        raise UsageError(
            f"estimates of at least two tables are needed, shape (m, quantities); got {q.shape}, {u.shape}"
        )
    return q, u
