"""Whether the labels can be judged at all: slope and ranking of the scores, weighted by trust. Pure formulas.

Scores z of models that never saw a record's site are calibrated by u = a z + b (Platt 2000), from sums over
patients. A slope near or below zero would turn every verdict round in silence, so below `LEAST_SLOPE`, or with an
out-of-bag AUROC below `LEAST_AUROC`, the audit says nothing about labels. Design: harmful-data.md 5.3 step 3, 5.4.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from cohortium.core import fixed_point as fp

__all__ = [
    "LEAST_AUROC",
    "LEAST_AUROC_AGAIN",
    "LEAST_SLOPE",
    "LOGIT_CLIP",
    "ROUNDS",
    "SETTLED",
    "calibration_step",
    "calibration_terms",
    "clipped_mean",
    "margin",
    "must_be_silent",
    "weighted_auroc",
]

Floats = NDArray[np.float64]
Integers = NDArray[np.int64]

LOGIT_CLIP = 6.0
"""Without it one centre with inverted images flattened the slope to .01 (site AUROC .51 instead of .82)."""

LEAST_SLOPE, LEAST_AUROC = 0.3, 0.60
LEAST_AUROC_AGAIN = 0.65
"""After a second draw of halves, or a task too weak to be judged gets two chances to look strong enough by luck."""
ROUNDS, SETTLED = 12, 1e-5

_PENALTY = 1.0 / 100.0  # a^2 / (2 C), C = 100
_LONGEST = 2.0
_BITS = 20


@dataclass(frozen=True)
class _Sums:
    slope: float
    offset: float
    slope2: float
    both: float
    offset2: float


def clipped_mean(logits: Floats, unseen: NDArray[np.bool_]) -> Floats:
    """z_i: mean over the models that never saw the site of the logit, cut to -6 .. 6. logits, unseen: (n, models)."""
    held = np.clip(logits, -LOGIT_CLIP, LOGIT_CLIP)
    n_models = np.maximum(unseen.sum(axis=1), 1)
    total = np.zeros(len(logits))
    for column in range(logits.shape[1]):  # one after the other: the same bits for a record in any company
        total += np.where(unseen[:, column], held[:, column], 0.0)
    mean: Floats = total / n_models
    return mean


def margin(z: Floats, y: Floats, slope: float, offset: float) -> Floats:
    """m_i = e_i (a z_i + b), (n,)."""
    return (2.0 * y - 1.0) * (slope * z + offset)


def calibration_terms(z: Floats, y: Floats, q: Floats, slope: float, offset: float) -> Integers:
    """Five sums over a site's records as integers at 2^-20: the gradient in a and b, and the curvature aa, ab, bb."""
    mean = fp.sigmoid(slope * z + offset)
    residual, weight = q * (y - mean), q * mean * (1.0 - mean)
    terms = np.column_stack([residual * z, residual, weight * z * z, weight * z, weight])
    return np.asarray(fp.to_fixed(terms, _BITS, what="calibration").sum(axis=0), dtype=np.int64)


def calibration_step(total: Integers, slope: float, offset: float) -> tuple[float, float, bool]:
    """The next (a, b) by Newton from merged sums, and whether it has settled. Steps are cut to length 2."""
    s = _Sums(*(float(v) for v in fp.from_fixed(total, _BITS)))
    slope2 = s.slope2 + _PENALTY
    offset2 = s.offset2 + 1e-9
    down_a, down_b = s.slope - _PENALTY * slope, s.offset
    determinant = slope2 * offset2 - s.both * s.both
    if not determinant > 0.0:
        return slope, offset, True
    a = (offset2 * down_a - s.both * down_b) / determinant
    b = (slope2 * down_b - s.both * down_a) / determinant
    longest = max(abs(a), abs(b))
    if longest > _LONGEST:
        a, b = a * (_LONGEST / longest), b * (_LONGEST / longest)
    return slope + a, offset + b, longest < SETTLED


def weighted_auroc(cases: Integers, others: Integers) -> float:
    """AUROC from two histograms of weights over the same score cells, ties inside a cell counted one half.

    0.5 where a class has no weight.
    """
    n1, n0 = int(cases.sum()), int(others.sum())
    if n1 <= 0 or n0 <= 0:
        return 0.5
    below = np.concatenate([[0], np.cumsum(others)[:-1]])
    won = sum(int(c) * (2 * int(b) + int(o)) for c, b, o in zip(cases, below, others, strict=True))
    return won / (2 * n1 * n0)


def must_be_silent(slope: float, auroc: float, *, attempt: int = 0) -> bool:
    """Whether nothing may be said about labels. attempt: 0, or 1 for the second draw of halves."""
    return not (slope >= LEAST_SLOPE and auroc >= (LEAST_AUROC_AGAIN if attempt else LEAST_AUROC))
