"""Reading patients out of an update: exactly, by one division.

The first linear layer's gradient is a sum over patients of (what the neuron wants changed) x (the patient's row), its
bias' gradient the sum of the first factor alone. Where a neuron was active for one patient only, the quotient of both
is that patient, value for value. So an update is checked by trying: divide, and look for one's own patients in what
comes out. Updates of several steps, large batches, masks and noise spoil the division; nothing else is assumed.

Source: Zhu, Liu, Han 2019, Deep Leakage from Gradients; Phong et al. 2018 for the first layer.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

__all__ = ["Inversion", "closest", "match", "patients_per_neuron", "recovered_rows"]

Floats = NDArray[np.float64]

EXACT = 1e-3
"""A recovered row is a patient's when its distance is at most this share of the patient's row's length."""

_LOOKED_AT = 16  # columns compared first; distances over some columns are never larger than over all
_NEURONS = 32


@dataclass(frozen=True, kw_only=True)
class Inversion:
    """n_recovered of n_rows patients' rows stood exactly in the update; n_tried quotients were looked through."""

    n_rows: int
    n_recovered: int
    n_tried: int

    def __add__(self, other: Inversion) -> Inversion:
        return Inversion(
            n_rows=self.n_rows + other.n_rows,
            n_recovered=self.n_recovered + other.n_recovered,
            n_tried=self.n_tried + other.n_tried,
        )


def recovered_rows(change: Mapping[str, NDArray[np.generic]], n_features: int) -> Floats:
    """Everything an update's division gives that could be a row, shape (m, n_features).

    change: arrays of a gradient, or of new minus old parameters. Weights are (outputs, features) with a bias of
    (outputs,) behind them; one row of sums may hold the intercept's at either end.
    """
    found = [np.zeros((0, n_features))]
    for weight, bias in _pairs(change, n_features):
        used = np.isfinite(bias) & (np.abs(bias) > 1e-12 * max(float(np.abs(bias).max(initial=0.0)), 1e-300))
        if used.any():
            with np.errstate(over="ignore", invalid="ignore"):
                found.append(weight[used] / bias[used, None])
    rows = np.concatenate(found)
    return rows[np.isfinite(rows).all(axis=1)]


def match(recovered: Floats, rows: Floats, *, tolerance: float = EXACT) -> Inversion:
    """How many of the rows are among the recovered ones. A row of zeros only is nobody's secret and not looked for."""
    flat = rows.reshape(len(rows), -1)
    lengths = np.linalg.norm(flat, axis=1)
    wanted = np.flatnonzero(lengths > 0)
    if not len(recovered) or not len(wanted):
        return Inversion(n_rows=len(rows), n_recovered=0, n_tried=len(recovered))
    columns = np.argsort(-flat.var(axis=0), kind="stable")[:_LOOKED_AT]
    near = _squared_distances(recovered[:, columns], flat[np.ix_(wanted, columns)])
    limits = (tolerance * lengths[wanted]) ** 2
    slack = 1e-9 * (1 + (recovered[:, columns] ** 2).sum(axis=1, keepdims=True))  # what the squares lose to rounding
    hits = set[int]()
    for candidate, number in zip(*np.nonzero(near <= limits + slack), strict=True):
        row = int(wanted[number])
        if row not in hits and np.linalg.norm(recovered[candidate] - flat[row]) <= tolerance * lengths[row]:
            hits.add(row)
    return Inversion(n_rows=len(rows), n_recovered=len(hits), n_tried=len(recovered))


def closest(recovered: Floats, rows: Floats) -> Floats:
    """For every row the cosine of the recovered one that is most like it, (n,); 0 where there is none."""
    flat = rows.reshape(len(rows), -1)
    if not len(recovered):
        return np.zeros(len(rows))
    scale = np.linalg.norm(flat, axis=1)[:, None] * np.linalg.norm(recovered, axis=1)[None]
    with np.errstate(invalid="ignore", divide="ignore"):
        cosines = np.where(scale > 0, flat @ recovered.T / scale, 0.0)
    return np.asarray(cosines.max(axis=1))


def patients_per_neuron(weight: Floats, bias: Floats, rows: Floats) -> float:
    """How many of the rows the median neuron of a first layer is active for, over a few neurons; few is dangerous."""
    chosen = np.unique(np.linspace(0, len(weight) - 1, _NEURONS).astype(np.int64))
    active = rows.reshape(len(rows), -1) @ weight[chosen].T + bias[chosen] > 0
    counts = active.sum(axis=0)
    return float(np.median(counts[counts > 0])) if counts.any() else 0.0


def _pairs(change: Mapping[str, NDArray[np.generic]], d: int) -> Iterator[tuple[Floats, Floats]]:
    """(weights (h, d), biases (h,)) that could be a first layer."""
    arrays = [np.asarray(array, dtype=np.float64) for array in change.values()]
    for at, array in enumerate(arrays):
        behind = arrays[at + 1] if at + 1 < len(arrays) else np.zeros(0)
        if array.ndim >= 2 and array.size == len(array) * d and behind.shape == array.shape[:1]:
            yield array.reshape(len(array), d), behind
        elif array.shape == (d,) and behind.size == 1:
            yield array[None], behind.reshape(1)
        elif array.shape == (d + 1,):
            yield array[None, 1:], array[:1]
            yield array[None, :-1], array[-1:]


def _squared_distances(one: Floats, other: Floats) -> Floats:
    squares = (one**2).sum(axis=1)[:, None] + (other**2).sum(axis=1)[None]
    return np.asarray(squares - 2 * one @ other.T)
