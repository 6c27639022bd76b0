"""How many records a site needs before its labels can be judged, by how well the probes rank patients.

Scores are Gaussian logits with the given AUROC, calibrated; a site's labels are reversed, or coins; n is the fewest
records at which the posterior passes `convict` in 80 % of sites. On weak tasks nobody can convict a small site
honestly, whatever the method. Design: harmful-data.md 5.4.
"""

from __future__ import annotations

import math

import numpy as np
from numpy.typing import NDArray
from scipy.special import ndtri

from cohortium.quality.evidence import COIN, reversed_terms, sound_terms

__all__ = ["AUROCS", "NEEDED", "detection_power", "needed_records", "records_for_power"]

Floats = NDArray[np.float64]

AUROCS = (0.60, 0.65, 0.70, 0.75, 0.80, 0.85, 0.90, 0.95)
NEEDED = {
    "reversed": (143, 62, 33, 20, 13, 9, 6, 4),
    "unrelated": (597, 242, 133, 81, 53, 36, 25, 18),
}
"""Records needed at each of `AUROCS`, as the design gives them; `records_for_power` finds them again."""

_POWER = 0.8
_PRIORS = (0.82, 0.06, 0.12)


def needed_records(auroc: float, *, harm: str = "reversed") -> int:
    """Records needed at an out-of-bag AUROC, read off the table between its columns; below .60 the .60 column."""
    return math.ceil(float(np.interp(auroc, AUROCS, NEEDED[harm])))


def detection_power(
    auroc: float, n: int, *, harm: str = "reversed", convict: float = 0.95, draws: int = 2000, seed: int = 0
) -> float:
    """Share of simulated harmful sites of n records that are convicted. harm: `reversed` or `unrelated`."""
    rng = np.random.default_rng(seed)
    between = math.sqrt(2.0) * float(ndtri(auroc))  # logits N(+-between^2 / 2, between^2) given the class: calibrated
    truth = rng.integers(0, 2, size=(draws, n))
    logit = (2 * truth - 1) * between**2 / 2 + between * rng.normal(size=(draws, n))
    given = 1 - truth if harm == "reversed" else rng.integers(0, 2, size=(draws, n))
    margin = (2 * given - 1) * logit
    terms = [
        math.log(_PRIORS[0]) + sound_terms(margin).sum(axis=1),
        math.log(_PRIORS[1]) + reversed_terms(margin).sum(axis=1),
        np.full(draws, math.log(_PRIORS[2]) + n * COIN),
    ]
    harmful = np.exp(np.logaddexp(terms[1], terms[2]) - np.logaddexp.reduce(terms))
    return float((harmful > convict).mean())


def records_for_power(auroc: float, *, harm: str = "reversed", convict: float = 0.95, draws: int = 2000) -> int:
    """Fewest records with 80 % power, by doubling and halving; at most 100,000."""
    high = 2
    while detection_power(auroc, high, harm=harm, convict=convict, draws=draws) < _POWER:
        high *= 2
        if high > 100_000:
            return high
    low = high // 2
    while high - low > 1:
        middle = (low + high) // 2
        enough = detection_power(auroc, middle, harm=harm, convict=convict, draws=draws) >= _POWER
        low, high = (low, middle) if enough else (middle, high)
    return high
