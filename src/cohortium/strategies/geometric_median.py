"""The geometric median of the sites' changes, by sums alone: Weiszfeld passes as extra rounds without training.

A cycle is one round of training and `passes` rounds of re-weighing. After the training the model is the weighted
mean. In each pass a site answers with the very change it remembers, weighed by w_i = n_i / N x r / |D_i - v|, where v
is the present estimate and r the mean length of the changes; weights travel as round(w 2^20), so the merge is an
ordinary weighted mean of sums and works under masks. Scaling all weights by one number changes nothing; the cap at
2^29 means that a distance below r/512 n_i/N counts as that.

Shared state: base (the model the cycle started from), N and r. Memory: the change, its rows and its cycle, committed
only when a merge lists the site. A site that missed the training round trains in the pass it comes back in.
Robust merges name no culprit and punish small and one-class sites; never the default.
Source: Pillutla, Kakade, Harchaoui 2022, Robust Aggregation for Federated Learning; smoothing as there.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import ClassVar, Literal

import numpy as np

from cohortium.core.exact import norm2
from cohortium.core.parameters import Parameters
from cohortium.core.update import MAX_WEIGHT, Aggregate, Fitted, Instructions, Turn, Update
from cohortium.strategies.local_training import (
    Weights,
    ask,
    check_options,
    check_positive,
    difference,
    mean_difference,
    moved,
    weight_of,
)

__all__ = ["GeometricMedian"]

_SCALE = 1 << 20


@dataclass(frozen=True, kw_only=True)
class GeometricMedian:
    """Smoothed geometric median. passes: re-weighing rounds after each training round; nu: least distance counted.

    `rounds` of a study counts all exchanges: 20 trainings with 3 passes need rounds = 80.
    """

    passes: int = 3
    nu: float = 1e-6
    local_epochs: int = 1
    sync_every: int | None = None
    weights: Weights = "samples"

    sums: ClassVar[bool] = True
    learns_by: ClassVar[Literal["weights"]] = "weights"

    def __post_init__(self) -> None:
        check_options(local_epochs=self.local_epochs, sync_every=self.sync_every, weights=self.weights)
        check_positive("nu", self.nu)
        if not 1 <= self.passes <= 10:
            raise ValueError(f"passes must be 1 to 10, got {self.passes}")

    def init(self, start: Parameters) -> Parameters:
        """The base, and neither weight nor length yet."""
        return start.prefixed("base") | Parameters({"weight": np.float64(0), "length": np.float64(0)})

    def instruct(self, turn: Turn) -> tuple[Instructions, ...]:
        """One training from the cycle's base; no step while this site remembers the cycle's change."""
        asked = ask(local_epochs=self.local_epochs, sync_every=self.sync_every)
        return (replace(asked, max_steps=0),) if self._remembers(turn) else (replace(asked, start=self._base(turn)),)

    def conclude(self, turn: Turn, fitted: tuple[Fitted, ...]) -> Update:
        """The cycle's change: just made, or remembered; in a pass, weighed by its distance."""
        base = replace(turn, start=self._base(turn))
        if self._remembers(turn):
            change, own = turn.memory.under("change"), int(turn.memory["weight"])
        else:
            change, own = difference(base, fitted[0]), weight_of(turn, fitted[0], self.weights)
        weight = own if self._trains(turn) else self._weigh(turn, change, own)
        cycle = turn.round // (self.passes + 1)
        memory = change.prefixed("change") | Parameters({"weight": np.int64(own), "cycle": np.int64(cycle)})
        length = Parameters({"extra/length": np.float64(norm2(change.vector()))})
        return Update(site=turn.site, parameters=change | length, weight=weight, memory=memory)

    def merge(self, turn: Turn, aggregate: Aggregate) -> tuple[Parameters, Parameters]:
        """base + weighted mean of the changes; after a training round, base, N and r are new."""
        base = self._base(turn)
        model = moved(base, mean_difference(turn, aggregate))
        if not self._trains(turn):
            return model, turn.state
        length = np.divide(aggregate.total["extra/length"], float(aggregate.weight))
        state = base.prefixed("base") | Parameters({"weight": np.float64(aggregate.weight), "length": length})
        return model, state

    def personal(self, turn: Turn) -> Parameters:
        """The shared model."""
        return turn.start

    def _trains(self, turn: Turn) -> bool:
        return turn.round % (self.passes + 1) == 0

    def _base(self, turn: Turn) -> Parameters:
        """What the cycle's training starts from: the round's model at its first round, else what the state keeps."""
        return turn.start if self._trains(turn) else turn.state.under("base")

    def _remembers(self, turn: Turn) -> bool:
        cycle = turn.round // (self.passes + 1)
        return not self._trains(turn) and "cycle" in turn.memory and int(turn.memory["cycle"]) == cycle

    def _weigh(self, turn: Turn, change: Parameters, own: int) -> int:
        """round(w 2^20), at least 1 and at most 2^29."""
        estimate = turn.start.vector() - self._base(turn).vector()
        distance = max(norm2(change.vector() - estimate), self.nu)
        length = max(float(turn.state["length"]), self.nu)
        share = own / max(float(turn.state["weight"]), float(own))
        return int(min(max(round(share * length / distance * _SCALE), 1), MAX_WEIGHT))
