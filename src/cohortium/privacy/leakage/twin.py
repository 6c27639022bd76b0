"""The control of an audit: a model that has learned its patients by heart. An attack that misses it proves nothing.

It answers the outcome of the nearest training patient, and the mean where none is near: an overfitted twin in the same
form as the study's model (probabilities, means, log risks), for the same columns.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from cohortium.core.examples import Examples

__all__ = ["memorised"]

Floats = NDArray[np.float64]

_PATIENTS = 2_000
_COLUMNS = 64
_NEAR = 0.05  # of the usual distance between neighbours: further away nothing is remembered
_SURE = 0.98
_LOG_RISK = 3.0


def memorised(training: Examples, examples: Examples) -> Floats:
    """Predictions of the twin for examples; it remembers at most 2,000 rows, evenly over the training rows."""
    kept = training.take(np.unique(np.linspace(0, len(training) - 1, min(len(training), _PATIENTS)).astype(np.int64)))
    known, asked = _flat(kept), _flat(examples)
    spread = known.std(axis=0)
    scale = np.where(spread > 1e-9 * np.maximum(np.abs(known).max(axis=0, initial=0.0), 1.0), spread, 1.0)
    known, asked = known / scale, asked / scale
    distance, nearest = _nearest(asked, known)
    usual, _ = _nearest(known, known, besides_itself=True)
    width = _NEAR * max(float(np.median(usual)), 1e-9)
    return _answers(kept, nearest, np.exp(-((distance / width) ** 2)))


def _answers(kept: Examples, nearest: NDArray[np.int64], sure: Floats) -> Floats:
    """What is remembered of the nearest patient, as far as it is near."""
    if kept.layout.outcome == "survival":
        event = np.zeros(len(kept)) if kept.event is None else (kept.event > 0).astype(np.float64)
        return np.asarray(sure * _LOG_RISK * (2 * event[nearest] - 1))
    y = np.zeros(len(kept)) if kept.y is None else np.nan_to_num(kept.y)
    match kept.layout.outcome:
        case "binary":
            return np.asarray(0.5 + sure * _SURE * (y[nearest] - 0.5))
        case "classes":
            n = max(len(kept.layout.classes), int(y.max(initial=0)) + 1)
            even = np.full((len(nearest), n), 1 / n)
            return np.asarray(even + (sure * _SURE)[:, None] * (np.eye(n)[y[nearest].astype(np.int64)] - even))
        case _:
            return np.asarray(y.mean() + sure * (y[nearest] - y.mean()))


def _flat(examples: Examples) -> Floats:
    """Few columns, evenly over all, are enough to know a patient again."""
    flat = examples.x.reshape(len(examples), -1)
    if flat.shape[1] > _COLUMNS:
        flat = flat[:, np.linspace(0, flat.shape[1] - 1, _COLUMNS).astype(np.int64)]
    return np.nan_to_num(np.asarray(flat, dtype=np.float64))


def _nearest(asked: Floats, known: Floats, *, besides_itself: bool = False) -> tuple[Floats, NDArray[np.int64]]:
    """Distance to the nearest known row, and which it is. besides_itself: asked and known are the same rows."""
    squares = (asked**2).sum(axis=1)[:, None] + (known**2).sum(axis=1)[None] - 2 * asked @ known.T
    if besides_itself:
        np.fill_diagonal(squares, np.inf)
    nearest = squares.argmin(axis=1)
    exact = np.linalg.norm(asked - known[nearest], axis=1)  # the squares lose digits where rows are equal
    return exact, nearest
