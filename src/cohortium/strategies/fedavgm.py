"""Federated averaging with momentum: m = beta m + D; x + rate m.

Source: Hsu et al. 2019, Measuring the Effects of Non-Identical Data Distribution for Federated Visual Classification.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar, Literal

import numpy as np

from cohortium.core.parameters import Parameters
from cohortium.core.update import Aggregate, Fitted, Instructions, Turn, Update
from cohortium.strategies.local_training import (
    Weights,
    as_floats,
    ask,
    check_options,
    check_positive,
    check_share,
    difference,
    mean_difference,
    moved,
    weight_of,
)

__all__ = ["FedAvgM"]


@dataclass(frozen=True, kw_only=True)
class FedAvgM:
    """The mean change drives a moving average that is shared state. beta: how much of it stays; rate: of the step."""

    beta: float = 0.9
    rate: float = 0.3
    local_epochs: int = 1
    sync_every: int | None = None
    weights: Weights = "samples"

    sums: ClassVar[bool] = True
    learns_by: ClassVar[Literal["weights"]] = "weights"

    def __post_init__(self) -> None:
        check_options(local_epochs=self.local_epochs, sync_every=self.sync_every, weights=self.weights)
        check_share("beta", self.beta)
        check_positive("rate", self.rate)

    def init(self, start: Parameters) -> Parameters:
        """The moving average, zero."""
        return Parameters({f"m/{name}": np.zeros(array.shape) for name, array in start.items()})

    def instruct(self, turn: Turn) -> tuple[Instructions, ...]:
        """One ordinary training."""
        return (ask(local_epochs=self.local_epochs, sync_every=self.sync_every),)

    def conclude(self, turn: Turn, fitted: tuple[Fitted, ...]) -> Update:
        """What the training changed, weighted."""
        weight = weight_of(turn, fitted[0], self.weights)
        return Update(site=turn.site, parameters=difference(turn, fitted[0]), weight=weight)

    def merge(self, turn: Turn, aggregate: Aggregate) -> tuple[Parameters, Parameters]:
        """The new average, and the model moved along it."""
        m = as_floats(turn.state.under("m"))
        change = mean_difference(turn, aggregate)
        m_next = {name: self.beta * m[name] + change[name] for name in change}
        model = moved(turn.start, {name: self.rate * average for name, average in m_next.items()})
        return model, turn.state | Parameters(m_next).prefixed("m")

    def personal(self, turn: Turn) -> Parameters:
        """The shared model."""
        return turn.start
