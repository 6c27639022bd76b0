"""A number's distribution on cells that everybody may know beforehand: between the agreed ends of its range.

Whole numbers of a narrow range have a cell each; others 64 cells of equal width in asinh x: narrow near 0, wide far
out.
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property

import numpy as np
from numpy.typing import NDArray

from cohortium.synth.facts import Fact
from cohortium.synth.generators.latent import kept_by_cutting, level_scores

__all__ = ["N_CELLS", "PublicTable", "has_range", "nearest_counts", "public_edges"]

Floats = NDArray[np.float64]
Integers = NDArray[np.int64]

N_CELLS = 64


def has_range(fact: Fact) -> bool:
    """Whether the study says between which values the column lies."""
    return fact.low is not None and fact.high is not None and fact.low < fact.high


def public_edges(fact: Fact) -> Floats:
    """Edges of the cells. Raises ValueError for a column without a range."""
    if fact.low is None or fact.high is None or not fact.low < fact.high:
        raise ValueError(
            f"column '{fact.name}' has no range that everybody may know; agree on one under [cohort] ranges"
        )
    if fact.whole and fact.high - fact.low <= 2 * N_CELLS:
        return np.arange(np.floor(fact.low), np.ceil(fact.high) + 2) - 0.5
    return np.sinh(np.linspace(np.arcsinh(fact.low), np.arcsinh(fact.high), N_CELLS + 1))


def nearest_counts(noisy: Floats, total: float) -> Floats:
    """The counts nearest to noisy ones that are not negative and add up to the total."""
    n = len(noisy)
    ordered = np.sort(noisy)[::-1]
    over = (np.cumsum(ordered) - total) / np.arange(1, n + 1)
    last = int(np.flatnonzero(ordered > over)[-1]) if (ordered > over).any() else n - 1
    return np.asarray(np.maximum(noisy - over[last], 0.0))


@dataclass(frozen=True, eq=False)
class PublicTable:
    """counts: of each cell, not whole where noise was added. step: values are multiples of it."""

    edges: Floats
    counts: Floats
    step: float = 0.01

    @cached_property
    def z(self) -> Floats:
        """Normal score of each cell."""
        return level_scores(self._parts)

    @property
    def kept(self) -> float:
        """What cutting leaves of a correlation."""
        return kept_by_cutting(self._parts, self.z)

    @cached_property
    def _parts(self) -> Integers:
        """Shares of a million: whole numbers for the scores."""
        return np.rint(1e6 * self.counts / max(float(self.counts.sum()), 1e-9)).astype(np.int64)

    def cells(self, values: Floats) -> Integers:
        """The cell of every value; beyond the ends the first or last."""
        return np.clip(np.searchsorted(self.edges, values, side="right") - 1, 0, len(self.counts) - 1)

    def score(self, values: Floats) -> Floats:
        """Normal scores, 0 where missing."""
        there = ~np.isnan(values)
        return np.where(there, self.z[self.cells(np.where(there, values, 0.0))], 0.0)

    def value(self, p: Floats) -> Floats:
        """Values at these probabilities."""
        running = np.cumsum(self.counts) / max(float(self.counts.sum()), 1e-9)
        cell = np.minimum(np.searchsorted(running, p, side="right"), len(running) - 1)
        below = np.where(cell > 0, running[cell - 1], 0.0)
        share = np.clip((p - below) / np.maximum(running[cell] - below, 1e-12), 0.0, 1.0)
        low, high = np.arcsinh(self.edges[cell]), np.arcsinh(self.edges[cell + 1])
        found = np.sinh(low + share * (high - low))
        return np.asarray(np.round(np.rint(found / self.step) * self.step, 6))
