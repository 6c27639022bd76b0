"""Numbers given everything before them: ridge regressions of normal scores, from one integer Gram matrix a column.

Score j = b' (levels, scores before j) + normal residual. The sums run over patients in whom column j is present, so
missing values need no filling. Sampled scores are then laid on the published quantiles by their rank within the sample
(marginal repair), at least `REPAIR_ROWS` rows at a time, so marginals hold whatever the regression misses.
Design: synthetic-data.md 5.1.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from cohortium.core import fixed_point as fp
from cohortium.core.parameters import Parameters
from cohortium.synth.generators.design import SCORE_BITS, Design
from cohortium.synth.generators.normal_scores import Scores

__all__ = ["REPAIR_ROWS", "Tail", "gram_counts", "repaired"]

Floats = NDArray[np.float64]
Integers = NDArray[np.int64]

RIDGE = 1.0
REPAIR_ROWS = 1000
_LEAST_SD = 2.0**-SCORE_BITS


def gram_counts(design: Design, codes: Integers, z: Floats) -> Integers:
    """By numeric column the Gram matrix of all design columns over rows that have it, (n_scores, width, width)."""
    rows = design.rows(codes, z)
    found = np.zeros((design.n_scores, design.width, design.width), dtype=np.int64)
    whole: Integers | None = None
    for j in range(design.n_scores):
        present = ~np.isnan(z[:, j])
        if present.all():
            whole = fp.integer_dot(rows.T, rows, what="Gram matrix") if whole is None else whole
            found[j] = whole
        else:
            inside = rows[present]
            found[j] = fp.integer_dot(inside.T, inside, what="Gram matrix")
    return found


@dataclass(frozen=True, eq=False)
class Tail:
    """coefficients: (n_scores, width), 0 from the own column on; sd: of a new patient's residual, (n_scores,).

    Those of the patients it was learned from are smaller: they are divided by the degrees of freedom left.
    """

    design: Design
    coefficients: Floats
    sd: Floats

    @classmethod
    def solved(cls, design: Design, grams: Integers) -> Tail:
        """All regressions. A column nobody has gets mean 0 and sd 1."""
        coefficients = np.zeros((design.n_scores, design.width))
        sd = np.ones(design.n_scores)
        unit = design.scale[:, None] * design.scale
        for j in range(design.n_scores):
            n = int(grams[j, 0, 0])
            if n == 0:
                continue
            gram = grams[j].astype(np.float64) * unit
            before, own = design.n_levels + j, design.n_levels + j
            target = gram[:before, own]
            b, freedom = _ridge_solution(gram[:before, :before], target)
            left = float(gram[own, own]) - 2 * float(fp.ordered_sum(b * target))
            left += float(fp.ordered_sum(b * fp.matvec(gram[:before, :before], b)))
            coefficients[j, :before] = b
            sd[j] = max(float(np.sqrt(max(left, 0.0) / max(n - freedom, 1.0))), _LEAST_SD)
        return cls(design, coefficients, sd)

    def sample(self, codes: Integers, missing: NDArray[np.bool_], rng: np.random.Generator) -> Floats:
        """Scores of new patients given their levels, (n, n_scores); NaN where `missing` says so."""
        z = np.zeros((len(codes), self.design.n_scores))
        levels = self.design.levels(codes) @ self.coefficients[:, : self.design.n_levels].T
        onto = self.coefficients[:, self.design.n_levels :]
        for j in range(self.design.n_scores):
            drawn = levels[:, j] + z[:, :j] @ onto[j, :j] + self.sd[j] * rng.normal(size=len(codes))
            z[:, j] = np.where(missing[:, j], 0.0, drawn)  # a missing score is the middle, as when it was fitted
        return np.where(missing, np.nan, z)

    def joint(self, codes: Integers) -> tuple[Floats, Floats]:
        """Mean (n, n_scores) and covariance (n_scores, n_scores) of all scores given the levels."""
        below = np.linalg.inv(np.eye(self.design.n_scores) - self.coefficients[:, self.design.n_levels :])
        levels = self.design.levels(codes) @ self.coefficients[:, : self.design.n_levels].T
        root = below * self.sd
        return levels @ below.T, root @ root.T

    def to_parameters(self) -> Parameters:
        """As arrays of a state."""
        return Parameters({"coefficients": self.coefficients, "sd": self.sd})


def _ridge_solution(gram: Floats, target: Floats) -> tuple[Floats, float]:
    """(coefficients, the intercept free; degrees of freedom they take, the trace of the hat matrix).

    Weighted sums are rounded and may need more ridge: ADR 15.
    """
    ridge = np.concatenate([[1e-6], np.full(len(gram) - 1, RIDGE)])
    for more in (0.0, 10.0, 100.0, 1000.0):
        try:
            solved = fp.solve_spd(gram + np.diag(ridge + more), np.column_stack([target, np.eye(len(gram))]))
        except fp.NotPositiveDefinite:
            continue
        kept = fp.ordered_sum((ridge + more) * np.diagonal(solved[:, 1:]))
        return solved[:, 0], len(gram) - float(kept)
    return np.zeros(len(gram)), 0.0


def repaired(z: Floats, scores: Scores, rng: np.random.Generator, *, spikes: Floats | None = None) -> Floats:
    """Values whose ranks are those of z and whose distribution is the published one; NaN stays missing.

    spikes: values that the table holds by themselves; they are left as they are.
    """
    there = ~np.isnan(z)
    n = int(there.sum())
    found = np.full(len(z), np.nan)
    if n == 0:
        return found
    order = np.argsort(np.argsort(z[there], kind="stable"), kind="stable")
    if n >= REPAIR_ROWS:
        p = (order + rng.random(n)) / n
    else:  # too few ranks to speak of a distribution: the normal one stands in
        from scipy.stats import norm

        p = np.clip(norm.cdf(z[there]), 1e-9, 1 - 1e-9)
    values = scores.value(p)
    heaped = scores.heaped(values, rng)
    if spikes is not None and len(spikes):
        heaped = np.where((np.abs(values[:, None] - spikes) < 1e-9).any(axis=1), values, heaped)
    found[there] = heaped
    return found
