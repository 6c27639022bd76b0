"""The mean over sites without the extremes: per coordinate, floor(beta N) values are dropped at each end.

Needs single updates, so it excludes masks.
Source: Yin et al. 2018, Byzantine-Robust Distributed Learning: Towards Optimal Statistical Rates.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar, Literal

from cohortium.core.parameters import Parameters
from cohortium.core.update import Aggregate, Fitted, Instructions, Turn, Update
from cohortium.strategies.local_training import ask, check_options, check_share, difference, moved
from cohortium.strategies.sorting_network import trimmed_mean

__all__ = ["TrimmedMean"]


@dataclass(frozen=True, kw_only=True)
class TrimmedMean:
    """Unweighted mean of the middle changes. beta: share dropped at each end, below one half."""

    beta: float = 0.1
    local_epochs: int = 1
    sync_every: int | None = None

    sums: ClassVar[bool] = False
    learns_by: ClassVar[Literal["weights"]] = "weights"

    def __post_init__(self) -> None:
        check_options(local_epochs=self.local_epochs, sync_every=self.sync_every)
        check_share("beta", self.beta, below=0.5)

    def init(self, start: Parameters) -> Parameters:
        """No shared state."""
        return Parameters()

    def instruct(self, turn: Turn) -> tuple[Instructions, ...]:
        """One ordinary training."""
        return (ask(local_epochs=self.local_epochs, sync_every=self.sync_every),)

    def conclude(self, turn: Turn, fitted: tuple[Fitted, ...]) -> Update:
        """What the training changed, with weight 1."""
        return Update(site=turn.site, parameters=difference(turn, fitted[0]), weight=1)

    def merge(self, turn: Turn, aggregate: Aggregate) -> tuple[Parameters, Parameters]:
        """The trimmed mean of the changes, added to the round's model."""
        n = len(aggregate.contributors)
        dropped = int(self.beta * n)
        step = {n_: trimmed_mean([u.parameters[n_] for u in aggregate.updates], dropped=dropped) for n_ in turn.start}
        return moved(turn.start, step), turn.state

    def personal(self, turn: Turn) -> Parameters:
        """The shared model."""
        return turn.start
