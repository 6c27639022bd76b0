"""Rules that keep sites that are different but sound (the fairness guard). Pure formulas.

A two-class site whose patients the other sites' models still rank rightly is shifted, not harmful, whatever its labels
say of its level. Noisy values are ranked partly rightly as well, so where the records look unlike those of all others
the ranking must be what the models expect of these very patients; docs/adr tells what else was tried, docs/results.md
how often it helped. A one-class site cannot show a ranking, so it is asked instead of convicted.
Design: harmful-data.md 5.3 step 6 and 5.5.
"""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from cohortium.core import fixed_point as fp
from cohortium.quality.evidence import CONTAMINATION

__all__ = ["AS_EXPECTED", "LOOKS_NEW", "RANKED_RIGHTLY", "Ranking", "expected_auroc", "protects", "question", "ranking"]

Floats = NDArray[np.float64]

RANKED_RIGHTLY = 1.28
"""Standard errors above one half from which patients are ranked rightly for certain: one-sided 90 %."""

AS_EXPECTED = 2.0
"""Standard errors below the AUROC expected of its patients from which it does not protect a new-looking site."""

LOOKS_NEW = 2.0
"""Novelty, in nats, from which a site's records ask for a look, and a one-class site may be quarantined unasked."""


@dataclass(frozen=True)
class Ranking:
    """AUROC of a site's patients under the others' models, and its distance from one half in standard errors.

    expected: AUROC that the models expect of these patients; shortfall: standard errors by which it is missed.
    """

    auroc: float
    errors: float
    expected: float = 0.5
    shortfall: float = 0.0


def ranking(score: Floats, y: Floats, *, predictor: Floats | None = None) -> Ranking:
    """By the uncalibrated scores, since a reversed calibration would turn it. (0.5, 0) for one class.

    se = sqrt((n0 + n1 + 1)/(12 n0 n1)), that of the Mann-Whitney statistic without any effect. predictor: calibrated
    log-odds, (n,), of which an AUROC is expected.
    """
    n1 = int(np.count_nonzero(y == 1))
    n0 = len(y) - n1
    if not n0 or not n1:
        return Ranking(0.5, 0.0)
    ordered = np.sort(score)
    ranks = 0.5 * (np.searchsorted(ordered, score, "left") + np.searchsorted(ordered, score, "right") + 1)
    area = (float(ranks[y == 1].sum()) - n1 * (n1 + 1) / 2) / (n0 * n1)
    errors = (area - 0.5) / math.sqrt((n0 + n1 + 1) / (12 * n0 * n1))
    if predictor is None:
        return Ranking(area, errors)
    hoped = expected_auroc(score, predictor)
    return Ranking(area, errors, hoped, (hoped - area) / _error_of(hoped, n0=n0, n1=n1))


def expected_auroc(score: Floats, predictor: Floats) -> float:
    """AUROC expected of a sound site with these patients: their labels drawn from the models' own probabilities.

    score: what ranks them; predictor: calibrated log-odds; both (n,). A share `CONTAMINATION` of labels is taken to be
    wrong. Patients who are much alike are hard to rank, and no more is expected. One half for fewer than two patients.

    The ratio of the expected number of pairs in the right order to that of pairs of one case and one control; ties
    count one half.
    """
    p = CONTAMINATION + (1.0 - 2.0 * CONTAMINATION) * fp.sigmoid(predictor)
    order = np.argsort(score, kind="stable")
    below = np.concatenate([[0.0], np.asarray(fp.cumulative(1.0 - p[order]), dtype=np.float64)])
    first, last = (np.searchsorted(score[order], score, side) for side in ("left", "right"))
    alone = float(fp.ordered_sum(p * (1.0 - p)))
    right = float(fp.ordered_sum(p * 0.5 * (below[first] + below[last]))) - 0.5 * alone
    pairs = float(fp.ordered_sum(p)) * float(below[-1]) - alone
    return right / pairs if len(score) > 1 else 0.5


def _error_of(area: float, *, n0: int, n1: int) -> float:
    """Standard error of an AUROC of this size from n0 controls and n1 cases (Hanley and McNeil 1982)."""
    area = min(max(area, 0.5), 0.995)
    case, control = area / (2 - area), 2 * area * area / (1 + area)
    spread = area * (1 - area) + (n1 - 1) * (case - area * area) + (n0 - 1) * (control - area * area)
    return math.sqrt(spread / (n0 * n1))


def protects(errors: float, shortfall: float, *, novelty: float, two_class: bool) -> bool:
    """Whether the ranking keeps a site. Only upwards: reversed labels rank below one half and are not protected.

    errors, shortfall: as in `Ranking`; novelty: of the site, in nats.
    """
    return two_class and errors > RANKED_RIGHTLY and (novelty < LOOKS_NEW or shortfall < AS_EXPECTED)


def question(n: int, *, majority: int) -> str:
    """What a person at a one-class site should confirm. majority: the class it (nearly) only has, 0 or 1."""
    here, other = ("1 = case", 0) if majority else ("0 = control", 1)
    return f"all {n} records say {here}, the model of the other sites expects {other}; please confirm the coding"
