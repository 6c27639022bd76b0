"""Errors of predicted numbers and counts: root mean square, mean absolute, share of variance explained."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from cohortium.reports.resampling import weighted_sums

__all__ = ["mae", "r2", "r2_draws", "rmse", "rmse_draws"]

Floats = NDArray[np.float64]


def rmse(y: Floats, predicted: Floats) -> float:
    """Root of the mean squared error; NaN for no patients."""
    return float(np.sqrt(np.mean((y - predicted) ** 2))) if len(y) else float("nan")


def mae(y: Floats, predicted: Floats) -> float:
    """Mean absolute error; NaN for no patients."""
    return float(np.mean(np.abs(y - predicted))) if len(y) else float("nan")


def r2(y: Floats, predicted: Floats) -> float:
    """1 - squared error over squared distance to the mean of y; NaN where y does not vary."""
    spread = float(((y - y.mean()) ** 2).sum()) if len(y) else 0.0
    return 1 - float(((y - predicted) ** 2).sum()) / spread if spread > 0 else float("nan")


def rmse_draws(y: Floats, predicted: Floats, weights: Floats) -> Floats:
    """RMSE under each row of weights (b, n)."""
    return np.asarray(np.sqrt(weighted_sums(weights, (y - predicted) ** 2) / weights.sum(axis=1)), dtype=np.float64)


def r2_draws(y: Floats, predicted: Floats, weights: Floats) -> Floats:
    """R^2 under each row of weights (b, n); NaN where the draw does not vary."""
    n = weights.sum(axis=1)
    centred = y - y.mean()  # so that the subtraction below loses no digits
    spread = weighted_sums(weights, centred**2) - weighted_sums(weights, centred) ** 2 / n
    lost = weighted_sums(weights, (y - predicted) ** 2)
    return np.asarray(1 - np.divide(lost, spread, out=np.full(n.shape, np.nan), where=spread > 0), dtype=np.float64)
