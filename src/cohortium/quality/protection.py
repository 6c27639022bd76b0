"""Rules that keep sites that are different but sound (the fairness guard). Pure formulas.

A two-class site whose patients are still ranked rightly by the other sites' models is shifted, not harmful. A one-class
site cannot show that, so it is asked instead of convicted. Design: harmful-data.md 5.3 step 6 and 5.5.
"""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

__all__ = ["RANKED_RIGHTLY", "Ranking", "protects", "question", "ranking"]

Floats = NDArray[np.float64]

RANKED_RIGHTLY = 1.28
"""Standard errors above one half from which the ranking protects: one-sided 90 %."""


@dataclass(frozen=True)
class Ranking:
    """AUROC of a site's patients under the others' models, and its distance from one half in standard errors."""

    auroc: float
    errors: float


def ranking(score: Floats, y: Floats) -> Ranking:
    """By the uncalibrated scores, since a reversed calibration would turn it. (0.5, 0) for one class.

    se = sqrt((n0 + n1 + 1)/(12 n0 n1)), that of the Mann-Whitney statistic without any effect.
    """
    n1 = int(np.count_nonzero(y == 1))
    n0 = len(y) - n1
    if not n0 or not n1:
        return Ranking(0.5, 0.0)
    ordered = np.sort(score)
    ranks = 0.5 * (np.searchsorted(ordered, score, "left") + np.searchsorted(ordered, score, "right") + 1)
    area = (float(ranks[y == 1].sum()) - n1 * (n1 + 1) / 2) / (n0 * n1)
    return Ranking(area, (area - 0.5) / math.sqrt((n0 + n1 + 1) / (12 * n0 * n1)))


def protects(errors: float, *, two_class: bool) -> bool:
    """Whether the ranking keeps a site. Only upwards: reversed labels rank below one half and are not protected."""
    return two_class and errors > RANKED_RIGHTLY


def question(n: int, *, majority: int) -> str:
    """What a person at a one-class site should confirm. majority: the class it (nearly) only has, 0 or 1."""
    here, other = ("1 = case", 0) if majority else ("0 = control", 1)
    return f"all {n} records say {here}, the model of the other sites expects {other}; please confirm the coding"
