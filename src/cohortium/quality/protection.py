"""Rules that keep sites that are different but sound (the fairness guard). Pure formulas.

A two-class site whose patients the other sites' models rank about as well as these models expect is shifted, not
harmful, whatever its labels say of its level. What is expected follows from the patients themselves: of a ward where
all are old, less than of a mixed one. The first rule, "still ranked above chance", kept every site with noisy values
that was ranked partly rightly; docs/adr tells why it went, docs/results.md how often. A one-class site cannot show a
ranking, so it is asked instead of convicted. Design: harmful-data.md 5.3 step 6 and 5.5.
"""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from cohortium.core import fixed_point as fp
from cohortium.quality.evidence import CONTAMINATION

__all__ = ["AS_EXPECTED", "RANKED_RIGHTLY", "Ranking", "expected_auroc", "protects", "question", "ranking"]

Floats = NDArray[np.float64]

RANKED_RIGHTLY = 1.28
"""Standard errors above one half from which patients are ranked rightly for certain: one-sided 90 %."""

AS_EXPECTED = 2.0
"""Standard errors below the AUROC expected of a site's patients from which the ranking no longer protects it."""


@dataclass(frozen=True)
class Ranking:
    """AUROC of a site's patients under the others' models, and its distance from one half in standard errors.

    expected: AUROC that the models expect of these patients; above: distance from it, negative where it is missed.
    """

    auroc: float
    errors: float
    expected: float = 0.5
    above: float = 0.0


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
    return Ranking(area, errors, hoped, (area - hoped) / _error_of(hoped, n0=n0, n1=n1))


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


def protects(auroc: float, above: float, *, two_class: bool) -> bool:
    """Whether the ranking keeps a site: not the wrong way round, and no worse than chance explains.

    auroc: of the site's patients; above: standard errors above what is expected of them, as in `Ranking`.
    """
    return two_class and auroc > 0.5 and above > -AS_EXPECTED


def question(n: int, *, majority: int) -> str:
    """What a person at a one-class site should confirm. majority: the class it (nearly) only has, 0 or 1."""
    here, other = ("1 = case", 0) if majority else ("0 = control", 1)
    return f"all {n} records say {here}, the model of the other sites expects {other}; please confirm the coding"
