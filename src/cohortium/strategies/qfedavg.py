"""q-FedAvg: badly served sites count more. x + sum F_i^q D_i/lr over sum (q F_i^(q-1) |D_i/lr|^2 + F_i^q/lr).

F_i is the mean loss of the round's start on the site's training rows; q = 0 is the plain mean. 1/lr stands for the
Lipschitz constant of the gradients, as in the source; hence plain SGD. The powers are computed at the sites, which
send both sums' terms with weight 1, so the rule works on sums.
Source: Li et al. 2020, Fair Resource Allocation in Federated Learning, algorithm 2.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import ClassVar, Literal

import numpy as np

from cohortium.core.exact import dot
from cohortium.core.parameters import Parameters
from cohortium.core.update import Aggregate, Fitted, Instructions, Turn, Update
from cohortium.errors import TrainingFailed
from cohortium.strategies.local_training import ask, check_options, difference, moved

__all__ = ["QFedAvg"]


@dataclass(frozen=True, kw_only=True)
class QFedAvg:
    """Changes weighted by the q-th power of the loss they start from. q: 0 is the mean, larger is fairer."""

    q: float = 0.1
    local_epochs: int = 1
    sync_every: int | None = None

    sums: ClassVar[bool] = True
    learns_by: ClassVar[Literal["weights"]] = "weights"
    plain_sgd: ClassVar[bool] = True

    def __post_init__(self) -> None:
        check_options(local_epochs=self.local_epochs, sync_every=self.sync_every)
        if not 0 <= self.q < float("inf"):
            raise ValueError(f"q must be at least 0 and finite, got {self.q}")

    def init(self, start: Parameters) -> Parameters:
        """No shared state."""
        return Parameters()

    def instruct(self, turn: Turn) -> tuple[Instructions, ...]:
        """One training by plain SGD."""
        return (replace(ask(local_epochs=self.local_epochs, sync_every=self.sync_every), plain_sgd=True),)

    def conclude(self, turn: Turn, fitted: tuple[Fitted, ...]) -> Update:
        """F^q D/lr, and h = q F^(q-1) |D/lr|^2 + F^q/lr beside it."""
        one = fitted[0]
        if not one.learning_rate > 0:
            raise TrainingFailed("merge 'qfedavg' needs plain SGD at a constant rate", code="rate")
        if not one.loss >= 0:
            raise TrainingFailed("merge 'qfedavg' needs a loss that is not negative", code="loss")
        loss, steepness = max(one.loss, _LEAST_LOSS), 1.0 / one.learning_rate
        change = difference(turn, one)
        vector = change.vector()
        scaled = change.map(lambda array: np.multiply(array, loss**self.q * steepness).astype(array.dtype))
        h = self.q * loss ** (self.q - 1) * dot(vector, vector) * steepness**2 + loss**self.q * steepness
        return Update(site=turn.site, parameters=scaled | Parameters({"extra/h": np.float64(h)}), weight=1)

    def merge(self, turn: Turn, aggregate: Aggregate) -> tuple[Parameters, Parameters]:
        """One sum divided by the other."""
        h = aggregate.total["extra/h"]
        return moved(turn.start, {name: np.divide(aggregate.total[name], h) for name in turn.start}), turn.state

    def personal(self, turn: Turn) -> Parameters:
        """The shared model."""
        return turn.start


_LEAST_LOSS = 1e-10  # a loss of exactly 0 would give F^(q-1) no value
