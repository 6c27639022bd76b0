"""Survival: Harrell's C in O(n log^2 n), within-site C, Kaplan-Meier, AUROC at a time, integrated Brier score.

Pure functions. time >= 0 in any unit, event True where it happened, risk larger = sooner. A pair is comparable
when the earlier patient had the event; at equal times an event comes before a censoring, two events are not
comparable, equal risks count one half (the convention of lifelines). Entry times are not used here.

Sources: Harrell et al. 1982; Kaplan, Meier 1958 with log-log bands; Uno et al. 2007 and Hung, Chiang 2010 (weights
by inverse probability of censoring); Graf et al. 1999 (Brier score under censoring).
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from cohortium.reports.discrimination import Z95
from cohortium.reports.measure import MIN_CLASS, Measure, unavailable

__all__ = [
    "MATRIX_LIMIT",
    "Curve",
    "auroc_at",
    "brier_at",
    "c_draws",
    "c_index",
    "c_index_measure",
    "c_index_within",
    "comparable_pairs",
    "integrated_brier",
    "kaplan_meier",
    "observed_expected_at",
]

MATRIX_LIMIT = 2000
"""Up to so many rows, C is resampled by a matrix of pairs; above, its interval comes from linearisation."""

Floats = NDArray[np.float64]
Bools = NDArray[np.bool_]
Ints = NDArray[np.int64]


def c_index(time: Floats, event: Bools, risk: Floats) -> float:
    """Share of comparable pairs in which the earlier event had the larger risk; NaN without such a pair."""
    right, pairs = _concordance(time, event, risk)
    return float(right.sum() / pairs.sum()) if pairs.sum() else float("nan")


def comparable_pairs(time: Floats, event: Bools) -> int:
    """Number of comparable pairs: the weight of a site in the within-site C."""
    return int(_concordance(time, event, np.zeros(len(time)))[1].sum())


def c_index_measure(time: Floats, event: Bools, risk: Floats, patient: Ints, site: NDArray[np.str_]) -> Measure:
    """C over all comparable pairs, interval by linearisation (delta method over patients), as for large n."""
    return _linearised([(time, event, risk, patient)], len(site))


def c_index_within(time: Floats, event: Bools, risk: Floats, patient: Ints, site: NDArray[np.str_]) -> Measure:
    """C over pairs of patients of the same site: the mean of the sites' C weighted by comparable pairs."""
    groups = [site == name for name in np.unique(site)]
    return _linearised([(time[rows], event[rows], risk[rows], patient[rows]) for rows in groups], len(site))


def c_draws(
    time: Floats, event: Bools, risks: list[Floats], weights: Floats, *, site: NDArray[np.str_] | None = None
) -> list[Floats]:
    """C of each of several risks under each row of integer weights (b, n); NaN where a draw has no pair.

    site: count only pairs inside a site. Products of whole numbers: exact whatever the order of adding.
    Meant for n <= MATRIX_LIMIT (memory n^2).
    """
    groups = [np.ones(len(time), dtype=bool)] if site is None else [site == name for name in np.unique(site)]
    pairs = np.zeros(len(weights))
    right = [np.zeros(len(weights)) for _ in risks]
    for rows in groups:
        key, w = _keys(time[rows], event[rows]), weights[:, rows]
        comparable = event[rows][:, None] & (key[None, :] > key[:, None])
        pairs += ((w @ comparable.astype(np.float64)) * w).sum(axis=1)
        for total, risk in zip(right, risks, strict=True):
            higher = np.sign(risk[rows][:, None] - risk[rows][None, :]) + 1  # 2 right, 1 tied, 0 wrong
            total += ((w @ (higher * comparable)) * w).sum(axis=1) / 2
    return [np.divide(total, pairs, out=np.full(len(pairs), np.nan), where=pairs > 0) for total in right]


