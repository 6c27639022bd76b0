"""`mlp`: a multilayer perceptron for tables, trained locally and merged by weights."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import ClassVar, Literal

import numpy as np
from numpy.typing import NDArray

from cohortium.core.examples import Examples, Layout
from cohortium.core.parameters import Parameters
from cohortium.core.update import Fitted, Instructions
from cohortium.models.optimisers import OptimiserPlan
from cohortium.models.patient_gradients import PerceptronGradients
from cohortium.models.perceptron import Shape, fit_perceptron, initial_weights, predict
from cohortium.models.private_training import fit_each, fit_privately
from cohortium.models.stacked import fit_stacked
from cohortium.models.torch_training import check_batch, check_outcome, n_outputs, no_sums, refuse_adaptive

__all__ = ["MLP"]

_NAME = "mlp"


@dataclass(frozen=True, kw_only=True)
class MLP:
    """ReLU layers for outcomes `binary`, `classes` and `number`.

    layers: widths of the hidden layers. dropout: after each of them. l2: lambda of lambda/2 |w|^2 on all weights.
    optimiser: `sgd`, `momentum` or `adam` (a learning_rate of 0.001 suits it). How many passes a round takes is the
    strategy's `local_epochs`.
    """

    layers: tuple[int, ...] = (32, 16)
    dropout: float = 0.0
    batch_size: int = 16
    learning_rate: float = 0.05
    optimiser: str = "sgd"
    momentum: float = 0.9
    l2: float = 0.0

    learns_by: ClassVar[Literal["weights"]] = "weights"

    def __post_init__(self) -> None:
        if any(isinstance(width, bool) or not isinstance(width, int) or width < 1 for width in self.layers):
            raise ValueError(f"layers must be whole numbers of at least 1, got {list(self.layers)}")
        if not 0 <= self.dropout < 1:
            raise ValueError(f"dropout must be at least 0 and below 1, got {self.dropout}")
        if not 0 <= self.l2 < float("inf"):
            raise ValueError(f"l2 must be at least 0 and finite, got {self.l2}")
        check_batch(self.batch_size)
        _ = self.plan

    @cached_property
    def plan(self) -> OptimiserPlan:
        """The optimiser."""
        return OptimiserPlan(name=self.optimiser, learning_rate=self.learning_rate, momentum=self.momentum)

    def shape(self, layout: Layout) -> Shape:
        """The network for this layout."""
        check_outcome(_NAME, layout, "binary", "classes", "number")
        return Shape(
            sizes=(layout.n_features, *self.layers, n_outputs(layout)),
            outcome=layout.outcome,
            dropout=(self.dropout,) * len(self.layers),
            decay=(self.l2,) * (len(self.layers) + 1),
        )

    def initial(self, layout: Layout, *, rng: np.random.Generator) -> Parameters:
        """Uniform within 1/sqrt(inputs)."""
        return initial_weights(self.shape(layout), rng)

    def fit(
        self, start: Parameters, examples: Examples, *, instructions: Instructions, rng: np.random.Generator
    ) -> Fitted:
        """One local training."""
        refuse_adaptive(_NAME, self.plan, instructions)
        if instructions.private is not None:
            gradients = self.patient_gradients(examples.layout)
            return fit_privately(gradients, start, examples, instructions=instructions, rng=rng)
        shape = self.shape(examples.layout)
        return fit_perceptron(
            shape, start, examples, instructions=instructions, plan=self.plan, batch_size=self.batch_size, rng=rng
        )

    def fit_many(
        self,
        starts: Sequence[Parameters],
        examples: Sequence[Examples],
        *,
        instructions: Sequence[Instructions],
        rngs: Sequence[np.random.Generator],
    ) -> list[Fitted]:
        """The trainings of many sites at once; the same as `fit` for each within rounding."""
        for one in instructions:
            refuse_adaptive(_NAME, self.plan, one)
        if any(one.private is not None for one in instructions):
            return fit_each(self.fit, starts, examples, instructions=instructions, rngs=rngs)
        shape, batch_sizes = self.shape(examples[0].layout), [self.batch_size] * len(examples)
        return fit_stacked(
            shape, starts, examples, instructions=instructions, plan=self.plan, batch_sizes=batch_sizes, rngs=rngs
        )

    def patient_gradients(self, layout: Layout) -> PerceptronGradients:
        """Clipped gradients by ghost clipping."""
        return PerceptronGradients(shape=self.shape(layout), plan=self.plan)

    def advance(self, start: Parameters, total: Parameters) -> Parameters:
        """Not by sums."""
        raise no_sums(_NAME)

    def finished(self, parameters: Parameters) -> bool:
        """Never: the strategy's rounds decide."""
        return False

    def predict(self, parameters: Parameters, examples: Examples) -> NDArray[np.float64]:
        """P(1), (n,); class probabilities, (n, k); or means, (n,)."""
        return predict(self.shape(examples.layout), parameters, examples)

    def parts(self, parameters: Parameters) -> Mapping[str, tuple[str, ...]]:
        """The last layer is the head."""
        last = len(self.layers)
        return {"head": (f"layers.{last}.weight", f"layers.{last}.bias")}
