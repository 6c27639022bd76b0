"""How well scores order patients: AUROC with DeLong variance, within-site AUROC, average precision.

Pure functions on arrays. `y` is 0/1, `score` any real number, larger = more likely 1; ties count one half.

Sources: DeLong, DeLong, Clarke-Pearson 1988 (variance); Sun, Xu 2014 (by midranks, O(n log n)); Obuchowski
1997 (rows of one patient are no independent rows).
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from scipy.special import ndtr

from cohortium.reports.measure import MIN_CLASS, Measure, unavailable

__all__ = [
    "Z95",
    "AurocDifference",
    "auprc",
    "auprc_draws",
    "auroc",
    "auroc_difference",
    "auroc_draws",
    "auroc_measure",
    "auroc_within",
    "midranks",
    "pairs_within",
]

Z95 = 1.959963984540054
"""97.5 % quantile of the normal distribution."""

Floats = NDArray[np.float64]


def midranks(values: Floats) -> Floats:
    """Ranks from 1, equal values share their mean rank; shape (n,)."""
    _, place, counts = np.unique(values, return_inverse=True, return_counts=True)
    ends = np.cumsum(counts)
    return np.asarray((ends - (counts - 1) / 2)[place.reshape(-1)], dtype=np.float64)


def auroc(y: Floats, score: Floats) -> float:
    """Share of (1, 0) pairs in the right order; NaN where a class is missing."""
    positive = y > 0.5
    m, n = int(positive.sum()), int((~positive).sum())
    if not m or not n:
        return float("nan")
    return float((midranks(score)[positive].sum() - m * (m + 1) / 2) / (m * n))


def auroc_measure(y: Floats, score: Floats, patient: NDArray[np.int64]) -> Measure:
    """AUROC with DeLong's interval (rows of one patient taken together); value without interval below 5 of a class."""
    placed = _components([score], y, patient)
    if placed is None:
        return unavailable(len(y), "one class")
    (value,), ((variance,),), smaller = placed
    return _measure(value, variance, n=len(y), enough=smaller >= MIN_CLASS)


@dataclass(frozen=True, kw_only=True)
class AurocDifference:
    """AUROC of `a` minus AUROC of `b` on the same patients; p two-sided, None where no variance exists."""

    difference: float
    standard_error: float
    p: float | None


def auroc_difference(y: Floats, a: Floats, b: Floats, patient: NDArray[np.int64]) -> AurocDifference | None:
    """Paired DeLong comparison of two scores; None where a class holds fewer than 5."""
    placed = _components([a, b], y, patient)
    if placed is None or placed[2] < MIN_CLASS:
        return None
    (first, second), cov, _ = placed
    variance = max(float(cov[0, 0] + cov[1, 1] - 2 * cov[0, 1]), 0.0)
    error = float(np.sqrt(variance))
    if error < 1e-12:
        return AurocDifference(difference=first - second, standard_error=0.0, p=1.0 if first == second else None)
    p = float(2 * ndtr(-abs(first - second) / error))
    return AurocDifference(difference=first - second, standard_error=error, p=p)


def pairs_within(y: Floats, site: NDArray[np.str_]) -> dict[str, int]:
    """Number of (1, 0) pairs inside each site: the weights of the within-site AUROC."""
    return {
        str(name): int((y[site == name] > 0.5).sum()) * int((y[site == name] <= 0.5).sum()) for name in np.unique(site)
    }


def auroc_within(y: Floats, score: Floats, site: NDArray[np.str_], patient: NDArray[np.int64]) -> Measure:
    """AUROC over pairs of patients of the same site: the mean of the sites' AUROCs, weighted by their pairs.

    It cannot profit from sites that differ in outcome share. Variance: sum of w^2 DeLong variance; a site with a
    single record of a class counts with the largest variance a figure in [0, 1] can have, 1/4.
    """
    pairs = pairs_within(y, site)
    total = sum(pairs.values())
    if total == 0:
        return unavailable(len(y), "no site holds both classes")
    value, variance, smaller = 0.0, 0.0, 0
    for name, count in pairs.items():
        rows = site == name
        placed = _components([score[rows]], y[rows], patient[rows])
        if count and placed is not None:
            weight = count / total
            value += weight * placed[0][0]
            variance += weight * weight * (float(placed[1][0, 0]) if placed[2] > 1 else 0.25)
            smaller += placed[2]
    return _measure(value, variance, n=len(y), enough=smaller >= MIN_CLASS)


