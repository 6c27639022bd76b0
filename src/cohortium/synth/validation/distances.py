"""How near synthetic patients lie to real ones: a space for mixed columns, nearest neighbours, NNDR, identical rows.

Numbers are z-scored by the real rows, times as log(1 + t), categories as 0/1 columns over the root of 2, flags 0/1; a
missing number is the mean. NNDR = distance to the nearest over the second nearest real row; DCR share = how often a
training row is nearer than a held-out one. Both mean something only beside the same figure for held-out patients.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from cohortium.synth.facts import Fact
from cohortium.synth.rows import Rows

__all__ = ["Space", "identical_share", "nearest", "nndr", "same_patients"]

Floats = NDArray[np.float64]

_BLOCK = 1024
_SAME = 0.5
_FARTHEST = 1e6  # in standard deviations; squares of more would swallow all other columns, or be infinite


@dataclass(frozen=True, eq=False)
class Space:
    """The coordinates of rows, with centre and scale from the real ones."""

    facts: tuple[Fact, ...]
    centre: dict[str, float]
    scale: dict[str, float]

    @classmethod
    def of(cls, real: Rows, *, without: tuple[str, ...] = ()) -> Space:
        """The space of all columns, or of all but some."""
        facts = tuple(fact for fact in real.facts.columns if fact.name not in without)
        centre, scale = {}, {}
        for fact in facts:
            if fact.is_number:
                values = _measured(real, fact)
                centre[fact.name] = float(np.nanmean(values)) if np.isfinite(values).any() else 0.0
                spread = float(np.nanstd(values)) if np.isfinite(values).any() else 0.0
                scale[fact.name] = spread or 1.0
        return cls(facts, centre, scale)

    def only(self, names: tuple[str, ...]) -> Space:
        """The same space over some of its columns."""
        return Space(tuple(fact for fact in self.facts if fact.name in names), self.centre, self.scale)

    def place(self, rows: Rows) -> Floats:
        """Coordinates, shape (n, d)."""
        columns: list[Floats] = []
        for fact in self.facts:
            if fact.is_number:
                z = (_measured(rows, fact) - self.centre[fact.name]) / self.scale[fact.name]
                columns.append(np.clip(np.nan_to_num(z), -_FARTHEST, _FARTHEST))
            elif fact.kind == "categorical":
                columns += [(rows[fact.name] == k) / np.sqrt(2.0) for k in range(len(fact.levels))]
            else:
                columns.append(np.nan_to_num(rows[fact.name], nan=0.5))
        return np.column_stack(columns) if columns else np.zeros((len(rows), 0))


def _measured(rows: Rows, fact: Fact) -> Floats:
    return np.log1p(np.maximum(rows[fact.name], 0.0)) if fact.kind == "time" else rows[fact.name]


def nearest(x: Floats, to: Floats, k: int) -> tuple[Floats, NDArray[np.int64]]:
    """Distances and places of the k nearest rows of `to` for every row of x, nearest first, (n, k)."""
    k = min(k, len(to))
    distances, places = np.empty((len(x), k)), np.empty((len(x), k), dtype=np.int64)
    size = (to**2).sum(axis=1)
    for at in range(0, len(x), _BLOCK):
        part = x[at : at + _BLOCK]
        beyond = part @ to.T  # squared distances, less the row's own length, which is the same to all
        beyond *= -2.0
        beyond += size
        near = _least(beyond, k)
        exact = np.sqrt(((part[:, None, :] - to[near]) ** 2).sum(axis=2))  # the short form loses small distances
        order = np.argsort(exact, axis=1, kind="stable")
        distances[at : at + _BLOCK] = np.take_along_axis(exact, order, axis=1)
        places[at : at + _BLOCK] = np.take_along_axis(near, order, axis=1)
    return distances, places


def _least(values: Floats, k: int) -> NDArray[np.int64]:
    """Places of the k least values of every row, (n, k), in any order. Writes over values."""
    found: NDArray[np.int64] = values.argmin(axis=1)[:, None]
    if k > 2:
        found = np.argpartition(values, k - 1, axis=1)[:, :k]
    elif k == 2:
        np.put_along_axis(values, found, np.inf, axis=1)
        found = np.hstack([found, values.argmin(axis=1)[:, None]])
    return found


def nndr(x: Floats, real: Floats) -> Floats:
    """Nearest over second nearest distance of every row, 0 where both are 0."""
    d, _ = nearest(x, real, 2)
    return np.where(d[:, 1] > 0, d[:, 0] / np.where(d[:, 1] > 0, d[:, 1], 1.0), 0.0)


def identical_share(rows: Rows, real: Rows) -> float:
    """Share of rows that stand among the real ones in every column."""
    seen = set(map(bytes, np.ascontiguousarray(np.nan_to_num(real.matrix(), nan=-9e99))))
    mine = [bytes(row) for row in np.ascontiguousarray(np.nan_to_num(rows.matrix(), nan=-9e99))]
    return sum(row in seen for row in mine) / max(len(mine), 1)


def same_patients(rows: Rows, others: Rows) -> bool:
    """Whether half or more of the rows stand among the others: the same patients, or columns that tell none apart."""
    return identical_share(rows, others) >= _SAME
