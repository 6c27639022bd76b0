"""Sums in which patients count with fractions: whole weights first, then the total rounded back."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np

from cohortium.core.parameters import Parameters
from cohortium.errors import DataError
from cohortium.synth.rows import Rows

__all__ = ["fit_by_weighted_sums", "scaled_back"]


def scaled_back(total: Parameters, unit: int) -> Parameters:
    """Whole numbers in units of `unit`, to the nearest, halves up."""
    return Parameters(
        {name: (np.asarray(array, dtype=np.int64) + unit // 2) // unit for name, array in total.items()}
    )  # fmt: skip


def fit_by_weighted_sums(generator: Any, parts: Sequence[tuple[Rows, int]], *, unit: int) -> Parameters:
    """The finished state where each part counts weight / unit. Raises DataError without a single row."""
    there = [(rows, weight) for rows, weight in parts if len(rows)]
    if not there:
        raise DataError("no patient to learn from")
    state: Parameters = generator.initial(None, rng=None)
    while not generator.finished(state):
        total: dict[str, Any] = {}
        for rows, weight in there:
            for name, array in generator.answer(state, rows).items():
                total[name] = total.get(name, 0) + np.asarray(array, dtype=np.int64) * np.int64(weight)
        state = generator.advance(state, scaled_back(Parameters(total), unit))
    return state
