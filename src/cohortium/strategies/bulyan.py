"""Krum, then a trimmed mean: N - 2f changes are picked, and per coordinate the N - 4f nearest their median averaged.

A single far coordinate, which hides in a distance over many, is dropped by the second step. Needs single updates, so
it excludes masks, and many sites: N >= 4f + 3. It punishes honest differences as Krum does.
Source: El Mhamdi, Guerraoui, Rouault 2018, The Hidden Vulnerability of Distributed Learning in Byzantium.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import ClassVar, Literal

import numpy as np
from numpy.typing import NDArray

from cohortium.core.parameters import Parameters
from cohortium.core.update import Aggregate, Fitted, Instructions, Turn, Update
from cohortium.strategies.krum_scores import changes, check_f, ranked, refuse_few, squared_distances, too_few
from cohortium.strategies.local_training import as_floats, ask, check_options, difference, moved

__all__ = ["Bulyan"]

_BLOCK = 16_384


@dataclass(frozen=True, kw_only=True)
class Bulyan:
    """Trimmed mean of the picks of repeated Krum. f: sites that may send anything; N >= 4f + 3."""

    f: int = 1
    local_epochs: int = 1
    sync_every: int | None = None

    sums: ClassVar[bool] = False
    learns_by: ClassVar[Literal["weights"]] = "weights"
    among_sites: ClassVar[bool] = True  # means nothing for one trainer alone

    def __post_init__(self) -> None:
        check_options(local_epochs=self.local_epochs, sync_every=self.sync_every)
        check_f(self.f)

    def too_few(self, n_sites: int) -> str:
        """Why so few sites do not do, else empty."""
        return too_few("bulyan", f=self.f, least=4 * self.f + 3, n_sites=n_sites)

    def init(self, start: Parameters) -> Parameters:
        """No shared state."""
        return Parameters()

    def instruct(self, turn: Turn) -> tuple[Instructions, ...]:
        """One ordinary training."""
        return (ask(local_epochs=self.local_epochs, sync_every=self.sync_every),)

    def conclude(self, turn: Turn, fitted: tuple[Fitted, ...]) -> Update:
        """What the training changed, with weight 1."""
        return Update(site=turn.site, parameters=difference(turn, fitted[0]), weight=1)

    def merge(self, turn: Turn, aggregate: Aggregate) -> tuple[Parameters, Parameters]:
        """Per coordinate the mean of the values nearest the median of the picked changes."""
        vectors = changes(turn, aggregate)
        n = len(vectors)
        refuse_few(self.too_few(n))
        distances, left = squared_distances(vectors), list(range(n))
        picked: list[int] = []
        while len(picked) < n - 2 * self.f:
            picked.append(ranked(distances, left, f=self.f)[0])
            left.remove(picked[-1])
        floats = [as_floats(aggregate.updates[at].parameters) for at in sorted(picked)]
        step = {name: _nearest([one[name] for one in floats], n - 4 * self.f) for name in turn.start}
        return moved(turn.start, step), turn.state

    def personal(self, turn: Turn) -> Parameters:
        """The shared model."""
        return turn.start


def _nearest(values: Sequence[NDArray[np.float64]], kept: int) -> NDArray[np.float64]:
    """Per coordinate the mean of the `kept` values nearest their median; of two equally near ones the smaller stays."""
    flats = [value.reshape(-1) for value in values]
    out = np.empty(flats[0].size)
    for at in range(0, out.size, _BLOCK):
        rows = np.sort(np.stack([flat[at : at + _BLOCK] for flat in flats]) + 0.0, axis=0)
        k = len(rows)
        middle = (rows[(k - 1) // 2] + rows[k // 2]) / 2.0
        order = np.argsort(np.abs(rows - middle), axis=0, kind="stable")[:kept]
        near = np.sort(np.take_along_axis(rows, order, axis=0), axis=0)
        total = near[0].copy()
        for row in near[1:]:
            total += row
        out[at : at + _BLOCK] = total / kept
    return out.reshape(values[0].shape)
