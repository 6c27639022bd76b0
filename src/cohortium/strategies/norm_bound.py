"""The mean of changes none of which is longer than C: one far-off site moves the model by at most its share of C.

Sums only, so it works under masks: the clip is made at the site before anything leaves it (see `clipped`). Under `dp`
updates are clipped already, to the study's `clipping_norm`, and `fedavg` is then this rule.
Source: Sun et al. 2019, Can You Really Backdoor Federated Learning?, section 4.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar, Literal

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

__all__ = ["NormBound"]


@dataclass(frozen=True, kw_only=True)
class NormBound:
    """Weighted mean of the changes, each of Euclidean length C at most. norm: C, in the units of the parameters."""

    norm: float = 1.0
    local_epochs: int = 1
    sync_every: int | None = None
    weights: Weights = "samples"

    sums: ClassVar[bool] = True
    learns_by: ClassVar[Literal["weights"]] = "weights"

    def __post_init__(self) -> None:
        check_options(local_epochs=self.local_epochs, sync_every=self.sync_every, weights=self.weights)
        check_positive("norm", self.norm)

    def init(self, start: Parameters) -> Parameters:
        """No shared state."""
        return Parameters()

    def instruct(self, turn: Turn) -> tuple[Instructions, ...]:
        """One ordinary training."""
        return (ask(local_epochs=self.local_epochs, sync_every=self.sync_every),)

    def conclude(self, turn: Turn, fitted: tuple[Fitted, ...]) -> Update:
        """What the training changed, shortened to C, weighted."""
        change = as_floats(difference(turn, fitted[0]))
        weight = weight_of(turn, fitted[0], self.weights)
        return Update(site=turn.site, parameters=shortened(change, norm=self.norm, like=turn.start), weight=weight)

    def merge(self, turn: Turn, aggregate: Aggregate) -> tuple[Parameters, Parameters]:
        """The weighted mean of the changes, added to the round's model."""
        return moved(turn.start, bounded_mean(turn, aggregate, norm=self.norm)), turn.state

    def personal(self, turn: Turn) -> Parameters:
        """The shared model."""
        return turn.start
