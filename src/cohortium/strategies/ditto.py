"""Ditto: federated averaging, and beside it a model of its own for every site, drawn to the shared one.

v_i is trained by lambda/2 |v - x|^2 beside the loss and never leaves; it is what the site predicts with.
Source: Li et al. 2021, Ditto: Fair and Robust Federated Learning Through Personalization.
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

__all__ = ["Ditto"]


@dataclass(frozen=True, kw_only=True)
class Ditto:
    """Weighted mean of changes for all; a leashed variant at home. leash: lambda, 0 is an own model alone."""

    leash: float = 0.1
    local_epochs: int = 1
    sync_every: int | None = None
    weights: Weights = "samples"

    sums: ClassVar[bool] = True
    learns_by: ClassVar[Literal["weights"]] = "weights"

    def __post_init__(self) -> None:
        check_options(local_epochs=self.local_epochs, sync_every=self.sync_every, weights=self.weights)
        if not 0 <= self.leash < float("inf"):
            raise ValueError(f"leash must be at least 0 and finite, got {self.leash}")

    def init(self, start: Parameters) -> Parameters:
        """No shared state."""
        return Parameters()

    def instruct(self, turn: Turn) -> tuple[Instructions, ...]:
        """Two trainings: of the shared model, and of the own one."""
        asked = ask(local_epochs=self.local_epochs, sync_every=self.sync_every)
        return asked, replace(asked, start=self.personal(turn), anchor=turn.start, proximal=self.leash)

    def conclude(self, turn: Turn, fitted: tuple[Fitted, ...]) -> Update:
        """What the shared training changed; the own model is remembered."""
        shared, own = fitted
        weight = weight_of(turn, shared, self.weights)
        return Update(site=turn.site, parameters=difference(turn, shared), weight=weight, memory=own.parameters)

    def merge(self, turn: Turn, aggregate: Aggregate) -> tuple[Parameters, Parameters]:
        """The weighted mean of the shared changes."""
        return moved(turn.start, mean_difference(turn, aggregate)), turn.state

    def personal(self, turn: Turn) -> Parameters:
        """The site's own model; the shared one before it has any."""
        return turn.memory if len(turn.memory) else turn.start
