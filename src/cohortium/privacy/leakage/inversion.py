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
from typing import Any

import numpy as np
from numpy.typing import NDArray

__all__ = ["Inversion", "Wanted", "closest", "match", "patients_per_neuron", "recovered_rows", "search"]

Floats = NDArray[np.float64]

EXACT = 1e-3
"""A recovered row is a patient's when its distance is at most this share of the patient's row's length."""

_LOOKED_AT = 16  # columns compared first; distances over some columns are never larger than over all
_NEURONS = 32
_FAR = 1e30  # of any patient, and still a number in 32 bits
_SMALLEST = 1e-12  # of the largest bias' change: below it there is nothing to divide by


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
    for weight, bias, _ in _first_layers(change, {}, n_features):
        divisor = np.asarray(bias, dtype=np.float64)
        used = np.isfinite(divisor) & (np.abs(divisor) > _SMALLEST * np.abs(divisor).max(initial=0.0))
        if used.any():
            with np.errstate(over="ignore", invalid="ignore"):
                found.append(np.asarray(weight, dtype=np.float64)[used] / divisor[used, None])
    rows = np.concatenate(found)
    return rows[np.isfinite(rows).all(axis=1)]


class Wanted:
    """The rows that are looked for. columns: a few that are compared first, where rows differ most.

    They lie side by side, so that looking at them touches little memory.
    """

    def __init__(self, rows: NDArray[np.floating]) -> None:
        self.rows = np.asarray(rows, dtype=np.float64).reshape(len(rows), int(np.prod(rows.shape[1:])))
        self.lengths = np.linalg.norm(self.rows, axis=1)
        self.here = np.flatnonzero(self.lengths > 0)  # a row of zeros only is nobody's secret
        self.columns = _liveliest(self.rows)
        self.few = self.rows[self.here, self.columns]
        self._order = np.argsort(self.few[:, 0], kind="stable") if self.few.size else np.zeros(0, dtype=np.int64)
        self._first = self.few[self._order, 0] if self.few.size else np.zeros(0)

    def near(self, few: Floats, *, tolerance: float) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
        """Pairs (candidate, row) that agree on the few columns; the first of them alone leaves few to compare."""
        limits = tolerance * self.lengths[self.here]
        reach = limits.max(initial=0.0)
        begin = np.searchsorted(self._first, few[:, 0] - reach, side="left")
        count = np.searchsorted(self._first, few[:, 0] + reach, side="right") - begin
        candidates = np.repeat(np.arange(len(few)), count)
        within = np.arange(len(candidates)) - np.repeat(np.cumsum(count) - count, count)
        numbers = self._order[begin[candidates] + within]
        apart = np.zeros(len(candidates))
        for column in range(few.shape[1]):  # most pairs part at the first or second
            apart += (few[candidates, column] - self.few[numbers, column]) ** 2
            kept = apart <= limits[numbers] ** 2
            candidates, numbers, apart = candidates[kept], numbers[kept], apart[kept]
        return candidates, self.here[numbers]


def _liveliest(rows: Floats) -> slice:
    """The block of neighbouring columns in which rows differ most."""
    if not rows.size:
        return slice(0, 0)
    variance = rows.var(axis=0)
    blocks = np.add.reduceat(variance, np.arange(0, len(variance), _LOOKED_AT))
    first = int(blocks.argmax()) * _LOOKED_AT
    return slice(first, first + _LOOKED_AT)


def match(recovered: Floats, rows: NDArray[np.floating], *, tolerance: float = EXACT) -> Inversion:
    """How many of the rows are among the recovered ones; each counts once, rows of zeros only never."""
    wanted = Wanted(rows)
    if not len(recovered) or not len(wanted.here):
        return Inversion(n_rows=len(rows), n_recovered=0, n_tried=len(recovered))
    hits = set[int]()
    few = np.clip(recovered[:, wanted.columns], -_FAR, _FAR)
    for candidate, row in zip(*wanted.near(few, tolerance=tolerance), strict=True):
        if int(row) not in hits and _is_row(recovered[candidate], wanted, row, tolerance):
            hits.add(int(row))
    return Inversion(n_rows=len(rows), n_recovered=len(hits), n_tried=len(recovered))


