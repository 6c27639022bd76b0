"""Federated averaging with a leash: mu/2 |w - x|^2 joins every site's loss, so that no site runs far off.

Source: Li et al. 2020, Federated Optimization in Heterogeneous Networks.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import ClassVar, Literal

from cohortium.core.parameters import Parameters
from cohortium.core.update import Aggregate, Fitted, Instructions, Turn, Update
from cohortium.strategies.local_training import (
    Weights,
    ask,
    check_options,
    difference,
    mean_difference,
    moved,
    weight_of,
)

__all__ = ["FedProx"]


@dataclass(frozen=True, kw_only=True)
class FedProx:
    """Weighted mean of changes trained under a proximal term. mu: its weight; 0 is plain averaging."""

    mu: float = 0.1
    local_epochs: int = 1
    sync_every: int | None = None
    weights: Weights = "samples"

    sums: ClassVar[bool] = True
    learns_by: ClassVar[Literal["weights"]] = "weights"

    def __post_init__(self) -> None:
        check_options(local_epochs=self.local_epochs, sync_every=self.sync_every, weights=self.weights)
        if not 0 <= self.mu < float("inf"):
            raise ValueError(f"mu must be at least 0 and finite, got {self.mu}")

    def init(self, start: Parameters) -> Parameters:
        """No shared state."""
        return Parameters()

    def instruct(self, turn: Turn) -> tuple[Instructions, ...]:
        """One training, drawn to the round's shared model."""
        return (replace(ask(local_epochs=self.local_epochs, sync_every=self.sync_every), proximal=self.mu),)

    def conclude(self, turn: Turn, fitted: tuple[Fitted, ...]) -> Update:
        """What the training changed, weighted."""
        weight = weight_of(turn, fitted[0], self.weights)
        return Update(site=turn.site, parameters=difference(turn, fitted[0]), weight=weight)

    def merge(self, turn: Turn, aggregate: Aggregate) -> tuple[Parameters, Parameters]:
        """The weighted mean of the changes, added to the round's model."""
        return moved(turn.start, mean_difference(turn, aggregate)), turn.state

    def personal(self, turn: Turn) -> Parameters:
        """The shared model."""
        return turn.start
