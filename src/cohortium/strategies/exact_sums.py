"""Integer sums over patients: added exactly, then turned into the next state by the learner's `advance`.

Any order, partition or mask gives the same bits, so the swarm's model equals the pooled one.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar, Literal

from cohortium.core.parameters import Parameters
from cohortium.core.update import Aggregate, Fitted, Instructions, Turn, Update
from cohortium.errors import FrameError

__all__ = ["ExactSums"]


@dataclass(frozen=True, kw_only=True)
class ExactSums:
    """Sum of the sites' int64 arrays, every site with weight 1."""

    sums: ClassVar[bool] = True
    learns_by: ClassVar[Literal["sums"]] = "sums"

    def init(self, start: Parameters) -> Parameters:
        """No shared state."""
        return Parameters()

    def instruct(self, turn: Turn) -> tuple[Instructions, ...]:
        """One answer to the state's question."""
        return (Instructions(),)

    def conclude(self, turn: Turn, fitted: tuple[Fitted, ...]) -> Update:
        """The site's sums as they are, and what it will remember of them."""
        return Update(site=turn.site, parameters=fitted[0].parameters, weight=1, memory=fitted[0].memory)

    def merge(self, turn: Turn, aggregate: Aggregate) -> tuple[Parameters, Parameters]:
        """The exact totals; the caller hands them to the learner's `advance`."""
        if aggregate.weight != len(aggregate.contributors):
            raise FrameError(
                f"exact sums carry weight 1 each, got {aggregate.weight} over {len(aggregate.contributors)} sites"
            )
        for name, array in aggregate.total.items():
            if array.dtype.kind != "i":
                raise FrameError(f"exact sums are integers; array '{name}' is {array.dtype}")
        return aggregate.total, turn.state

    def personal(self, turn: Turn) -> Parameters:
        """The shared state."""
        return turn.start
