"""FedBN: every site keeps its own normalisation layers; all else is averaged.

Their changes are sent and merged too, but only for newcomers: a site that has trained goes on from its own.

Source: Li et al. 2021, FedBN: Federated Learning on Non-IID Features via Local Batch Normalization.
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
    named,
    weight_of,
)

__all__ = ["FedBN"]


@dataclass(frozen=True, kw_only=True)
class FedBN:
    """Weighted mean of changes; private arrays are used where they were trained.

    private: patterns of array names (`head.*`); assembly fills them from the model's parts.
    """

    private: tuple[str, ...] = ()
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
        """One training that starts from the shared arrays and the site's own ones."""
        return (replace(ask(local_epochs=self.local_epochs, sync_every=self.sync_every), start=self.personal(turn)),)

    def conclude(self, turn: Turn, fitted: tuple[Fitted, ...]) -> Update:
        """All changes; the private arrays are also remembered."""
        trained = fitted[0].parameters
        own = named(self.private, trained)
        return Update(
            site=turn.site,
            parameters=difference(turn, fitted[0]),
            weight=weight_of(turn, fitted[0], self.weights),
            memory=Parameters({name: trained[name] for name in own}),
        )

    def merge(self, turn: Turn, aggregate: Aggregate) -> tuple[Parameters, Parameters]:
        """The weighted mean of what was sent."""
        return moved(turn.start, mean_difference(turn, aggregate)), turn.state

    def personal(self, turn: Turn) -> Parameters:
        """The shared model with the site's own private arrays."""
        return turn.start | turn.memory