def search(
    sent: Mapping[str, NDArray[np.generic]],
    start: Mapping[str, NDArray[np.generic]],
    wanted: Wanted,
    *,
    tolerance: float = EXACT,
) -> Inversion:
    """What `match(recovered_rows(sent - start))` finds, but dividing whole rows only where a few columns agree.

    Arrays that are in `start` with the same shape are taken as new and old parameters, others as sums.
    """
    d, hits, tried = wanted.rows.shape[1] if wanted.rows.ndim == 2 else 0, set[int](), 0
    for weight, bias, old in _first_layers(sent, start, d):
        change = _change_of(bias, None if old is None else old[1])
        used = np.flatnonzero(np.isfinite(change) & (np.abs(change) > _SMALLEST * np.abs(change).max(initial=0.0)))
        tried += len(used)
        if not len(used) or not len(wanted.here):
            continue
        old_weight = None if old is None else old[0]
        few = _change_of(weight[:, wanted.columns], None if old_weight is None else old_weight[:, wanted.columns])[used]
        with np.errstate(over="ignore", invalid="ignore"):
            few = np.clip(np.nan_to_num(few / change[used, None], nan=_FAR), -_FAR, _FAR)
        for candidate, row in zip(*wanted.near(few, tolerance=tolerance), strict=True):
            if int(row) in hits:
                continue
            at = used[candidate]
            whole = _change_of(weight[at], None if old_weight is None else old_weight[at]) / change[at]
            if _is_row(whole, wanted, row, tolerance):
                hits.add(int(row))
    return Inversion(n_rows=len(wanted.rows), n_recovered=len(hits), n_tried=tried)


def _is_row(found: Floats, wanted: Wanted, row: int, tolerance: float) -> bool:
    return bool(np.linalg.norm(found - wanted.rows[row]) <= tolerance * wanted.lengths[row])


def _change_of(new: NDArray[np.generic], old: NDArray[np.generic] | None) -> Floats:
    change = np.asarray(new, dtype=np.float64)
    return change if old is None else change - np.asarray(old, dtype=np.float64)


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


Layer = tuple[NDArray[Any], NDArray[Any], "tuple[NDArray[Any], NDArray[Any]] | None"]


def _first_layers(
    sent: Mapping[str, NDArray[np.generic]], start: Mapping[str, NDArray[np.generic]], d: int
) -> Iterator[Layer]:
    """(weights (h, d), biases (h,), the same of the start) of everything that could be a first layer."""
    names = list(sent)
    for at, name in enumerate(names):
        array: NDArray[Any] = sent[name]
        if array.dtype.kind not in "fi":
            continue
        behind = names[at + 1] if at + 1 < len(names) else ""
        bias: NDArray[Any] = sent[behind] if behind else np.zeros(0)
        old = (start[name], start[behind]) if _alike(sent, start, name) and _alike(sent, start, behind) else None
        if array.ndim >= 2 and array.size == len(array) * d and bias.shape == array.shape[:1]:
            shaped = None if old is None else (old[0].reshape(len(array), d), old[1])
            yield array.reshape(len(array), d), bias, shaped
        elif array.shape == (d,) and bias.size == 1:
            yield array[None], bias.reshape(1), None if old is None else (old[0][None], old[1].reshape(1))
        elif array.shape == (d + 1,):
            before: NDArray[Any] | None = start[name] if _alike(sent, start, name) else None
            yield array[None, 1:], array[:1], None if before is None else (before[None, 1:], before[:1])
            yield array[None, :-1], array[-1:], None if before is None else (before[None, :-1], before[-1:])


def _alike(sent: Mapping[str, NDArray[np.generic]], start: Mapping[str, NDArray[np.generic]], name: str) -> bool:
    return name in start and start[name].shape == sent[name].shape
