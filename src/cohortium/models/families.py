"""Losses of the generalised linear models: what a patient adds to the loss, its slope and its curvature.

Each family maps a linear predictor and an outcome to minus the log-likelihood (without terms free of the
coefficients), the mean, and the weight of the second derivative. All through `core.fixed_point`, so that
the rounded terms are the same on every processor. `multinomial` has a vector of predictors per row.

Source: McCullagh and Nelder 1989, Generalized Linear Models, 2.2.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from cohortium.core import fixed_point as fp
from cohortium.core.examples import Examples, Layout, OutcomeKind
from cohortium.errors import DataError

__all__ = [
    "FAMILIES",
    "Family",
    "check_layout",
    "one_hot",
    "outcome_of",
    "softmax",
    "softmax_loss",
]

Floats = NDArray[np.float64]

_LARGEST_COUNT = float(1 << 20)


@dataclass(frozen=True, kw_only=True)
class Family:
    """One kind of outcome. limit: predictors above it are refused, so that no sum overflows.

    loss(eta, y), mean(eta): (n,). curvature(mean): weight of x x' in the second derivative.
    """

    outcome: OutcomeKind
    loss: Callable[[Floats, Floats], Floats]
    mean: Callable[[Floats], Floats]
    curvature: Callable[[Floats], Floats]
    limit: float = math.inf


FAMILIES = {
    "binary": Family(
        outcome="binary",
        loss=lambda eta, y: fp.log1p_exp(eta) - y * eta,
        mean=fp.sigmoid,
        curvature=lambda mean: mean * (1.0 - mean),
    ),
    "count": Family(
        outcome="count",
        loss=lambda eta, y: fp.exp(eta) - y * eta,
        mean=fp.exp,
        curvature=lambda mean: mean,
        limit=14.0,  # a mean of 1.2 million
    ),
    "number": Family(
        outcome="number",
        loss=lambda eta, y: 0.5 * (y - eta) * (y - eta),
        mean=lambda eta: eta,
        curvature=np.ones_like,
    ),
}
"""Families with one predictor, by the layout's kind of outcome."""


def check_layout(layout: Layout, outcomes: tuple[OutcomeKind, ...], *, model: str) -> None:
    """Raise DataError when a model cannot learn this kind of outcome, or from images."""
    if layout.image is not None:
        raise DataError(f"model '{model}' learns from table columns, got images", hint="choose a network")
    if layout.outcome not in outcomes:
        raise DataError(f"model '{model}' needs an outcome of kind {' or '.join(outcomes)}, got {layout.outcome}")


def outcome_of(examples: Examples) -> Floats:
    """The outcome y, (n,), checked against the layout's kind. Raises DataError with counts only."""
    kind, y = examples.layout.outcome, examples.y
    if y is None:
        raise DataError("the outcome is missing in all rows")
    missing = int(np.count_nonzero(~np.isfinite(y)))
    if missing:
        raise DataError(f"the outcome is missing or not finite in {missing} of {len(y)} rows")
    if kind in ("binary", "classes"):
        n_classes = 2 if kind == "binary" else len(examples.layout.classes)
        wrong = (y != np.rint(y)) | (y < 0) | (y >= n_classes)
        wanted = f"a class of 0 to {n_classes - 1}"
    elif kind == "count":
        wrong = (y != np.rint(y)) | (y < 0) | (y > _LARGEST_COUNT)
        wanted = "a whole number of 0 to 2^20"
    else:
        return y
    if wrong.any():
        raise DataError(f"the outcome is not {wanted} in {int(wrong.sum())} of {len(y)} rows")
    return y


def one_hot(y: Floats, n_classes: int) -> Floats:
    """Class indices as rows of 0 and 1, (n, k)."""
    rows: Floats = (y[:, None] == np.arange(n_classes)).astype(np.float64)
    return rows


def softmax(eta: Floats) -> Floats:
    """Probabilities of the classes, (n, k), from predictors (n, k)."""
    top = eta.max(axis=1, initial=-math.inf, keepdims=True) if len(eta) else np.zeros((0, 1))
    grown = fp.exp(eta - top)
    return grown / fp.ordered_sum(grown, axis=1)[:, None]


def softmax_loss(eta: Floats, y: Floats) -> Floats:
    """Minus the log-probability of each row's class, (n,)."""
    if not len(eta):
        return np.zeros(0)
    top = eta.max(axis=1, keepdims=True)
    own = np.take_along_axis(eta, y.astype(np.int64)[:, None], axis=1)[:, 0]
    loss: Floats = fp.log(fp.ordered_sum(fp.exp(eta - top), axis=1)) + top[:, 0] - own
    return loss
