"""Hazard ratios learned from either table: do signs and sizes of the effects survive synthesis?

One ridge Cox regression on each, same columns, gaps filled with the real means. An effect is told where its interval in
the real table leaves 0 out; overlap is the share of the shorter interval that lies in the other (Karr et al. 2006).
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from cohortium.errors import CohortiumError
from cohortium.synth.rows import Rows
from cohortium.synth.validation.utility import baseline_matrix, cox_fit

__all__ = ["HazardRatios", "compare_hazards"]

Floats = NDArray[np.float64]

_Z = 1.96


@dataclass(frozen=True, kw_only=True, eq=False)
class HazardRatios:
    """Log hazard ratios per column of both fits and their standard errors."""

    names: tuple[str, ...]
    real: Floats
    real_error: Floats
    synthetic: Floats
    synthetic_error: Floats

    @property
    def told(self) -> NDArray[np.bool_]:
        """Effects whose real interval leaves 0 out."""
        return np.asarray(np.abs(self.real) > _Z * self.real_error)

    @property
    def signs_kept(self) -> float:
        """Share of the told effects with the same sign in the synthetic table; NaN where none is told."""
        told = self.told
        return float((np.sign(self.real) == np.sign(self.synthetic))[told].mean()) if told.any() else float("nan")

    @property
    def overlapping(self) -> float:
        """Share of columns whose intervals overlap by more than half."""
        low = np.maximum(self.real - _Z * self.real_error, self.synthetic - _Z * self.synthetic_error)
        high = np.minimum(self.real + _Z * self.real_error, self.synthetic + _Z * self.synthetic_error)
        shorter = 2 * _Z * np.minimum(self.real_error, self.synthetic_error)
        known = np.isfinite(shorter) & (shorter > 0)
        return float(((high - low)[known] > 0.5 * shorter[known]).mean()) if known.any() else float("nan")

    @property
    def false_share(self) -> float:
        """Share of the effects told by the synthetic table that the real one has turned round, or at less than one
        standard error; NaN where none is told."""
        found = np.abs(self.synthetic) > _Z * self.synthetic_error
        wrong = (np.sign(self.real) != np.sign(self.synthetic)) | (np.abs(self.real) < self.real_error)
        return float(wrong[found].mean()) if found.any() else float("nan")


def compare_hazards(training: Rows, synthetic: Rows) -> HazardRatios | None:
    """Both fits; None without survival, or where one of them cannot be fitted."""
    if not training.facts.time:
        return None
    _, names, means = baseline_matrix(training)
    try:
        fits = [cox_fit(rows, fill=means)[0] for rows in (training, synthetic)]
    except CohortiumError:
        return None
    return HazardRatios(
        names=names,
        real=np.asarray(fits[0].coef_),
        real_error=np.asarray(fits[0].standard_errors_),
        synthetic=np.asarray(fits[1].coef_),
        synthetic_error=np.asarray(fits[1].standard_errors_),
    )
