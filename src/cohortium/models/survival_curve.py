"""Survival curves from counts per time cell: Kaplan-Meier, Greenwood, bands, restricted mean, cumulative incidence.

A curve changes at the start of a cell and holds from there on; events come before censorings of the same cell.
`release` joins cells until no small count can be read from them. Pure functions of integers.
Sources: Kaplan and Meier 1958; Greenwood 1926; Kalbfleisch and Prentice 2002 (log-log bands, Aalen-Johansen);
Royston and Parmar 2013 (restricted mean survival time).
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from cohortium.core import fixed_point as fp

__all__ = [
    "Curve",
    "JoinedCells",
    "cumulative_incidence",
    "greenwood",
    "log_log_bands",
    "release",
    "restricted_mean",
    "survival_steps",
]

Floats = NDArray[np.float64]
Integers = NDArray[np.int64]


@dataclass(frozen=True, kw_only=True, eq=False)
class Curve:
    """A step function: `survival[i]` from `times[i]` on, 1 before, unknown from `until` on. Pointwise bands; counts."""

    times: Floats
    until: float
    survival: Floats
    lower: Floats
    upper: Floats
    events: Integers
    censored: Integers
    at_risk: Integers

    def at(self, times: NDArray[np.floating]) -> Floats:
        """Survival at any times; NaN where nothing was released."""
        steps = np.concatenate([[1.0], self.survival])[np.searchsorted(self.times, times, side="right")]
        return np.where(np.asarray(times) < self.until, steps, np.nan)

    @property
    def median(self) -> float:
        """The first time at which survival is at most one half; infinite if never."""
        below = np.flatnonzero(self.survival <= 0.5)
        return float(self.times[below[0]]) if len(below) else float("inf")


@dataclass(frozen=True, kw_only=True, eq=False)
class JoinedCells:
    """Released counts. edges: last cell of each joined one; events (causes, m); censored, at_risk (m,).

    spread (m,): whether they come from several cells, so that the order of events and censorings is unknown.
    """

    edges: Integers
    events: Integers
    censored: Integers
    at_risk: Integers
    spread: NDArray[np.bool_]

    @property
    def exposed(self) -> Floats:
        """Patients at risk per event: half of the censored of a spread cell are taken to leave before (actuarial)."""
        return np.where(self.spread, self.at_risk - 0.5 * self.censored, self.at_risk)


def release(events: Integers, censored: Integers, at_risk: Integers, *, min_cell: int, min_at_risk: int) -> JoinedCells:
    """Join cells until every count in them, and what is left behind them, is 0 or at least `min_cell`.

    events: (causes, k); censored, at_risk: (k,). Ends before a cell with fewer than `min_at_risk` at risk.
    """
    edges: list[int] = []
    spread: list[bool] = []
    counts: list[Integers] = []
    first, k = 0, len(at_risk)
    for last in range(k):
        if at_risk[first] < min_at_risk:
            break
        inside = np.append(events[:, first : last + 1].sum(axis=1), censored[first : last + 1].sum())
        gone = int(inside.sum())
        # all who were at risk at some time in the joined cell: late entries come in, nobody is counted twice
        risk = int(at_risk[last]) + gone - int(events[:, last].sum() + censored[last])
        left = np.append(inside, risk - gone)
        if gone and bool(np.all((left == 0) | (left >= min_cell))):
            edges.append(last)
            spread.append(gone > int(events[:, last].sum() + censored[last]))
            counts.append(np.append(inside, risk))
            first = last + 1
            if first == k:
                break
    table = np.array(counts, dtype=np.int64).reshape(len(edges), len(events) + 2)
    return JoinedCells(edges=np.array(edges, dtype=np.int64), events=table[:, :-2].T, censored=table[:, -2],
                       at_risk=table[:, -1], spread=np.array(spread, dtype=bool))  # fmt: skip


def survival_steps(events: Integers, at_risk: Integers | Floats) -> Floats:
    """Kaplan-Meier: survival after each cell, (k,)."""
    return np.asarray(np.multiply.accumulate(1.0 - _share(events, at_risk)))


def greenwood(events: Integers, at_risk: Integers | Floats) -> Floats:
    """Running sum of d/(n (n - d)): the variance of log survival; cells where all die add nothing."""
    return np.asarray(fp.cumulative(_share(events, at_risk * (at_risk - events))))


def log_log_bands(survival: Floats, variance: Floats, *, z: float) -> tuple[Floats, Floats]:
    """Pointwise lower and upper limits on the log(-log) scale; equal to the curve at 0 and 1."""
    inner = (survival > 0) & (survival < 1)
    log_s = np.log(np.where(inner, survival, 0.5))
    spread = np.exp(z * np.sqrt(variance) / np.abs(log_s))
    lower = np.where(inner, np.exp(log_s * spread), survival)
    upper = np.where(inner, np.exp(log_s / spread), survival)
    return lower, upper


def restricted_mean(events: Integers, at_risk: Integers, *, width: float, cells: int) -> tuple[float, float]:
    """Area under the curve over the first `cells` cells, and its variance (Greenwood), in units of `width`."""
    d, n = events[:cells], at_risk[:cells]
    area = survival_steps(d, n) * width
    later = fp.cumulative_from_end(area)
    return float(fp.ordered_sum(area)), float(fp.ordered_sum(later * later * _share(d, n * (n - d))))


def cumulative_incidence(events: Integers, at_risk: Integers | Floats) -> Floats:
    """Aalen-Johansen: probability of each cause up to and including each cell, (causes, k)."""
    free = np.concatenate([[1.0], survival_steps(events.sum(axis=0), at_risk)])[:-1]
    return np.asarray(fp.cumulative(free * _share(events, at_risk), axis=1))


def _share(part: Integers, whole: Integers | Floats) -> Floats:
    return np.where(whole > 0, part / np.where(whole > 0, whole, 1), 0.0)
