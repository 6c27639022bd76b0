"""Tests between two models on the same patients, and Holm's correction over sites.

Exact McNemar (accuracy), sign flips (Brier and other mean differences), Wilcoxon signed-rank over permutations.

Sources: McNemar 1947, exact by the binomial; Holm 1979; Wilcoxon 1945 with normal approximation, zeros dropped and
continuity correction, as the swarm paper's evaluation used it.
"""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np
from numpy.typing import NDArray
from scipy.special import bdtr, ndtr

from cohortium.reports.discrimination import midranks

__all__ = ["FLIPS", "holm", "mcnemar", "sign_flip", "wilcoxon_greater"]

FLIPS = 9999
_BLOCK_CELLS = 4_000_000


def mcnemar(right_a: NDArray[np.bool_], right_b: NDArray[np.bool_]) -> float:
    """Two-sided exact p: were the patients whom only one model got right shared out evenly? 1 if there are none."""
    only_a, only_b = int((right_a & ~right_b).sum()), int((right_b & ~right_a).sum())
    if only_a + only_b == 0:
        return 1.0
    return min(1.0, 2 * float(bdtr(min(only_a, only_b), only_a + only_b, 0.5)))


def sign_flip(difference: NDArray[np.float64], *, rng: np.random.Generator, flips: int = FLIPS) -> float:
    """Two-sided p of the mean of per-patient differences being 0, by flipping signs; exact up to 12 patients.

    difference: (n,), one number a patient (sum rows of one patient first). 1 for no patients.
    """
    moved = difference[difference != 0]
    n = len(moved)
    if n == 0:
        return 1.0
    seen = abs(float(moved.sum())) - 1e-12 * float(np.abs(moved).sum())
    if n <= 12:
        signs = 1.0 - 2.0 * ((np.arange(2**n)[:, None] >> np.arange(n)) & 1)
        return float((np.abs((signs * moved).sum(axis=1)) >= seen).mean())
    reached, block = 0, max(1, _BLOCK_CELLS // n)
    for start in range(0, flips, block):
        b = min(block, flips - start)
        bits = np.unpackbits(rng.integers(0, 256, size=(b, (n + 7) // 8), dtype=np.uint8), axis=1)[:, :n]
        sums = np.einsum("bn,n->b", 1.0 - 2.0 * bits, moved, optimize=False)
        reached += int((np.abs(sums) >= seen).sum())
    return (1 + reached) / (1 + flips)


def holm(p: Mapping[str, float | None]) -> dict[str, float | None]:
    """p-values corrected for the number of tests made; tests that were not made (None) stay None."""
    made = sorted((value, name) for name, value in p.items() if value is not None)
    corrected: dict[str, float | None] = dict.fromkeys(p)
    worst = 0.0
    for i, (value, name) in enumerate(made):
        worst = max(worst, min(1.0, (len(made) - i) * value))
        corrected[name] = worst
    return corrected


def wilcoxon_greater(difference: NDArray[np.float64]) -> float:
    """One-sided signed-rank p of `difference > 0`: zeros dropped, normal approximation, continuity correction.

    1 where every difference is zero. d = 1..7 gives 0.011247.
    """
    moved = difference[difference != 0]
    n = len(moved)
    if n == 0:
        return 1.0
    ranks = midranks(np.abs(moved))
    plus = float(ranks[moved > 0].sum())
    _, ties = np.unique(np.abs(moved), return_counts=True)
    variance = n * (n + 1) * (2 * n + 1) / 24 - float((ties**3 - ties).sum()) / 48
    z = (plus - n * (n + 1) / 4 - 0.5) / variance**0.5
    return float(ndtr(-z))
