"""Generators whose state is more than one: a mixture of site models drawn by n_k, or a pool of rows that were shared.

generator = opened(generator, state)        # the generator itself for an ordinary state
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from cohortium.core.parameters import Parameters
from cohortium.errors import UsageError
from cohortium.synth.facts import Facts
from cohortium.synth.rows import Rows, joined

__all__ = ["Mixture", "Pool", "mixture_of", "n_patients_of", "opened", "pool_of"]

_WEIGHTS, _POOL = "ensemble/n", "pool/values"


def mixture_of(models: Sequence[tuple[Parameters, int]]) -> Parameters:
    """A state of several. models: (state, patients it was learned from)."""
    found = Parameters({_WEIGHTS: np.array([n for _, n in models], dtype=np.int64)})
    for place, (state, _) in enumerate(models):
        found |= state.prefixed(f"site/{place}")
    return found


def pool_of(rows: Rows) -> Parameters:
    """A state that is rows."""
    return Parameters({_POOL: rows.matrix()})


def n_patients_of(state: Parameters) -> int:
    """Patients a finished generator was learned from, as its own state says; at least 1."""
    if _POOL in state:
        return max(len(state[_POOL]), 1)
    held = next((state[name] for name in (_WEIGHTS, "n", "foundation/n") if name in state), None)
    return 1 if held is None else max(round(float(np.asarray(held, dtype=np.float64).sum())), 1)


def opened(generator: Any, state: Parameters) -> Any:
    """What can draw from this state."""
    if _WEIGHTS in state:
        return Mixture(generator)
    return Pool(generator.facts) if _POOL in state else generator


@dataclass(frozen=True, eq=False)
class Mixture:
    """Site models beside each other; each patient comes from one of them, drawn by n_k."""

    generator: Any

    @property
    def facts(self) -> Facts:
        """The columns."""
        found: Facts = self.generator.facts
        return found

    def finished(self, parameters: Parameters) -> bool:
        """Whether there is at least one model."""
        return _WEIGHTS in parameters

    def sample(self, state: Parameters, n: int, *, rng: np.random.Generator) -> Rows:
        """n patients in an order that does not tell the site."""
        weights = np.asarray(state[_WEIGHTS], dtype=np.float64)
        counts = rng.multinomial(n, weights / weights.sum())
        parts = [
            self.generator.sample(state.under(f"site/{place}"), int(count), rng=rng)
            for place, count in enumerate(counts)
            if count
        ]
        return joined(parts).take(rng.permutation(n))


@dataclass(frozen=True, eq=False)
class Pool:
    """Rows that were shared, drawn without putting back; there are no more of them than were shared."""

    facts: Facts

    def finished(self, parameters: Parameters) -> bool:
        """Whether there are rows."""
        return _POOL in parameters

    def whole(self, state: Parameters) -> Rows:
        """All rows."""
        held = np.asarray(state[_POOL], dtype=np.float64)
        return Rows(self.facts, {name: held[:, at].copy() for at, name in enumerate(self.facts.names)})

    def sample(self, state: Parameters, n: int, *, rng: np.random.Generator) -> Rows:
        """n of the rows. Raises UsageError for more than there are."""
        held = self.whole(state)
        if n > len(held):
            raise UsageError(f"the sites shared {len(held):,} rows, {n:,} were asked for; a pool gives each row once")
        return held.take(rng.permutation(len(held))[:n])
