"""Survival of two tables side by side: gap of the curves, optimism, log-rank, restricted means, censoring.

KM gap: the mean absolute distance of two Kaplan-Meier curves up to tau, the 95 % quantile of the real follow-up.
Optimism is the same with its sign (above 0: the synthetic patients live longer), after Norcliffe et al. 2023.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from cohortium.models.log_rank import log_rank_test, observed_minus_expected
from cohortium.models.survival_curve import greenwood, survival_steps

__all__ = ["Steps", "kaplan_meier", "km_gap", "log_rank_p", "optimism", "restricted_mean", "tau_of"]

Floats = NDArray[np.float64]

N_POINTS = 300
_FOLLOW_UP = 0.95


@dataclass(frozen=True, eq=False)
class Steps:
    """A Kaplan-Meier curve: survival from `times` on, its variance term (Greenwood), patients at risk before."""

    times: Floats
    survival: Floats
    greenwood: Floats
    at_risk: NDArray[np.int64]

    def at(self, times: Floats) -> Floats:
        """Survival at any times."""
        return np.concatenate([[1.0], self.survival])[np.searchsorted(self.times, times, side="right")]


def kaplan_meier(time: Floats, event: Floats) -> Steps:
    """The curve of these patients. event: 1 where it happened."""
    times = np.unique(time)
    place = np.searchsorted(times, time)
    died = np.bincount(place[event == 1], minlength=len(times)).astype(np.int64)
    left = np.bincount(place, minlength=len(times)).astype(np.int64)
    at_risk = len(time) - np.concatenate([[0], np.cumsum(left)[:-1]]).astype(np.int64)
    return Steps(times, survival_steps(died, at_risk), greenwood(died, at_risk), at_risk)


def tau_of(time: Floats) -> float:
    """Up to where curves are compared: the 95 % quantile of the real follow-up."""
    return float(np.quantile(time, _FOLLOW_UP))


def _difference(real: tuple[Floats, Floats], other: tuple[Floats, Floats], tau: float) -> Floats:
    grid = (np.arange(N_POINTS) + 0.5) * tau / N_POINTS
    return kaplan_meier(*other).at(grid) - kaplan_meier(*real).at(grid)


def km_gap(real: tuple[Floats, Floats], other: tuple[Floats, Floats], tau: float) -> float:
    """Mean absolute distance of the curves on (0, tau). real, other: (time, event)."""
    return float(np.abs(_difference(real, other, tau)).mean())


def optimism(real: tuple[Floats, Floats], other: tuple[Floats, Floats], tau: float) -> float:
    """Mean signed distance on (0, tau); positive where the other table lives longer."""
    return float(_difference(real, other, tau).mean())


def log_rank_p(real: tuple[Floats, Floats], other: tuple[Floats, Floats]) -> float:
    """p-value of the log-rank test between the two tables; NaN without an event."""
    times = np.unique(np.concatenate([real[0], other[0]]))
    events, at_risk = [], []
    for time, event in (real, other):
        place = np.searchsorted(times, time)
        events.append(np.bincount(place[event == 1], minlength=len(times)))
        left = np.bincount(place, minlength=len(times))
        at_risk.append(len(time) - np.concatenate([[0], np.cumsum(left)[:-1]]))
    d, n = np.array(events, dtype=np.int64), np.array(at_risk, dtype=np.int64)
    if d.sum() == 0:
        return float("nan")
    return float(log_rank_test(*observed_minus_expected(d, n)).p_value)


def restricted_mean(time: Floats, event: Floats, tau: float) -> tuple[float, float]:
    """Mean survival time up to tau, and its standard error (Greenwood)."""
    curve = kaplan_meier(time, event)
    inside = curve.times < tau
    edges = np.concatenate([[0.0], curve.times[inside], [tau]])
    height = np.concatenate([[1.0], curve.survival[inside]])
    areas = np.diff(edges) * height
    later = np.cumsum(areas[::-1])[::-1][1:]
    terms = np.diff(np.concatenate([[0.0], curve.greenwood[inside]]))
    return float(areas.sum()), float(np.sqrt(max((later**2 * np.nan_to_num(terms, posinf=0.0)).sum(), 0.0)))
