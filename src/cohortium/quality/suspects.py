"""Which of a site's own records a person should look at first: pure formulas of the list that stays at the site.

Two things can be wrong with a record, and they are asked apart. Its *label*: the others' models contradict it, once the
site's own level is taken into account, so that where hardly anybody is a case, the one who is called one comes first.
Its *values*: they look unlike the trusted records; then its label says nothing, whether it agrees or not. With both in
one number an image of noise whose label agrees by chance was never listed.

What a record loses in trust (`evidence.record_suspicion`) stays as it was: verdicts on sites rest on it. What else was
tried, with its figures: docs/results.md.
"""

from __future__ import annotations

import math

import numpy as np
from numpy.typing import NDArray

from cohortium.core import fixed_point as fp
from cohortium.quality.evidence import CLIP, COIN, CONTAMINATION, log_sigmoid

__all__ = ["DEFORMED", "own_margin", "suspect_odds", "suspicion"]

Floats = NDArray[np.float64]

DEFORMED = 0.01
"""Share of records whose values are expected to be wrong."""

_USUAL = {True: 2.5, False: 3.5}  # oddity of images, of tables, from which values are suspect: columns have long tails
_SLOPE, _MOST = 2.0, 8.0  # nats for each more, and at most
_LEVEL_STEPS = 40


def own_margin(predictor: Floats, y: Floats) -> Floats:
    """How strongly the models agree with each label of one site, its own level taken into account, (n,).

    predictor: calibrated log-odds u_i of models that never saw the site; y: 0/1. m_i = e_i (u_i + b) with the most
    probable shift b of all the site's log-odds, which is N(0, 1) beforehand.
    """
    b = 0.0
    for _ in range(_LEVEL_STEPS):
        p = fp.sigmoid(predictor + b)
        step = (float(fp.ordered_sum(y - p)) - b) / (float(fp.ordered_sum(p * (1.0 - p))) + 1.0)
        b += min(max(step, -1.0), 1.0)
    found: Floats = (2.0 * y - 1.0) * (predictor + b)
    return found


def suspect_odds(margin: Floats, oddity: Floats, *, images: bool) -> Floats:
    """Log-odds that a record's label is wrong, and that its values are, (n, 2).

    margin: of `own_margin`, (n,); oddity: of `novelty.record_oddity`, (n,).
    """
    agree = np.maximum(log_sigmoid(margin), -CLIP)
    against = np.maximum(log_sigmoid(-margin), -CLIP)
    label = _log_odds(CONTAMINATION) + against - agree
    values = _log_odds(DEFORMED) + np.clip(_SLOPE * (oddity - _USUAL[images]), 0.0, _MOST) + COIN - agree
    return np.column_stack([label, values])


def suspicion(odds: Floats) -> Floats:
    """The probability that one or the other is wrong, (n,). odds: of `suspect_odds`."""
    found: Floats = np.exp(log_sigmoid(np.logaddexp(odds[:, 0], odds[:, 1])))
    return found


def _log_odds(share: float) -> float:
    return math.log(share / (1.0 - share))
