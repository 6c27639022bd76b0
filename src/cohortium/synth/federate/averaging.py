"""Federations of networks: `fedavg` (A), the mean of what sites learned each round, and `cyclic`, site after site.

Both give a site the same number of steps in all: R trainings, each 1/R of the budget.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, ClassVar

from cohortium.core.parameters import Parameters
from cohortium.strategies.cyclic import Cyclic
from cohortium.strategies.fedavg import FedAvg
from cohortium.swarm.program import Stage
from cohortium.synth.federate.network_stages import finished_network, network_stages
from cohortium.synth.federate.plan import FederationPlan
from cohortium.synth.federate.private_network import finished_private, private_stages

__all__ = ["Averaging", "Laps"]


@dataclass(frozen=True, kw_only=True)
class Averaging:
    """Weighted means of the weights; only their sum over sites is needed. In a private run noisy sums throughout."""

    plan: FederationPlan

    masks: ClassVar[bool] = True

    def stages(self, generator: Any) -> tuple[Stage, ...]:
        """Foundation, weights, closing."""
        if self.plan.private is not None:
            return private_stages(generator, self.plan.private)
        rounds = self.plan.rounds
        return network_stages(generator, FedAvg(), trainings=rounds, max_rounds=rounds)

    def result(self, generator: Any, state: Parameters) -> Parameters:
        """The finished network."""
        if self.plan.private is not None:
            return finished_private(generator, self.plan.private, state.under("model/model"))
        return finished_network(generator, state)

    def shared_by(self, state: Parameters) -> tuple[int, ...]:
        """No site shows anything of its own."""
        return ()


@dataclass(frozen=True, kw_only=True)
class Laps:
    """The weights visit one site after another, in so many laps; the last one has the last word."""

    plan: FederationPlan
    n_sites: int = 3

    masks: ClassVar[bool] = False

    def stages(self, generator: Any) -> tuple[Stage, ...]:
        """Foundation, weights, closing."""
        laps = self.plan.rounds
        return network_stages(generator, Cyclic(decay=0.0), trainings=laps, max_rounds=laps * self.n_sites)

    def result(self, generator: Any, state: Parameters) -> Parameters:
        """The finished network."""
        return finished_network(generator, state)

    def shared_by(self, state: Parameters) -> tuple[int, ...]:
        """No site shows anything of its own."""
        return ()
