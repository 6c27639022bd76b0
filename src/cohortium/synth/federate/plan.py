"""What a federation is made of: rounds, limits of the gate, and the columns."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, ClassVar, Protocol

from cohortium.core.parameters import Parameters
from cohortium.core.private import PrivacyTerms
from cohortium.swarm.program import Stage

__all__ = ["Federation", "FederationPlan"]


@dataclass(frozen=True, kw_only=True)
class FederationPlan:
    """rounds: of networks and of sharing. min_cell: fewest patients in a published cell.

    attack_risk_max: an attack on what leaves a site may not do better. proximal: mu of `similarity` for networks.
    private: the terms of a private run.
    """

    rounds: int = 5
    min_cell: int = 10
    attack_risk_max: float = 0.05
    proximal: float = 0.01
    private: PrivacyTerms | None = None


class Federation(Protocol):
    """How sites learn one generator together. masks: whether a sum over sites is all it needs."""

    masks: ClassVar[bool]

    def stages(self, generator: Any) -> tuple[Stage, ...]:
        """Stages of the program; all but the last are preparations."""
        ...

    def result(self, generator: Any, state: Parameters) -> Parameters:
        """The finished generator, a mixture of several or a pool of rows, from the program's last state."""
        ...

    def shared_by(self, state: Parameters) -> tuple[int, ...]:
        """Places of the sites whose rows or models are in it, where single ones are; else none."""
        ...
