"""Whether probabilities can be believed: Brier, log loss, intercept, slope, observed/expected, curve, ECE.

Pure functions on arrays; probabilities are held inside [1e-12, 1 - 1e-12] where a logarithm is taken.

Sources: Cox 1958 (intercept and slope of y on logit p); Van Calster et al. 2016 (what they say); Naeini et al.
2015 (expected calibration error).
"""

from __future__ import annotations

from dataclasses import dataclass
from itertools import pairwise

import numpy as np
from numpy.typing import NDArray

from cohortium.reports.discrimination import Z95
from cohortium.reports.measure import MIN_CLASS, Measure, unavailable

__all__ = [
    "Bin",
    "LogisticFit",
    "brier",
    "calibration_bins",
    "calibration_intercept",
    "calibration_slope",
    "expected_calibration_error",
    "fit_logistic",
    "log_loss",
    "log_losses",
    "logit",
    "observed_expected",
    "squared_errors",
]

Floats = NDArray[np.float64]
_TINY = 1e-12
_FURTHEST = 20.0  # a coefficient beyond this means that the fit runs away: the classes are separated


def logit(p: Floats) -> Floats:
    """Log odds."""
    held = np.clip(p, _TINY, 1 - _TINY)
    return np.asarray(np.log(held) - np.log1p(-held), dtype=np.float64)


def squared_errors(y: Floats, p: Floats) -> Floats:
    """Per-row Brier terms: (p - y)^2, or the sum over classes for p of shape (n, k)."""
    if p.ndim == 1:
        return np.asarray((p - y) ** 2, dtype=np.float64)
    truth = y[:, None] == np.arange(p.shape[1])[None, :]
    return np.asarray(((p - truth) ** 2).sum(axis=1), dtype=np.float64)


def brier(y: Floats, p: Floats) -> float:
    """Mean squared difference of probability and outcome; NaN for no patients."""
    return float(squared_errors(y, p).mean()) if len(y) else float("nan")


def log_losses(y: Floats, p: Floats) -> Floats:
    """Per-row - log probability of what happened; p of shape (n,) or (n, k)."""
    right = np.where(y > 0.5, p, 1 - p) if p.ndim == 1 else p[np.arange(len(y)), y.astype(np.int64)]
    return np.asarray(-np.log(np.clip(right, _TINY, 1.0)), dtype=np.float64)


def log_loss(y: Floats, p: Floats) -> float:
    """Mean of - log probability of what happened; NaN for no patients."""
    return float(log_losses(y, p).mean()) if len(y) else float("nan")


@dataclass(frozen=True, kw_only=True)
class LogisticFit:
    """intercept + slope x, with standard errors (0 where a coefficient was held fixed)."""

    intercept: float
    slope: float
    intercept_error: float
    slope_error: float


def fit_logistic(y: Floats, x: Floats, *, slope_fixed: bool = False, slope_weight: float = 0.0) -> LogisticFit | None:
    """Maximum likelihood of P(y = 1) = expit(a + b x) by Newton with halving; None where it runs away.

    slope_fixed: hold b = 1 (x is an offset). slope_weight: w of the penalty w/2 (b - 1)^2, as if w records'
    worth of information said b = 1.
    """
    if len(y) == 0:
        return None
    a, b = 0.0, 1.0
    best = _penalised(y, x, a, b, slope_weight)
    for _ in range(60):
        p = _expit(a + b * x)
        w = p * (1 - p)
        ga, gb = float((y - p).sum()), float(((y - p) * x).sum()) - slope_weight * (b - 1)
        haa, hab, hbb = float(w.sum()), float((w * x).sum()), float((w * x * x).sum()) + slope_weight
        determinant = haa if slope_fixed else haa * hbb - hab * hab
        if determinant <= 1e-12 * max(haa * hbb, 1e-12) or abs(a) > _FURTHEST or abs(b) > _FURTHEST:
            return None
        da = ga / haa if slope_fixed else (hbb * ga - hab * gb) / determinant
        db = 0.0 if slope_fixed else (haa * gb - hab * ga) / determinant
        step = 1.0
        while (now := _penalised(y, x, a + step * da, b + step * db, slope_weight)) < best - 1e-12 and step > 1e-6:
            step /= 2
        a, b, best = a + step * da, b + step * db, now
        if max(abs(step * da), abs(step * db)) < 1e-10:
            if slope_fixed:
                return LogisticFit(intercept=a, slope=1.0, intercept_error=haa**-0.5, slope_error=0.0)
            errors = (hbb / determinant) ** 0.5, (haa / determinant) ** 0.5
            return LogisticFit(intercept=a, slope=b, intercept_error=errors[0], slope_error=errors[1])
    return None


