"""Krum scores: how far each site's change lies from its nearest companions; shared by `krum`, `multi-krum`, `bulyan`.

score_i = sum of the N - f - 2 smallest |x_i - x_j|^2, j != i. At least one distance counts, which only matters to the
last picks of `bulyan`. Distances are added in a fixed order, so that every peer finds the same scores.
Source: Blanchard et al. 2017, Machine Learning with Adversaries: Byzantine Tolerant Gradient Descent.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

from cohortium.core.exact import BLOCK, dot
from cohortium.core.update import Aggregate, Turn
from cohortium.errors import TrainingFailed

__all__ = ["changes", "check_f", "ranked", "refuse_few", "squared_distances", "too_few"]

Floats = NDArray[np.float64]


def check_f(f: int) -> None:
    """Raise ValueError unless the number of tolerated sites is a whole number from 0 on."""
    if isinstance(f, bool) or not isinstance(f, int) or f < 0:
        raise ValueError(f"f must be a whole number of at least 0, got {f!r}")


def too_few(rule: str, *, f: int, least: int, n_sites: int) -> str:
    """The sentence that refuses a rule among so few sites, empty where they suffice."""
    return "" if n_sites >= least else f"merge '{rule}' with f = {f} needs N >= {least} sites, got {n_sites}"


def refuse_few(sentence: str) -> None:
    """Raise TrainingFailed (stage `merge`) where there is a sentence."""
    if sentence:
        raise TrainingFailed(sentence, stage="merge", code="too_few_sites")


def changes(turn: Turn, aggregate: Aggregate) -> list[Floats]:
    """The sites' changes as flat float64 vectors in the order of the model's arrays, sites sorted."""
    return [
        np.concatenate([np.asarray(one.parameters[name], dtype=np.float64).reshape(-1) for name in turn.start])
        for one in aggregate.updates
    ]


def squared_distances(vectors: Sequence[Floats]) -> list[list[float]]:
    """|x_i - x_j|^2 for every pair, (N, N) with zeros on the diagonal."""
    n = len(vectors)
    found = [[0.0] * n for _ in range(n)]
    for i in range(n):
        for j in range(i + 1, n):
            parts = [
                (vectors[i][at : at + BLOCK] - vectors[j][at : at + BLOCK]) for at in range(0, vectors[i].size, BLOCK)
            ]
            found[i][j] = found[j][i] = sum(dot(part, part) for part in parts)
    return found


def ranked(distances: Sequence[Sequence[float]], among: Sequence[int], *, f: int) -> list[int]:
    """The positions `among`, lowest score first; equal scores in the order given (sites sorted by name)."""
    kept = max(1, len(among) - f - 2)
    score = {i: sum(sorted(distances[i][j] for j in among if j != i)[:kept]) for i in among}
    return sorted(among, key=lambda i: score[i])
