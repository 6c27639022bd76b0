"""Changes are clipped around the last merged one: v + mean of (x_i - v) min(1, tau/|x_i - v|).

The longer the sites go one way, the less a liar can stop them: what all did last round is free, only news is clipped.
One pass a round, by sums (the site subtracts and clips), so it works under masks. The shared state is v, the step of
the last merge, zero at the start. Every site counts alike unless `weights` says otherwise.
Source: Karimireddy, He, Jaggi 2021, Learning from History for Byzantine Robust Optimization, section 4.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar, Literal

import numpy as np

from cohortium.core.parameters import Parameters
from cohortium.core.update import Aggregate, Fitted, Instructions, Turn, Update
from cohortium.strategies.clipped import bounded_mean, shortened
from cohortium.strategies.local_training import (
    Weights,
    as_floats,
    ask,
    check_options,
    check_positive,
    difference,
    moved,
    weight_of,
)

__all__ = ["CentredClipping"]


@dataclass(frozen=True, kw_only=True)
class CentredClipping:
    """Mean of what differs from the last step, each difference of length tau at most, on top of that step."""

    tau: float = 1.0
    local_epochs: int = 1
    sync_every: int | None = None
    weights: Weights = "equal"

    sums: ClassVar[bool] = True
    learns_by: ClassVar[Literal["weights"]] = "weights"

    def __post_init__(self) -> None:
        check_options(local_epochs=self.local_epochs, sync_every=self.sync_every, weights=self.weights)
        check_positive("tau", self.tau)

    def init(self, start: Parameters) -> Parameters:
        """v = 0."""
        return Parameters({name: np.zeros(array.shape) for name, array in start.items()}).prefixed("v")

    def instruct(self, turn: Turn) -> tuple[Instructions, ...]:
        """One ordinary training."""
        return (ask(local_epochs=self.local_epochs, sync_every=self.sync_every),)

    def conclude(self, turn: Turn, fitted: tuple[Fitted, ...]) -> Update:
        """(x_i - v) shortened to tau."""
        last = as_floats(turn.state.under("v"))
        news = {name: part - last[name] for name, part in as_floats(difference(turn, fitted[0])).items()}
        weight = weight_of(turn, fitted[0], self.weights)
        return Update(site=turn.site, parameters=shortened(news, norm=self.tau, like=turn.start), weight=weight)

    def merge(self, turn: Turn, aggregate: Aggregate) -> tuple[Parameters, Parameters]:
        """v and the mean news, added to the round's model; their sum is the next v."""
        last, news = as_floats(turn.state.under("v")), bounded_mean(turn, aggregate, norm=self.tau)
        step = {name: last[name] + news[name] for name in turn.start}
        return moved(turn.start, step), Parameters(step).prefixed("v")

    def personal(self, turn: Turn) -> Parameters:
        """The shared model."""
        return turn.start
