"""The plain mean: x + sum D_i / m, every site counting the same whatever its size."""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar, Literal

from cohortium.core.parameters import Parameters
from cohortium.core.update import Aggregate, Fitted, Instructions, Turn, Update
from cohortium.strategies.local_training import ask, check_options, difference, mean_difference, moved

__all__ = ["Mean"]


@dataclass(frozen=True, kw_only=True)
class Mean:
    """Unweighted mean of the sites' changes."""

    local_epochs: int = 1
    sync_every: int | None = None

    sums: ClassVar[bool] = True
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
        """The mean of the changes, added to the round's model."""
        return moved(turn.start, mean_difference(turn, aggregate)), turn.state

    def personal(self, turn: Turn) -> Parameters:
        """The shared model."""
        return turn.start