@dataclass(frozen=True, kw_only=True, eq=False)
class Curve:
    """Kaplan-Meier at the distinct times of an event; at_risk, events: patients just before and at each time."""

    time: Floats
    survival: Floats
    low: Floats
    high: Floats
    at_risk: Ints
    events: Ints

    def at(self, times: Floats) -> Floats:
        """Survival at the given times (right-continuous; 1 before the first event)."""
        place = np.searchsorted(self.time, times, side="right")
        return np.concatenate([[1.0], self.survival])[place]

    def before(self, times: Floats) -> Floats:
        """Survival just before the given times."""
        place = np.searchsorted(self.time, times, side="left")
        return np.concatenate([[1.0], self.survival])[place]


def kaplan_meier(time: Floats, event: Bools) -> Curve:
    """Product-limit curve with pointwise log-log 95 % bands (Greenwood variance)."""
    times = np.unique(time[event])
    ordered = np.sort(time)
    at_risk = len(time) - np.searchsorted(ordered, times, side="left")
    died = np.sort(time[event])
    events = np.searchsorted(died, times, side="right") - np.searchsorted(died, times, side="left")
    survival = np.cumprod(1 - events / at_risk, dtype=np.float64)
    left = at_risk - events
    greenwood = np.cumsum(np.divide(events, at_risk * left, out=np.zeros(len(times)), where=left > 0))
    inside = (survival > 0) & (survival < 1)
    logs = np.log(np.where(inside, survival, 0.5))
    reach = np.exp(Z95 * np.sqrt(greenwood) / np.abs(logs))
    return Curve(
        time=times,
        survival=survival,
        low=np.where(inside, np.exp(logs * reach), survival),
        high=np.where(inside, np.exp(logs / reach), survival),
        at_risk=at_risk.astype(np.int64),
        events=events.astype(np.int64),
    )


def auroc_at(time: Floats, event: Bools, risk: Floats, *, at: float) -> float:
    """AUROC of "event by `at`" against "still free of it at `at`", censoring weighted out; NaN where undefined.

    Cases carry 1 / G(time -) with G the Kaplan-Meier curve of censoring; controls share one weight, which cancels.
    """
    case, control = event & (time <= at), time > at
    if not case.any() or not control.any():
        return float("nan")
    weight = 1 / kaplan_meier(time, ~event).before(time[case])
    ordered = np.sort(risk[control])
    below = np.searchsorted(ordered, risk[case], side="left")
    upto = np.searchsorted(ordered, risk[case], side="right")
    return float((weight * (below + upto) / 2).sum() / (weight.sum() * len(ordered)))


def brier_at(time: Floats, event: Bools, survival: Floats, *, at: float) -> float:
    """Mean squared error of the predicted survival at `at`, censoring weighted out. survival: (n,)."""
    censoring = kaplan_meier(time, ~event)
    gone, there = event & (time <= at), time > at
    weight = np.zeros(len(time))
    weight[gone] = 1 / censoring.before(time[gone])
    weight[there] = 1 / censoring.at(np.array([at]))[0] if there.any() else 0.0
    return float((weight * (survival - there) ** 2).mean())


def integrated_brier(time: Floats, event: Bools, survival: Floats, *, times: Floats) -> float:
    """Mean Brier score over `times` (T >= 2, rising) by the trapezoid rule. survival: (n, T) predictions there."""
    if len(times) < 2 or not (np.diff(times) > 0).all():
        raise ValueError(f"times must rise and hold at least 2 values, got {len(times)}")
    scores = np.array([brier_at(time, event, survival[:, i], at=float(t)) for i, t in enumerate(times)])
    return float((np.diff(times) * (scores[1:] + scores[:-1]) / 2).sum() / (times[-1] - times[0]))


def observed_expected_at(time: Floats, event: Bools, survival: Floats, *, at: float) -> float:
    """Kaplan-Meier share with the event by `at` over the mean predicted share. survival: (n,) predictions."""
    expected = float((1 - survival).mean()) if len(survival) else 0.0
    return float(1 - kaplan_meier(time, event).at(np.array([at]))[0]) / expected if expected else float("nan")


