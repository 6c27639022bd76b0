"""What a model tells about a site as a whole: the share of its patients with some property.

Many models are trained in which the site's share is low, and many in which it is high; a small classifier learns to
tell the two from what the models answer to the same questions. If it can, the released model gives the share away. No
model is judged by a classifier that saw it. This is about sites, not about patients: masks and differential privacy for
patients do not prevent it.

Source: Ganju et al. 2018, Property Inference Attacks on Fully Connected Neural Networks; nearest centroids instead of a
network, because there are few models.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from cohortium.privacy.leakage.membership import Membership, judge

__all__ = ["PropertyInference", "infer_property"]

Floats = NDArray[np.float64]


@dataclass(frozen=True, kw_only=True)
class PropertyInference:
    """figures: how well shadow models of a high share were told from those of a low one (guessing: 0.5).

    target: the score of the released model, above 0 where it looks like the high ones.
    """

    figures: Membership
    target: float


def infer_property(low: Floats, high: Floats, target: Floats) -> PropertyInference | None:
    """low, high: (k, f) answers of the shadow models; target: (f,). None with fewer than two models on a side."""
    if min(len(low), len(high)) < 2:
        return None
    scores_low = np.array([_score(np.delete(low, i, axis=0), high, low[i]) for i in range(len(low))])
    scores_high = np.array([_score(low, np.delete(high, i, axis=0), high[i]) for i in range(len(high))])
    figures = judge(scores_high, scores_low)
    assert figures is not None  # noqa: S101 - both sides have at least two
    return PropertyInference(figures=figures, target=float(_score(low, high, target)))


def _score(low: Floats, high: Floats, one: Floats) -> float:
    """How much nearer to the high centroid than to the low one, each answer in units of its spread."""
    together = np.concatenate([low - low.mean(axis=0), high - high.mean(axis=0)])
    spread = together.std(axis=0)
    usable = spread > 1e-12 * np.abs(np.concatenate([low, high])).max(axis=0, initial=0.0)
    if not usable.any():
        return 0.0
    direction = (high.mean(axis=0) - low.mean(axis=0))[usable] / spread[usable] ** 2
    middle = (high.mean(axis=0) + low.mean(axis=0))[usable] / 2
    return float((one[usable] - middle) @ direction)
