"""One row of covariates a patient: 1, the levels of every variable but its most frequent one, then normal scores.

The same columns serve the regression tail and the hazards. Values are whole numbers: levels 0 or 1, scores in steps of
2^-12, so that products of patients' rows add up exactly. A missing score is 0, the middle; that it is missing is told
by a variable of its own.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

__all__ = ["SCORE_BITS", "Design"]

Floats = NDArray[np.float64]
Integers = NDArray[np.int64]

SCORE_BITS = 12


@dataclass(frozen=True)
class Design:
    """sizes: levels by variable; reference: the level without a column; n_scores: numeric columns."""

    sizes: tuple[int, ...]
    reference: tuple[int, ...]
    n_scores: int

    @property
    def n_levels(self) -> int:
        """Columns before the scores: the constant and the levels."""
        return 1 + sum(self.sizes) - len(self.sizes)

    @property
    def width(self) -> int:
        """All columns."""
        return self.n_levels + self.n_scores

    @property
    def on_score(self) -> NDArray[np.bool_]:
        """Which columns come in steps of 2^-12."""
        return np.arange(self.width) >= self.n_levels

    @property
    def scale(self) -> Floats:
        """What one step of each column is worth."""
        return np.concatenate([np.ones(self.n_levels), np.full(self.n_scores, 2.0**-SCORE_BITS)])

    def levels(self, codes: Integers) -> Integers:
        """The constant and the levels, (n, n_levels). codes: (n, variables)."""
        columns = [np.ones(len(codes), dtype=np.int64)]
        for variable, (size, reference) in enumerate(zip(self.sizes, self.reference, strict=True)):
            columns += [(codes[:, variable] == level).astype(np.int64) for level in range(size) if level != reference]
        return np.column_stack(columns)

    def rows(self, codes: Integers, z: Floats) -> Integers:
        """All columns as whole numbers, (n, width). z: (n, n_scores), NaN where missing."""
        steps = np.rint(np.nan_to_num(z, nan=0.0) * 2.0**SCORE_BITS).astype(np.int64)
        return np.hstack([self.levels(codes), steps.reshape(len(codes), self.n_scores)])

    def names(self, variables: Sequence[Sequence[str]], scores: Sequence[str]) -> tuple[str, ...]:
        """A name for every column. variables: (name, level, level, ...) each."""
        found = ["1"]
        for (name, *levels), reference in zip(variables, self.reference, strict=True):
            found += [f"{name}={level}" for place, level in enumerate(levels) if place != reference]
        return (*found, *scores)
