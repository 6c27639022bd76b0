"""A Bayesian network over categories and flags: its tables, and drawing from them.

P(child = k | parents' row j) = (n_jk + alpha m_jk) / (n_j + alpha), alpha = 1, m the child's smoothed marginal: a row
nobody was in falls back to it. Where a level of the child was never seen with a level of one parent, though at least
10 patients were to be expected, m_jk is a thousandth of it: exclusive pairs stay exclusive, however many rows there
are.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property

import numpy as np
from numpy.typing import NDArray

from cohortium.synth.generators.climb import Family, family_codes, topological

__all__ = ["Network"]

Floats = NDArray[np.float64]
Integers = NDArray[np.int64]

ALPHA = 1.0
EXCLUSIVE = 10.0


@dataclass(frozen=True, eq=False)
class Network:
    """families: by child. counts: by child, (levels, rows of parents). sizes: levels by variable."""

    families: tuple[Family, ...]
    counts: Mapping[int, Integers]
    sizes: tuple[int, ...]

    @cached_property
    def probabilities(self) -> dict[int, Floats]:
        """By child, (levels, rows of parents); every column sums to 1."""
        found = {}
        for child, counts in self.counts.items():
            margin = counts.sum(axis=1) + 0.5
            m = (margin / margin.sum())[:, None] * self._likely(child)
            m = m / m.sum(axis=0)
            found[child] = (counts + ALPHA * m) / (counts.sum(axis=0) + ALPHA)
        return found

    def _likely(self, child: int) -> Floats:
        """1, or a thousandth where a pair of levels excludes each other, (levels, rows of parents)."""
        counts = self.counts[child]
        parents = self.families[child].parents
        cells = counts.reshape(len(counts), *(self.sizes[parent] for parent in parents))
        found = np.ones(cells.shape)
        total = max(float(counts.sum()), 1.0)
        for axis in range(1, cells.ndim):
            others = tuple(k for k in range(1, cells.ndim) if k != axis)
            pair = cells.sum(axis=others)
            expected = pair.sum(axis=1, keepdims=True) * pair.sum(axis=0) / total
            shape = [len(counts) if k == 0 else cells.shape[k] if k == axis else 1 for k in range(cells.ndim)]
            found = np.minimum(found, np.where((pair == 0) & (expected >= EXCLUSIVE), 1e-3, 1.0).reshape(shape))
        return found.reshape(counts.shape)

    @cached_property
    def order(self) -> tuple[int, ...]:
        """Children after their parents."""
        return topological(self.families)

    @property
    def n_edges(self) -> int:
        """Arrows of the graph."""
        return sum(len(family.parents) for family in self.families)

    def sample(self, n: int, rng: np.random.Generator, *, given: Mapping[int, int] | None = None) -> Integers:
        """Codes of n patients, (n, variables). given: levels that are set from outside, not drawn."""
        codes = np.zeros((n, len(self.sizes)), dtype=np.int64)
        for child in self.order:
            if given is not None and child in given:
                codes[:, child] = given[child]
                continue
            row = family_codes(codes, self.families[child].parents, self.sizes)
            edges = np.cumsum(self.probabilities[child], axis=0)[:-1, :]
            codes[:, child] = (rng.random(n) >= edges[:, row]).sum(axis=0)
        return codes

    def log_probability(self, codes: Integers, child: int) -> Floats:
        """log P(child's level | parents) of every patient, (n,)."""
        row = family_codes(codes, self.families[child].parents, self.sizes)
        return np.asarray(np.log(self.probabilities[child][codes[:, child], row]))

    def children(self, variable: int) -> Sequence[int]:
        """Variables that have this one among their parents."""
        return [family.child for family in self.families if variable in family.parents]
