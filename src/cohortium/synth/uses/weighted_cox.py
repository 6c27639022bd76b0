"""Cox regression and Kaplan-Meier curves with a weight for every patient, fast enough to be bootstrapped.

Breslow's handling of ties; Newton's method with halved steps. For patients of one table at hand: learning over sites is
the business of `models.cox`.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from cohortium.errors import DataError

__all__ = ["WeightedCox", "weighted_cox", "weighted_survival"]

Floats = NDArray[np.float64]

_MOST_STEPS = 25
_ENOUGH = 1e-8
_LARGEST = 30.0


@dataclass(frozen=True, kw_only=True, eq=False)
class WeightedCox:
    """Log hazard ratios and the inverse of the information (a variance where all weights are 1)."""

    coefficients: Floats
    covariance: Floats

    @property
    def errors(self) -> Floats:
        """Standard errors, if the weights are 1."""
        return np.sqrt(np.diag(self.covariance))


def weighted_cox(
    x: Floats, time: Floats, event: Floats, *, weights: Floats | None = None, l2: float = 0.0
) -> WeightedCox:
    """The fit to these patients. x: (n, p). l2: ridge per patient.

    Raises DataError without an event or where it does not settle.
    """
    w = np.ones(len(time)) if weights is None else weights
    order = np.argsort(-time, kind="stable")
    x, time, w = x[order] - np.average(x, axis=0, weights=w), time[order], w[order]
    died = (event[order] == 1) & (w > 0)
    if not died.any():
        raise DataError("no event among these patients; a hazard ratio needs some")
    last = np.searchsorted(-time, -time, side="right") - 1  # of those with the same time: all are at risk
    at, weight = last[died], w[died]
    b = np.zeros(x.shape[1])
    ridge = l2 * len(x)
    value, gradient, information = _sums(b, x, w, died, at, weight, ridge)
    for _ in range(_MOST_STEPS):
        step = np.linalg.lstsq(information, gradient, rcond=None)[0]
        for _ in range(20):
            tried = b + step
            if np.abs(tried).max() <= _LARGEST:
                found = _sums(tried, x, w, died, at, weight, ridge)
                if found[0] >= value - 1e-10:
                    break
            step = step / 2
        else:
            raise DataError("this Cox regression does not settle; a column may separate the patients")
        b, (value, gradient, information) = tried, found
        if float(np.abs(step).max()) < _ENOUGH:
            break
    return WeightedCox(coefficients=b, covariance=np.asarray(np.linalg.pinv(information), dtype=np.float64))


def _sums(
    b: Floats, x: Floats, w: Floats, died: NDArray[np.bool_], at: NDArray[np.int64], weight: Floats, ridge: float
) -> tuple[float, Floats, Floats]:
    """(log partial likelihood, gradient, information); patients by falling time."""
    eta = x @ b
    risk = w * np.exp(eta - eta.max())
    s0 = np.cumsum(risk)[at]
    rx = risk[:, None] * x
    s1 = np.cumsum(rx, axis=0)[at] / s0[:, None]
    value = float((weight * (eta[died] - eta.max() - np.log(s0))).sum())
    gradient = (weight[:, None] * (x[died] - s1)).sum(axis=0)
    # sum over events of weight S2/S0 = sum over patients of risk x x' times what has been shared out while at risk
    shares = np.zeros(len(x))
    np.add.at(shares, at, weight / s0)
    while_at_risk = np.cumsum(shares[::-1])[::-1]
    information = (rx * while_at_risk[:, None]).T @ x - (weight[:, None] * s1).T @ s1
    return value - 0.5 * ridge * float(b @ b), gradient - ridge * b, information + ridge * np.eye(len(b))


def weighted_survival(time: Floats, event: Floats, weights: Floats, *, at: Floats) -> Floats:
    """Kaplan-Meier survival at these times."""
    times, place = np.unique(time, return_inverse=True)
    died = np.bincount(place, weights=weights * (event == 1), minlength=len(times))
    left = np.bincount(place, weights=weights, minlength=len(times))
    at_risk = np.cumsum(left[::-1])[::-1]
    steps = np.cumprod(1.0 - np.where(at_risk > 0, died / np.maximum(at_risk, 1e-300), 0.0))
    return np.concatenate([[1.0], steps])[np.searchsorted(times, at, side="right")]
