"""Yogi at the merge: as FedAdam, but v moves by a fixed share of D^2: v - .01 D^2 sign(v - D^2).

v forgets large changes more slowly than in FedAdam.

Source: Reddi et al. 2021, Adaptive Federated Optimization, algorithm 2.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar, Literal

import numpy as np

from cohortium.core.parameters import Parameters
from cohortium.core.update import Aggregate, Fitted, Instructions, Turn, Update
from cohortium.strategies.local_training import (
    Weights,
    as_floats,
    ask,
    check_options,
    check_positive,
    check_share,
    difference,
    mean_difference,
    moved,
    weight_of,
)

__all__ = ["FedYogi"]


@dataclass(frozen=True, kw_only=True)
class FedYogi:
    """An adaptive step on the mean change; its two moments are shared state.

    rate: of the step. beta_1, beta_2: memory of the moments. tau: added to sqrt v. v_start: v before round 0.
    """

    rate: float = 0.02
    beta_1: float = 0.9
    beta_2: float = 0.99
    tau: float = 1e-3
    v_start: float = 1e-6
    local_epochs: int = 1
    sync_every: int | None = None
    weights: Weights = "samples"

    sums: ClassVar[bool] = True
    learns_by: ClassVar[Literal["weights"]] = "weights"

    def __post_init__(self) -> None:
        check_options(local_epochs=self.local_epochs, sync_every=self.sync_every, weights=self.weights)
        check_share("beta_1", self.beta_1)
        check_share("beta_2", self.beta_2)
        for name in ("rate", "tau", "v_start"):
            check_positive(name, getattr(self, name))

    def init(self, start: Parameters) -> Parameters:
        """m = 0, v = v_start."""
        m = {f"m/{name}": np.zeros(array.shape) for name, array in start.items()}
        return Parameters({**m, **{f"v/{name}": np.full(array.shape, self.v_start) for name, array in start.items()}})

    def instruct(self, turn: Turn) -> tuple[Instructions, ...]:
        """One ordinary training."""
        return (ask(local_epochs=self.local_epochs, sync_every=self.sync_every),)

    def conclude(self, turn: Turn, fitted: tuple[Fitted, ...]) -> Update:
        """What the training changed, weighted."""
        weight = weight_of(turn, fitted[0], self.weights)
        return Update(site=turn.site, parameters=difference(turn, fitted[0]), weight=weight)

    def merge(self, turn: Turn, aggregate: Aggregate) -> tuple[Parameters, Parameters]:
        """New moments, and the model moved by rate m / (sqrt v + tau)."""
        m_old, v_old = as_floats(turn.state.under("m")), as_floats(turn.state.under("v"))
        m, v, step = dict(m_old), dict(v_old), {}
        for name, change in mean_difference(turn, aggregate).items():
            square = change * change
            m[name] = self.beta_1 * m_old[name] + (1 - self.beta_1) * change
            v[name] = v_old[name] - (1 - self.beta_2) * square * np.sign(v_old[name] - square)
            step[name] = self.rate * m[name] / (np.sqrt(v[name]) + self.tau)
        state = turn.state | Parameters(m).prefixed("m") | Parameters(v).prefixed("v")
        return moved(turn.start, step), state

    def personal(self, turn: Turn) -> Parameters:
        """The shared model."""
        return turn.start
