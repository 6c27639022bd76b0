"""`mlp-nature`: the deep network of the Swarm Learning paper, for tables with a binary outcome.

Linear(p, 256) ReLU, dropout 0.4; eight ReLU layers 1024 512 512 256 256 128 128 64, each with dropout 0.3 and
0.005 sum w^2 on its weights (a coupled decay of 0.01 in Adam, not AdamW, no biases, not the first or last layer);
Linear(64, 1) sigmoid: 256 p + 1,305,729 parameters. Glorot uniform, zero biases, Adam 0.001 with epsilon 1e-7 (the
framework's defaults, unverified). Published: 100 epochs, batch 512 in the notebook; here the power of two nearest to
n/16 within 8 to 128 unless the study names one. Early stopping (training loss, patience 25, best kept) is the study's
`[strategy] stop`: the loss told is that of the round's start, so that all sites stop alike.

Source: Warnat-Herresthal et al. 2021, Swarm Learning for decentralized and confidential clinical machine learning.
"""

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
from cohortium.models.perceptron import Shape, fit_perceptron, glorot_uniform, initial_weights, predict
from cohortium.models.private_training import fit_each, fit_privately
from cohortium.models.stacked import fit_stacked
from cohortium.models.torch_training import check_batch, check_outcome, no_sums, refuse_adaptive

__all__ = ["MLPNature", "batch_for"]

_NAME = "mlp-nature"
_WIDTHS = (256, 1024, 512, 512, 256, 256, 128, 128, 64)
_DROPOUT = (0.4, *(0.3,) * 8)
_DECAY = (0.0, *(0.01,) * 8, 0.0)


@dataclass(frozen=True, kw_only=True)
class MLPNature:
    """Nine hidden layers, Adam. batch_size: None chooses by the site's training rows."""

    learning_rate: float = 0.001
    batch_size: int | None = None

    learns_by: ClassVar[Literal["weights"]] = "weights"
    optimiser: ClassVar[str] = "adam"

    def __post_init__(self) -> None:
        check_batch(self.batch_size)
        _ = self.plan

    @cached_property
    def plan(self) -> OptimiserPlan:
        """Adam as the published framework has it."""
        return OptimiserPlan(name="adam", learning_rate=self.learning_rate, epsilon=1e-7)

    def shape(self, layout: Layout) -> Shape:
        """The network for this layout."""
        check_outcome(_NAME, layout, "binary")
        return Shape(sizes=(layout.n_features, *_WIDTHS, 1), outcome="binary", dropout=_DROPOUT, decay=_DECAY)

    def initial(self, layout: Layout, *, rng: np.random.Generator) -> Parameters:
        """Glorot uniform, zero biases."""
        return initial_weights(self.shape(layout), rng, bound=glorot_uniform, zero_biases=True)

    def fit(
        self, start: Parameters, examples: Examples, *, instructions: Instructions, rng: np.random.Generator
    ) -> Fitted:
        """One local training."""
        refuse_adaptive(_NAME, self.plan, instructions)
        if instructions.private is not None:
            gradients = self.patient_gradients(examples.layout)
            return fit_privately(gradients, start, examples, instructions=instructions, rng=rng)
        shape, size = self.shape(examples.layout), self._batch(examples)
        return fit_perceptron(
            shape, start, examples, instructions=instructions, plan=self.plan, batch_size=size, rng=rng
        )

    def fit_many(
        self,
        starts: Sequence[Parameters],
        examples: Sequence[Examples],
        *,
        instructions: Sequence[Instructions],
        rngs: Sequence[np.random.Generator],
    ) -> list[Fitted]:
        """The trainings of many sites at once, each with its own batch size."""
        for one in instructions:
            refuse_adaptive(_NAME, self.plan, one)
        if any(one.private is not None for one in instructions):
            return fit_each(self.fit, starts, examples, instructions=instructions, rngs=rngs)
        shape, sizes = self.shape(examples[0].layout), [self._batch(one) for one in examples]
        return fit_stacked(
            shape, starts, examples, instructions=instructions, plan=self.plan, batch_sizes=sizes, rngs=rngs
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
        """P(1), (n,)."""
        return predict(self.shape(examples.layout), parameters, examples)

    def parts(self, parameters: Parameters) -> Mapping[str, tuple[str, ...]]:
        """The last layer is the head."""
        return {"head": (f"layers.{len(_WIDTHS)}.weight", f"layers.{len(_WIDTHS)}.bias")}

    def _batch(self, examples: Examples) -> int:
        return batch_for(len(examples)) if self.batch_size is None else self.batch_size


def batch_for(n: int) -> int:
    """The power of two nearest to n/16 within 8 to 128; the smaller of two equally near."""
    return min((8, 16, 32, 64, 128), key=lambda size: (abs(size - n / 16), size))
