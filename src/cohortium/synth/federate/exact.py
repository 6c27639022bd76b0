"""Federation `exact` (A): integer sums. The generator of the swarm is the one of the pooled table, bit for bit."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, ClassVar

from cohortium.core.parameters import Parameters
from cohortium.strategies.exact_sums import ExactSums
from cohortium.swarm.program import Stage
from cohortium.synth.federate.plan import FederationPlan

__all__ = ["Exact"]


@dataclass(frozen=True, kw_only=True)
class Exact:
    """One stage by exact sums."""

    plan: FederationPlan

    masks: ClassVar[bool] = True

    def stages(self, generator: Any) -> tuple[Stage, ...]:
        """The generator itself."""
        return (Stage(name="model", learner=generator, strategy=ExactSums(), max_rounds=generator.max_rounds),)

    def result(self, generator: Any, state: Parameters) -> Parameters:
        """The finished generator from the program's last state."""
        return state.under("model/model")

    def shared_by(self, state: Parameters) -> tuple[int, ...]:
        """No site shows anything of its own."""
        return ()
