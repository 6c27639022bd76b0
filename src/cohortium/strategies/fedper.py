"""FedPer: a shared trunk and a last layer of every site's own, which never leaves.

Source: Arivazhagan et al. 2019, Federated Learning with Personalization Layers.
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

__all__ = ["FedPer"]


@dataclass(frozen=True, kw_only=True)
class FedPer:
    """Weighted mean of changes of the shared arrays; private ones stay at the site.

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

    @property
    def home_only(self) -> bool:
        """Whether a site that has not trained has no whole model: its own layers are nowhere else."""
        return bool(self.private)

    def init(self, start: Parameters) -> Parameters:
        """No shared state."""
        return Parameters()

    def instruct(self, turn: Turn) -> tuple[Instructions, ...]:
        """One training that starts from the shared arrays and the site's own ones."""
        return (replace(ask(local_epochs=self.local_epochs, sync_every=self.sync_every), start=self.personal(turn)),)

    def conclude(self, turn: Turn, fitted: tuple[Fitted, ...]) -> Update:
        """Changes of the shared arrays; the private ones are remembered."""
        trained = fitted[0].parameters
        own = named(self.private, trained)
        return Update(
            site=turn.site,
            parameters=difference(turn, fitted[0]).without(own),
            weight=weight_of(turn, fitted[0], self.weights),
            memory=Parameters({name: trained[name] for name in own}),
        )

    def merge(self, turn: Turn, aggregate: Aggregate) -> tuple[Parameters, Parameters]:
        """The weighted mean of what was sent."""
        return moved(turn.start, mean_difference(turn, aggregate)), turn.state

    def personal(self, turn: Turn) -> Parameters:
        """The shared model with the site's own private arrays."""
        return turn.start | turn.memory
