"""Entropy balancing: weights of one group whose weighted means are those of another, as near to equal as they can be.

Dual problem, Newton's method: minimise log sum exp(x b) - b' m + ridge/2 |b|^2; the ridge keeps the weights finite
where the means cannot be reached, and what is left is told. Source: Hainmueller 2012.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from cohortium.errors import DataError
from cohortium.synth.facts import Fact
from cohortium.synth.rows import Rows

__all__ = ["Balanced", "balance_columns", "entropy_balanced"]

Floats = NDArray[np.float64]

_RIDGE = 1e-3
_MOST_STEPS = 50


@dataclass(frozen=True, kw_only=True, eq=False)
class Balanced:
    """weights: positive, mean 1. before, after: largest difference of means, in standard deviations of the target."""

    weights: Floats
    before: float
    after: float

    @property
    def effective_n(self) -> float:
        """As how many equally weighted rows these count."""
        return float(self.weights.sum() ** 2 / (self.weights**2).sum())


def entropy_balanced(x: Floats, target: Floats) -> Balanced:
    """Weights of the rows of x that bring its means to those of the target. Raises DataError for an empty group."""
    if not len(x) or not len(target):
        raise DataError(f"nobody to balance: {len(x)} rows against {len(target)}")
    spread = target.std(axis=0)
    kept = spread > 1e-9
    if not kept.any():
        return Balanced(weights=np.ones(len(x)), before=0.0, after=0.0)
    goal = target[:, kept].mean(axis=0)
    z = (x[:, kept] - goal) / spread[kept]
    b = np.zeros(z.shape[1])
    value, weights = _dual(z, b)
    for _ in range(_MOST_STEPS):
        mean = weights @ z
        gradient = mean + _RIDGE * b
        if float(np.abs(gradient).max()) < 1e-8:
            break
        hessian = (z * weights[:, None]).T @ z - np.outer(mean, mean) + _RIDGE * np.eye(len(b))
        step = np.linalg.solve(hessian, gradient)
        for _ in range(30):
            tried, at = _dual(z, b - step)
            if tried <= value:
                break
            step = step / 2
        b, value, weights = b - step, tried, at
    return Balanced(
        weights=weights * len(x), before=float(np.abs(z.mean(axis=0)).max()), after=float(np.abs(weights @ z).max())
    )


def balance_columns(rows: Rows, facts: tuple[Fact, ...], *, fill: Floats | None = None) -> tuple[Floats, Floats]:
    """(columns to balance, means that filled the gaps): numbers, levels as 0/1, and gaps as 0/1. fill: of others."""
    columns: list[Floats] = []
    for fact in facts:
        held = rows[fact.name]
        gone = np.isnan(held)
        if fact.kind == "categorical" and len(fact.levels) > 2:
            columns += [np.where(gone, np.nan, held == level) for level in range(1, len(fact.levels))]
        else:
            columns.append(held)
        columns.append(gone.astype(np.float64))
    x = np.column_stack(columns)
    with np.errstate(all="ignore"):
        means = np.nan_to_num(np.array([c[~np.isnan(c)].mean() for c in columns])) if fill is None else fill
    return np.where(np.isnan(x), means, x), means


def _dual(z: Floats, b: Floats) -> tuple[float, Floats]:
    eta = z @ b
    top = float(eta.max())
    weights = np.exp(eta - top)
    total = float(weights.sum())
    return top + float(np.log(total)) + 0.5 * _RIDGE * float(b @ b), weights / total
