"""SCAFFOLD: every gradient is corrected by c - c_i, the difference of the shared and the own control variate.

Step -lr (g - c_i + c); then c_i' = c_i - c + (x - y_i)/(t lr) and c + sum n_i (c_i' - c_i)/N_all, where N_all counts
all joined sites: of those that did not contribute the number of patients is unknown, so they are taken to be of mean
size, and the mean over contributors is multiplied by contributors / joined. Needs plain SGD at a constant rate.

c is shared state and travels with the merge; c_i is the site's memory, committed only when a merge lists the site. What
is sent and what is remembered are the same rounded change, so that c stays the mean of the c_i.
Source: Karimireddy et al. 2020, SCAFFOLD: Stochastic Controlled Averaging for Federated Learning, option II.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import ClassVar, Literal

import numpy as np

from cohortium.core.parameters import Parameters
from cohortium.core.update import Aggregate, Fitted, Instructions, Turn, Update
from cohortium.errors import TrainingFailed
from cohortium.strategies.local_training import (
    Weights,
    as_floats,
    ask,
    check_options,
    check_positive,
    difference,
    mean_difference,
    moved,
    weight_of,
)

__all__ = ["Scaffold"]


@dataclass(frozen=True, kw_only=True)
class Scaffold:
    """Weighted mean of corrected changes; the payload is twice the model. rate: of the merge's step."""

    rate: float = 1.0
    local_epochs: int = 1
    sync_every: int | None = None
    weights: Weights = "samples"

    sums: ClassVar[bool] = True
    learns_by: ClassVar[Literal["weights"]] = "weights"
    plain_sgd: ClassVar[bool] = True

    def __post_init__(self) -> None:
        check_options(local_epochs=self.local_epochs, sync_every=self.sync_every, weights=self.weights)
        check_positive("rate", self.rate)

    def init(self, start: Parameters) -> Parameters:
        """c = 0."""
        return Parameters({name: np.zeros(array.shape) for name, array in start.items()})

    def instruct(self, turn: Turn) -> tuple[Instructions, ...]:
        """One training by plain SGD, every gradient corrected by c - c_i."""
        own = _own(turn)
        correction = Parameters({name: np.subtract(c, own[name]) for name, c in turn.state.items()})
        asked = ask(local_epochs=self.local_epochs, sync_every=self.sync_every)
        return (replace(asked, correction=correction, plain_sgd=True),)

    def conclude(self, turn: Turn, fitted: tuple[Fitted, ...]) -> Update:
        """The change of the model and of the own control variate, which the site will remember."""
        one = fitted[0]
        if not one.learning_rate > 0 or one.steps < 1:
            raise TrainingFailed(
                "merge 'scaffold' needs plain SGD at a constant rate and at least one step", code="rate"
            )
        change, own, c = difference(turn, one), as_floats(_own(turn)), as_floats(turn.state)
        per_rate = 1.0 / (one.steps * one.learning_rate)
        sent = {
            name: (-np.asarray(moved_by, dtype=np.float64) * per_rate - c[name]).astype(moved_by.dtype)
            for name, moved_by in change.items()
        }
        return Update(
            site=turn.site,
            parameters=change | Parameters(sent).prefixed("control"),
            weight=weight_of(turn, one, self.weights),
            memory=Parameters({name: np.add(own[name], sent[name], dtype=np.float64) for name in sent}),
        )

    def merge(self, turn: Turn, aggregate: Aggregate) -> tuple[Parameters, Parameters]:
        """The mean change, and c moved by its contributors' share of all joined sites."""
        c_old = as_floats(turn.state)
        share = len(aggregate.contributors) / max(len(turn.sites), len(aggregate.contributors))
        control = as_floats(aggregate.total.under("control"))
        c = {name: old + np.divide(control[name], float(aggregate.weight)) * share for name, old in c_old.items()}
        step = {name: self.rate * change for name, change in mean_difference(turn, aggregate).items()}
        return moved(turn.start, step), Parameters(c)

    def personal(self, turn: Turn) -> Parameters:
        """The shared model."""
        return turn.start


def _own(turn: Turn) -> Parameters:
    """c_i: what the site remembers, zero before its first merge."""
    return turn.memory if len(turn.memory) else Parameters({n: np.zeros(a.shape) for n, a in turn.state.items()})
