"""What a conditional GAN is asked for: one named variable and one of its levels, rare ones more often than they are.

The variable is drawn evenly, the level in proportion to log(1 + count) over all sites' patients (Xu et al. 2019); a
real row with that level is drawn at the site. A level nobody at the site has is never asked for there.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

__all__ = ["Asked", "Conditions", "Lists", "asked_as_they_are", "asked_of"]

Floats = NDArray[np.float64]
Integers = NDArray[np.int64]


@dataclass(frozen=True, eq=False)
class Asked:
    """variable: which, (n,); level: which of its levels, (n,)."""

    variable: Integers
    level: Integers


@dataclass(frozen=True, eq=False)
class Conditions:
    """edges: (variables, levels), cumulative chances of the levels; usable: variables that can be asked for."""

    edges: Floats
    usable: Integers

    @classmethod
    def of(cls, counts: Sequence[Floats], *, codes: Integers | None = None) -> Conditions:
        """counts: patients by level of every variable; codes: of the site's rows, whose absent levels are left out."""
        most = max((len(one) for one in counts), default=1)
        chances = np.zeros((len(counts), most))
        for at, one in enumerate(counts):
            chances[at, : len(one)] = np.log1p(np.rint(one))
            if codes is not None:
                chances[at, : len(one)] *= np.bincount(codes[:, at], minlength=len(one)) > 0
        total = chances.sum(axis=1)
        edges = np.cumsum(chances / np.maximum(total, 1e-300)[:, None], axis=1)
        return cls(edges, np.flatnonzero(((chances > 0).sum(axis=1) > 1) & (total > 0)))

    def draw(self, n: int, rng: np.random.Generator) -> Asked | None:
        """n questions; None where no variable varies."""
        if not len(self.usable):
            return None
        variable = self.usable[rng.integers(0, len(self.usable), n)]
        level = (rng.random((n, 1)) >= self.edges[variable, :-1]).sum(axis=1)
        return Asked(variable, level.astype(np.int64))


@dataclass(frozen=True, eq=False)
class Lists:
    """Rows by level of every variable. order: (variables, n); starts: (variables, levels + 1)."""

    order: Integers
    starts: Integers

    @classmethod
    def of(cls, codes: Integers, *, n_levels: int) -> Lists:
        """Of a site's codes (n, variables)."""
        order = np.argsort(codes, axis=0, kind="stable").T
        counts = np.stack([np.bincount(column, minlength=n_levels) for column in codes.T])
        return cls(order, np.concatenate([np.zeros((len(counts), 1), np.int64), counts.cumsum(axis=1)], axis=1))

    def fitting(self, asked: Asked, rng: np.random.Generator) -> Integers:
        """A row for every question."""
        first, last = (self.starts[asked.variable, asked.level + k] for k in (0, 1))
        chosen = first + (rng.random(len(first)) * (last - first)).astype(np.int64)
        return np.asarray(self.order[asked.variable, chosen])


def asked_as_they_are(margins: Sequence[Floats], n: int, rng: np.random.Generator) -> Asked | None:
    """n questions whose levels are as frequent as among patients. margins: of the levels of every named variable."""
    usable = _usable(margins)
    if not len(usable):
        return None
    variable = usable[rng.integers(0, len(usable), n)]
    edges = np.ones((len(margins), max(len(margins[at]) for at in usable)))
    for at in usable:
        edges[at, : len(margins[at])] = np.cumsum(margins[at])
    level = (rng.random((n, 1)) >= edges[variable, :-1]).sum(axis=1)
    return Asked(variable, level.astype(np.int64))


def asked_of(codes: Integers, margins: Sequence[Floats], rng: np.random.Generator) -> Asked | None:
    """For each patient a question about a variable of its own. codes: (n, variables), the named ones first."""
    usable = _usable(margins)
    if not len(usable):
        return None
    variable = usable[rng.integers(0, len(usable), len(codes))]
    return Asked(variable, codes[np.arange(len(codes)), variable])


def _usable(margins: Sequence[Floats]) -> Integers:
    return np.array([at for at, one in enumerate(margins) if len(one) > 1], dtype=np.int64)
