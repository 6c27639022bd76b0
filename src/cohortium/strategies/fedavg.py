"""Federated averaging: x + sum n_i D_i / N, the mean of what the sites learned, weighted by their patients.

Source: McMahan et al. 2017, Communication-Efficient Learning of Deep Networks from Decentralized Data.
"""

from __future__ import annotations

from dataclasses import dataclass
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

__all__ = ["FedAvg"]


@dataclass(frozen=True, kw_only=True)
class FedAvg:
    """Weighted mean of the sites' changes. cap: no site weighs more than this, None = no limit."""

    local_epochs: int = 1
    sync_every: int | None = None
    weights: Weights = "samples"
    cap: int | None = None

    sums: ClassVar[bool] = True
    learns_by: ClassVar[Literal["weights"]] = "weights"

    def __post_init__(self) -> None:
        check_options(local_epochs=self.local_epochs, sync_every=self.sync_every, weights=self.weights)
        if self.cap is not None and self.cap < 1:
            raise ValueError(f"cap must be at least 1, got {self.cap}")

    def init(self, start: Parameters) -> Parameters:
        """No shared state."""
        return Parameters()

    def instruct(self, turn: Turn) -> tuple[Instructions, ...]:
        """One ordinary training."""
        return (ask(local_epochs=self.local_epochs, sync_every=self.sync_every),)

    def conclude(self, turn: Turn, fitted: tuple[Fitted, ...]) -> Update:
        """What the training changed, weighted."""
        weight = weight_of(turn, fitted[0], self.weights)
        weight = weight if self.cap is None else min(weight, self.cap)
        return Update(site=turn.site, parameters=difference(turn, fitted[0]), weight=weight)

    def merge(self, turn: Turn, aggregate: Aggregate) -> tuple[Parameters, Parameters]:
        """The weighted mean of the changes, added to the round's model."""
        return moved(turn.start, mean_difference(turn, aggregate)), turn.state

    def personal(self, turn: Turn) -> Parameters:
        """The shared model."""
        return turn.start