def auprc(y: Floats, score: Floats) -> float:
    """Average precision (sum of precision x gained recall over distinct thresholds); NaN without a positive."""
    return float(auprc_draws(y, score, np.ones((1, len(y))))[0])


def auprc_draws(y: Floats, score: Floats, weights: Floats) -> Floats:
    """Average precision under each row of weights (b, n); NaN where a draw holds no positive."""
    hits, seen = _cumulated(y, score, weights)
    precision = np.divide(hits, seen, out=np.zeros_like(hits), where=seen > 0)
    gained = np.diff(hits, axis=1, prepend=0.0)
    return _ratio((gained * precision).sum(axis=1), hits[:, -1])


def auroc_draws(y: Floats, score: Floats, weights: Floats) -> Floats:
    """AUROC under each row of weights (b, n); NaN where a draw lacks a class."""
    hits, seen = _cumulated(y, score, weights)
    false = seen - hits
    before = np.diff(hits, axis=1, prepend=0.0)
    above = false[:, -1:] - (false + np.concatenate([np.zeros((len(false), 1)), false[:, :-1]], axis=1)) / 2
    return _ratio((before * above).sum(axis=1), hits[:, -1] * false[:, -1])


def _cumulated(y: Floats, score: Floats, weights: Floats) -> tuple[Floats, Floats]:
    """Weighted hits and records at or above each distinct score, from the highest down."""
    order = np.argsort(-score, kind="stable")
    ends = np.flatnonzero(np.append(np.diff(score[order]) != 0, True))
    ordered = weights[:, order]
    return np.cumsum(ordered * y[order], axis=1)[:, ends], np.cumsum(ordered, axis=1)[:, ends]


def _ratio(top: Floats, bottom: Floats) -> Floats:
    result = np.full(top.shape, np.nan)
    np.divide(top, bottom, out=result, where=bottom > 0)
    return result


def _measure(value: float, variance: float, *, n: int, enough: bool) -> Measure:
    if not enough:
        return Measure(value=value, n=n, reason=f"not available: n = {n}, fewer than {MIN_CLASS} of a class")
    if variance <= 0:
        return Measure(value=value, n=n, reason=f"not available: n = {n}, every pair in the same order")
    reach = Z95 * float(np.sqrt(variance))
    return Measure(value=value, low=max(0.0, value - reach), high=min(1.0, value + reach), n=n, method="DeLong")


def _components(scores: list[Floats], y: Floats, patient: NDArray[np.int64]) -> tuple[list[float], Floats, int] | None:
    """AUROC of each score, their covariance matrix, and the size of the smaller class (patients).

    V10 is each positive's share of negatives below it, V01 each negative's share of positives above it, both
    minus the AUROC and summed per patient. With one row a patient this is DeLong's covariance.
    """
    positive = y > 0.5
    m, n = int(positive.sum()), int((~positive).sum())
    if not m or not n:
        return None
    codes = np.unique(patient, return_inverse=True)[1].reshape(-1)
    k = int(codes.max()) + 1
    values, ten, one = [], np.zeros((len(scores), k)), np.zeros((len(scores), k))
    for i, score in enumerate(scores):
        ranks = midranks(score)
        v10 = (ranks[positive] - midranks(score[positive])) / n
        v01 = 1 - (ranks[~positive] - midranks(score[~positive])) / m
        value = float(v10.mean())
        values.append(value)
        ten[i] = np.bincount(codes[positive], v10 - value, minlength=k)
        one[i] = np.bincount(codes[~positive], v01 - value, minlength=k)
    with_positive, with_negative = len(np.unique(codes[positive])), len(np.unique(codes[~positive]))
    smaller = min(with_positive, with_negative)
    if smaller < 2:
        return values, np.zeros((len(scores), len(scores))), smaller

    def inner(a: Floats, b: Floats) -> Floats:
        return np.asarray((a[:, None, :] * b[None, :, :]).sum(axis=2), dtype=np.float64)

    s10 = inner(ten, ten) * with_positive / (with_positive - 1) / m**2
    s01 = inner(one, one) * with_negative / (with_negative - 1) / n**2
    cross = inner(ten, one) * k / (k - 1) / (m * n)
    return values, s10 + s01 + cross + cross.T, smaller