def calibration_intercept(y: Floats, p: Floats) -> Measure:
    """Calibration in the large: the intercept with slope held at 1. 0 is right; above 0: risks are too low."""
    return _of_fit(y, fit_logistic(y, logit(p), slope_fixed=True), "intercept")


def calibration_slope(y: Floats, p: Floats) -> Measure:
    """Slope of the outcome on logit p. 1 is right; below 1: predictions are too extreme."""
    return _of_fit(y, fit_logistic(y, logit(p)), "slope")


def observed_expected(y: Floats, p: Floats) -> Measure:
    """Events that happened over events predicted; interval on the log scale by the delta method."""
    seen, expected, n = float(y.sum()), float(p.sum()), len(y)
    if not expected or not n:
        return unavailable(n)
    value = seen / expected
    if _smaller_class(y) < MIN_CLASS:
        return Measure(value=value, n=n, reason=f"not available: n = {n}, fewer than {MIN_CLASS} of a class")
    reach = float(np.exp(Z95 * np.sqrt((1 - seen / n) / seen)))
    return Measure(value=value, low=value / reach, high=value * reach, n=n, method="delta method, log scale")


@dataclass(frozen=True, kw_only=True)
class Bin:
    """One group of patients with like predictions: mean prediction, share with the outcome, patients."""

    predicted: float
    observed: float
    n: int


def calibration_bins(y: Floats, p: Floats, *, bins: int = 10, at_least: int = 10) -> tuple[Bin, ...]:
    """Up to `bins` groups of equal size, each of at least `at_least`, equal predictions never parted.

    Empty when there are fewer than `at_least` patients.
    """
    order = np.argsort(p, kind="stable")
    ordered, truth, n = p[order], y[order], len(y)
    wanted = min(bins, n // at_least)
    cuts = [0]
    for i in range(1, wanted):
        cut = int(np.searchsorted(ordered, ordered[n * i // wanted], side="left"))
        if cut - cuts[-1] >= at_least and n - cut >= at_least:
            cuts.append(cut)
    if wanted == 0:
        return ()
    edges = [*cuts, n]
    return tuple(
        Bin(predicted=float(ordered[i:j].mean()), observed=float(truth[i:j].mean()), n=j - i)
        for i, j in pairwise(edges)
    )


def expected_calibration_error(y: Floats, p: Floats) -> float:
    """Mean distance between prediction and observed share over the bins, weighted by patients; NaN without bins."""
    found = calibration_bins(y, p)
    if not found:
        return float("nan")
    return sum(b.n * abs(b.predicted - b.observed) for b in found) / sum(b.n for b in found)


def _expit(x: Floats) -> Floats:
    return np.asarray(0.5 * (1 + np.tanh(x / 2)), dtype=np.float64)


def _penalised(y: Floats, x: Floats, a: float, b: float, slope_weight: float) -> float:
    eta = a + b * x
    return float((y * eta - np.logaddexp(0.0, eta)).sum()) - slope_weight / 2 * (b - 1) ** 2


def _smaller_class(y: Floats) -> int:
    positive = int((y > 0.5).sum())
    return min(positive, len(y) - positive)


def _of_fit(y: Floats, fit: LogisticFit | None, name: str) -> Measure:
    n = len(y)
    if _smaller_class(y) < MIN_CLASS:
        return unavailable(n, f"fewer than {MIN_CLASS} of a class")
    if fit is None:
        return unavailable(n, "predictions separate the classes or are all equal")
    value, error = (fit.intercept, fit.intercept_error) if name == "intercept" else (fit.slope, fit.slope_error)
    return Measure(value=value, low=value - Z95 * error, high=value + Z95 * error, n=n, method="Wald")
