"""How badly a model predicts each patient: the one number all membership attacks start from.

Binary and classes: minus the log of the probability given to the truth. Number: squared error. Count: Poisson deviance.
Survival: squared deviance residual, with the baseline hazard estimated (Breslow) on the rows given. Several rows of a
patient count with their mean. Lower is better predicted, so more like a member.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from cohortium.core.examples import Examples

__all__ = ["patient_losses", "row_losses"]

Floats = NDArray[np.float64]

_SMALLEST = 1e-12


def row_losses(predicted: Floats, examples: Examples, *, cause: int = 1) -> Floats:
    """Loss of each row, (n,); NaN where the outcome is unknown. cause: the event a survival model learned."""
    if examples.layout.outcome == "survival":
        return _survival(predicted, examples, cause=cause)
    if examples.y is None:
        return np.full(len(examples), np.nan)
    y = examples.y
    with np.errstate(invalid="ignore", divide="ignore"):
        match examples.layout.outcome:
            case "binary":
                return np.asarray(-np.log(np.clip(np.where(y == 1, predicted, 1 - predicted), _SMALLEST, 1.0))) + 0 * y
            case "classes":
                known = np.isfinite(y)
                given = predicted[np.arange(len(y)), np.where(known, y, 0).astype(np.int64)]
                return np.where(known, -np.log(np.clip(given, _SMALLEST, 1.0)), np.nan)
            case "count":
                mean = np.maximum(predicted, _SMALLEST)
                return np.asarray(2 * (np.where(y > 0, y * np.log(y / mean), 0.0) - (y - mean)))
            case _:
                return np.asarray((y - predicted) ** 2)


def patient_losses(predicted: Floats, examples: Examples, *, cause: int = 1) -> Floats:
    """Mean loss of each patient with a known outcome, in order of patient number."""
    losses = row_losses(predicted, examples, cause=cause)
    known = np.isfinite(losses)
    _, where = np.unique(examples.patient[known], return_inverse=True)
    return np.bincount(where, weights=losses[known]) / np.bincount(where) if known.any() else np.zeros(0)


def _survival(log_risk: Floats, examples: Examples, *, cause: int) -> Floats:
    """Squared deviance residuals. Rows that enter late count from their entry."""
    if examples.time is None or examples.event is None:
        return np.full(len(examples), np.nan)
    time, event = examples.time, examples.event == cause
    entry = examples.entry if examples.entry is not None else np.full(len(time), -np.inf)
    risk = np.exp(np.clip(log_risk - np.median(log_risk), -30, 30))
    times = np.unique(time[event])
    steps = np.array([(event & (time == t)).sum() / risk[(entry < t) & (time >= t)].sum() for t in times])
    hazard = np.concatenate([[0.0], np.cumsum(steps)])
    gone = hazard[np.searchsorted(times, time, side="right")] - hazard[np.searchsorted(times, entry, side="right")]
    expected = np.maximum(gone * risk, _SMALLEST)
    residual = event - expected
    with np.errstate(divide="ignore"):
        return np.asarray(-2 * (residual + np.where(event, np.log(expected), 0.0)))
