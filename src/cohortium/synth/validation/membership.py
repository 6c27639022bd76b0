"""Was this patient in the training rows? Two attacks on the synthetic table, judged on training and held-out patients.

(a) distance: the nearer the nearest synthetic row, the likelier a member. (b) density: that distance against the one to
the nearest of half of the held-out patients, so that people in crowded places are not all called members.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from cohortium.reports.discrimination import auroc, auroc_measure
from cohortium.reports.measure import Measure
from cohortium.synth.rows import Rows
from cohortium.synth.validation.distances import Space, nearest

__all__ = ["Membership", "membership", "true_positive_rate"]

Floats = NDArray[np.float64]

FALSE_POSITIVES = 0.01
_LEAST_OUTSIDERS = 100


@dataclass(frozen=True, kw_only=True)
class Membership:
    """AUC of both attacks, and the share of members found at 1 % false alarms (None: too few outsiders)."""

    distance: Measure
    density: Measure
    found: float | None

    @property
    def worst(self) -> Measure:
        """The attack that does better."""
        pair = (self.distance, self.density)
        return max(pair, key=lambda one: one.value if one.value is not None else 0.0)


def membership(training: Rows, control: Rows, synthetic: Rows, rng: np.random.Generator) -> Membership:
    """Both attacks, on equally many training and held-out patients."""
    space = Space.of(training)
    n = min(len(training), len(control))
    inside = space.place(training.take(rng.permutation(len(training))[:n]))
    outside = space.place(control.take(rng.permutation(len(control))[:n]))
    published = space.place(synthetic)
    near_in, near_out = (nearest(x, published, 1)[0][:, 0] for x in (inside, outside))
    half = n // 2
    known, unknown = outside[:half], outside[half:]
    density_in = _log_ratio(near_in, inside, known)
    density_out = _log_ratio(near_out[half:], unknown, known)
    return Membership(
        distance=_auc(-near_in, -near_out),
        density=_auc(density_in, density_out),
        found=true_positive_rate(-near_in, -near_out),
    )


def true_positive_rate(inside: Floats, outside: Floats) -> float | None:
    """Share of members above the score that 1 % of outsiders exceed; None below 100 outsiders."""
    if len(outside) < _LEAST_OUTSIDERS:
        return None
    return float((inside > np.quantile(outside, 1 - FALSE_POSITIVES)).mean())


def _log_ratio(near: Floats, x: Floats, known: Floats) -> Floats:
    return np.asarray(np.log(nearest(x, known, 1)[0][:, 0] + 1e-9) - np.log(near + 1e-9))


def _auc(inside: Floats, outside: Floats) -> Measure:
    y = np.concatenate([np.ones(len(inside)), np.zeros(len(outside))])
    score = np.concatenate([inside, outside])
    measured = auroc_measure(y, score, np.arange(len(y), dtype=np.int64))
    return measured if measured.value is not None else Measure(value=auroc(y, score), n=len(y))
