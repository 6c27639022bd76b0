"""Normalised averaging for sites that take unequal numbers of steps: x + (sum n t / N) (sum n D / t) / N.

A site with many batches would otherwise pull the model towards its own optimum merely by stepping more often.
Source: Wang et al. 2020, Tackling the Objective Inconsistency Problem in Heterogeneous Federated Optimization.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar, Literal

import numpy as np

from cohortium.core.parameters import Parameters
from cohortium.core.update import Aggregate, Fitted, Instructions, Turn, Update
from cohortium.errors import TrainingFailed
from cohortium.strategies.local_training import (
    Weights,
    ask,
    check_options,
    difference,
    mean_difference,
    moved,
    weight_of,
)

__all__ = ["FedNova"]


@dataclass(frozen=True, kw_only=True)
class FedNova:
    """Mean change per step times mean number of steps."""

    local_epochs: int = 1
    sync_every: int | None = None
    weights: Weights = "samples"

    sums: ClassVar[bool] = True
    learns_by: ClassVar[Literal["weights"]] = "weights"

    def __post_init__(self) -> None:
        check_options(local_epochs=self.local_epochs, sync_every=self.sync_every, weights=self.weights)

    def init(self, start: Parameters) -> Parameters:
        """No shared state."""
        return Parameters()

    def instruct(self, turn: Turn) -> tuple[Instructions, ...]:
        """One ordinary training."""
        return (ask(local_epochs=self.local_epochs, sync_every=self.sync_every),)

    def conclude(self, turn: Turn, fitted: tuple[Fitted, ...]) -> Update:
        """The change per step, and the number of steps beside it."""
        steps = fitted[0].steps
        if steps < 1:
            raise TrainingFailed("training took no step, so there is no change per step", code="empty")
        per_step = difference(turn, fitted[0]).map(lambda change: np.divide(change, steps).astype(change.dtype))
        return Update(
            site=turn.site,
            parameters=per_step | Parameters({"extra/steps": np.float64(steps)}),
            weight=weight_of(turn, fitted[0], self.weights),
        )

    def merge(self, turn: Turn, aggregate: Aggregate) -> tuple[Parameters, Parameters]:
        """The mean change per step, times the mean number of steps."""
        steps = np.divide(aggregate.total["extra/steps"], float(aggregate.weight))
        step = {name: change * steps for name, change in mean_difference(turn, aggregate).items()}
        return moved(turn.start, step), turn.state

    def personal(self, turn: Turn) -> Parameters:
        """The shared model."""
        return turn.start
