"""What a new site may expect: random-effects mean of per-site differences and its prediction interval.

Sources: DerSimonian, Laird 1986; Higgins, Thompson, Spiegelhalter 2009 (prediction interval, t with k - 2).
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from scipy.special import stdtrit

from cohortium.reports.discrimination import Z95

__all__ = ["RandomEffects", "random_effects"]


@dataclass(frozen=True, kw_only=True)
class RandomEffects:
    """mean with its 95 % interval; tau2: variance between sites; new: interval for one new site (k >= 3, else None)."""

    mean: float
    low: float
    high: float
    tau2: float
    i2: float
    n_sites: int
    new_low: float | None
    new_high: float | None


def random_effects(effect: NDArray[np.float64], variance: NDArray[np.float64]) -> RandomEffects | None:
    """DerSimonian-Laird over k sites; effect, variance: (k,), variance > 0. None for fewer than 2 sites."""
    k = len(effect)
    if k < 2:
        return None
    if not (variance > 0).all():
        raise ValueError(f"variance: {int((variance <= 0).sum())} of {k} are not positive; leave those sites out")
    w = 1 / variance
    fixed = float((w * effect).sum() / w.sum())
    q = float((w * (effect - fixed) ** 2).sum())
    tau2 = max(0.0, (q - (k - 1)) / float(w.sum() - (w**2).sum() / w.sum()))
    v = 1 / (variance + tau2)
    mean, error = float((v * effect).sum() / v.sum()), float(v.sum() ** -0.5)
    reach = float(stdtrit(k - 2, 0.975)) * (tau2 + error**2) ** 0.5 if k >= 3 else None
    return RandomEffects(
        mean=mean,
        low=mean - Z95 * error,
        high=mean + Z95 * error,
        tau2=tau2,
        i2=max(0.0, (q - (k - 1)) / q) if q > 0 else 0.0,
        n_sites=k,
        new_low=None if reach is None else mean - reach,
        new_high=None if reach is None else mean + reach,
    )
