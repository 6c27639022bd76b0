"""The largest value over sites, coordinate by coordinate: offered by the published swarm, for replays only.

Needs single updates, so it excludes masks. Nothing recommends it for learning.
Source: Warnat-Herresthal et al. 2021, Swarm Learning for decentralized and confidential clinical machine learning.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar, Literal

from cohortium.core.parameters import Parameters
from cohortium.core.update import Aggregate, Fitted, Instructions, Turn, Update
from cohortium.strategies.local_training import ask, check_options, difference, moved
from cohortium.strategies.sorting_network import maximum

__all__ = ["Maximum"]


@dataclass(frozen=True, kw_only=True)
class Maximum:
    """Per coordinate the largest of the trained values."""

    local_epochs: int = 1
    sync_every: int | None = None

    sums: ClassVar[bool] = False
    learns_by: ClassVar[Literal["weights"]] = "weights"

    def __post_init__(self) -> None:
        check_options(local_epochs=self.local_epochs, sync_every=self.sync_every)

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
        """The largest change of each coordinate, added to the round's model."""
        step = {name: maximum([one.parameters[name] for one in aggregate.updates]) for name in turn.start}
        return moved(turn.start, step), turn.state

    def personal(self, turn: Turn) -> Parameters:
        """The shared model."""
        return turn.start
