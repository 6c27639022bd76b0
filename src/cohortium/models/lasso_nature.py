"""`lasso-nature`: one linear unit with batch normalisation behind it, as the Swarm Learning paper's LASSO.

Squared error + l1 |w|_1, SGD at 0.01; published: l1 = 0.01, 100 epochs, batch 64 / 128 / 32 for data sets A1 / A2 /
A3, stop at min_delta 0.01 with patience 20 (the study's `[strategy] stop`), threshold 0.5. For replays; `lasso` finds
the exact solution of the convex problem and is what to use.

Batch normalisation as the published framework has it: momentum 0.99, epsilon 0.001. Sites share the running mean and
the running second moment v + m^2, in float64: averaged by patients these are the moments of all batches together, so
the merged variance holds the spread between sites too.

Source: Warnat-Herresthal et al. 2021, Swarm Learning for decentralized and confidential clinical machine learning.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from functools import cached_property
from typing import TYPE_CHECKING, ClassVar, Literal

import numpy as np
from numpy.typing import NDArray

from cohortium.core.examples import Examples, Layout
from cohortium.core.parameters import Parameters
from cohortium.core.update import Fitted, Instructions
from cohortium.models.optimisers import OptimiserPlan
from cohortium.models.perceptron import glorot_uniform
from cohortium.models.torch_training import (
    check_batch,
    check_outcome,
    fitted,
    no_sums,
    require_torch,
    rows_of,
    tensor,
    train,
)

if TYPE_CHECKING:
    from torch import Tensor

__all__ = ["LassoNature"]

_NAME = "lasso-nature"
_MOMENTUM = 0.99
_EPSILON = 1e-3
_WEIGHTS = ("weight", "bias", "norm.gamma", "norm.beta")
_MOMENTS = ("norm.mean", "norm.second_moment")


@dataclass(frozen=True, kw_only=True)
class LassoNature:
    """Linear unit, batch normalisation, L1 penalty, plain SGD; binary outcomes."""

    l1: float = 0.01
    learning_rate: float = 0.01
    batch_size: int = 64

    learns_by: ClassVar[Literal["weights"]] = "weights"
    optimiser: ClassVar[str] = "sgd"

    def __post_init__(self) -> None:
        if not 0 <= self.l1 < float("inf"):
            raise ValueError(f"l1 must be at least 0 and finite, got {self.l1}")
        check_batch(self.batch_size)
        _ = self.plan

    @cached_property
    def plan(self) -> OptimiserPlan:
        """Plain SGD."""
        return OptimiserPlan(name="sgd", learning_rate=self.learning_rate)

    def initial(self, layout: Layout, *, rng: np.random.Generator) -> Parameters:
        """Glorot uniform, zero bias; the normalisation does nothing yet."""
        check_outcome(_NAME, layout, "binary")
        b = glorot_uniform(layout.n_features, 1)
        return Parameters(
            {
                "weight": rng.uniform(-b, b, size=(1, layout.n_features)).astype(np.float32),
                "bias": np.zeros(1, np.float32),
                "norm.gamma": np.ones(1, np.float32),
                "norm.beta": np.zeros(1, np.float32),
                "norm.mean": np.zeros(1),
                "norm.second_moment": np.ones(1),
            }
        )

    def fit(
        self, start: Parameters, examples: Examples, *, instructions: Instructions, rng: np.random.Generator
    ) -> Fitted:
        """One local training."""
        check_outcome(_NAME, examples.layout, "binary")
        require_torch()
        rows = rows_of(examples)
        network = _NormalisedUnit(start, l1=self.l1)
        steps, loss = train(
            network,
            rows,
            start=start,
            instructions=instructions,
            plan=self.plan,
            batch_size=self.batch_size,
            rng=rng,
        )
        return fitted(network.export(), rows, self.plan, instructions, steps=steps, loss=loss)

    def advance(self, start: Parameters, total: Parameters) -> Parameters:
        """Not by sums."""
        raise no_sums(_NAME)

    def finished(self, parameters: Parameters) -> bool:
        """Never: the strategy's rounds decide."""
        return False

    def predict(self, parameters: Parameters, examples: Examples) -> NDArray[np.float64]:
        """The unit's output held within 0 and 1, (n,): a score with threshold 0.5, no calibrated probability."""
        z = np.asarray(examples.x, dtype=np.float64).reshape(len(examples), -1)
        z = z @ parameters["weight"][0].astype(np.float64) + float(parameters["bias"][0])
        mean, second = float(parameters["norm.mean"][0]), float(parameters["norm.second_moment"][0])
        scale = float(parameters["norm.gamma"][0]) / np.sqrt(max(second - mean**2, 0.0) + _EPSILON)
        return np.asarray(np.clip((z - mean) * scale + float(parameters["norm.beta"][0]), 0.0, 1.0))

    def parts(self, parameters: Parameters) -> Mapping[str, tuple[str, ...]]:
        """Normalisation, and the unit as head."""
        return {"norm": ("norm.gamma", "norm.beta", *_MOMENTS), "head": ("weight", "bias")}


class _NormalisedUnit:
    """The unit being trained (see `Network`); running moments move with every training batch."""

    def __init__(self, parameters: Parameters, *, l1: float) -> None:
        self._l1 = l1
        self.trainable: Mapping[str, Tensor] = {n: tensor(parameters[n]).requires_grad_() for n in _WEIGHTS}
        self.decay: Mapping[str, float] = {}
        self._mean = float(parameters["norm.mean"][0])
        self._variance = max(float(parameters["norm.second_moment"][0]) - self._mean**2, 0.0)

    def loss(self, x: Tensor, y: Tensor, noise: np.random.Generator | None) -> Tensor:
        """Mean squared error and the L1 penalty."""
        import torch

        weight, bias, gamma, beta = (self.trainable[name] for name in _WEIGHTS)
        z = torch.addmm(bias, x.reshape(len(x), -1), weight.t())[:, 0]
        if noise is None:
            held = (z - self._mean) / (self._variance + _EPSILON) ** 0.5
        else:
            mean = z.mean()
            variance = ((z - mean) ** 2).mean()
            held = (z - mean) / torch.sqrt(variance + _EPSILON)
            self._mean += (1 - _MOMENTUM) * (float(mean.detach()) - self._mean)
            self._variance += (1 - _MOMENTUM) * (float(variance.detach()) - self._variance)
        loss: Tensor = ((gamma * held + beta - y) ** 2).mean() + self._l1 * weight.abs().sum()
        return loss

    def export(self) -> Parameters:
        """Weights and moments as they are now."""
        weights = {name: held.detach().numpy() for name, held in self.trainable.items()}
        second = self._variance + self._mean**2
        return Parameters({**weights, "norm.mean": np.array([self._mean]), "norm.second_moment": np.array([second])})