def _keys(time: Floats, event: Bools) -> Ints:
    """Integers that order observations: by time, an event before a censoring at the same time."""
    order = np.unique(time, return_inverse=True)[1].reshape(-1)
    return np.asarray(2 * order + ~event, dtype=np.int64)


def _ranks(risk: Floats) -> Ints:
    return np.asarray(np.unique(risk, return_inverse=True)[1].reshape(-1), dtype=np.int64)


def _concordance(time: Floats, event: Bools, risk: Floats) -> tuple[Floats, Floats]:
    """Per event, as the earlier one of a pair: concordant (ties one half) and comparable partners."""
    key, rank = _keys(time, event), _ranks(risk)
    return _later(key[event], rank[event], key, rank)


def _later(key: Ints, rank: Ints, other_key: Ints, other_rank: Ints) -> tuple[Floats, Floats]:
    """For each (key, rank): others with a larger key and a smaller rank (equal ranks one half), and with a larger key.

    Two different keys first differ in one highest bit. For each bit, those with 0 there look up those with 1
    that share all higher bits, by binary search in sorted (prefix, rank): strict in key without special cases.
    """
    right, seen = np.zeros(len(key)), np.zeros(len(key))
    if not len(key) or not len(other_key):
        return right, seen
    base = int(max(rank.max(), other_rank.max())) + 2
    for bit in range(int(max(key.max(), other_key.max())).bit_length()):
        ask = np.flatnonzero((key >> bit) & 1 == 0)
        tell = (other_key >> bit) & 1 == 1
        codes = np.sort((other_key[tell] >> (bit + 1)) * base + other_rank[tell])
        start = (key[ask] >> (bit + 1)) * base
        first = np.searchsorted(codes, start, side="left")
        below = np.searchsorted(codes, start + rank[ask], side="left")
        upto = np.searchsorted(codes, start + rank[ask], side="right")
        right[ask] += (below + upto) / 2 - first
        seen[ask] += np.searchsorted(codes, start + base - 1, side="left") - first
    return right, seen


def _linearised(groups: list[tuple[Floats, Bools, Floats, Ints]], n: int) -> Measure:
    """C over pairs inside the groups. Each patient's pull on it is (own concordant - C x own pairs) / all pairs."""
    right_all, pairs_all, people, events = [], [], [], 0
    for time, event, risk, patient in groups:
        key, rank = _keys(time, event), _ranks(risk)
        right, pairs = np.zeros(len(time)), np.zeros(len(time))
        right[event], pairs[event] = _later(key[event], rank[event], key, rank)
        if len(time):
            later = _later(key.max() - key, rank.max() - rank, (key.max() - key)[event], (rank.max() - rank)[event])
            right, pairs = right + later[0], pairs + later[1]
        right_all.append(right)
        pairs_all.append(pairs)
        people.append(patient)
        events += int(event.sum())
    right, pairs, patient = np.concatenate(right_all), np.concatenate(pairs_all), np.concatenate(people)
    total = pairs.sum() / 2  # every pair was seen from both sides
    if not total:
        return unavailable(n, "no comparable pair")
    value = float(right.sum() / 2 / total)
    if events < MIN_CLASS:
        return Measure(value=value, n=n, reason=f"not available: n = {n}, fewer than {MIN_CLASS} events")
    pull = np.bincount(np.unique(patient, return_inverse=True)[1].reshape(-1), (right - value * pairs) / total)
    k = len(pull)
    reach = Z95 * float(np.sqrt((pull**2).sum() * k / (k - 1)))
    if reach < 1e-12:
        return Measure(value=value, n=n, reason=f"not available: n = {n}, every pair in the same order")
    return Measure(value=value, low=max(0.0, value - reach), high=min(1.0, value + reach), n=n, method="linearised")
