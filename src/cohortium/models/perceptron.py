"""Multilayer perceptrons: their shape, first weights, and forward pass. `mlp`, `mlp-nature` and `stacked` share it.

Linear layers with ReLU and dropout between them; the last one gives logits or a mean. Arrays are `layers.0.weight`
(outputs, inputs), `layers.0.bias`, ... as torch has them.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from functools import cached_property
from math import sqrt
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray

from cohortium.core.examples import Examples
from cohortium.core.parameters import Parameters
from cohortium.core.update import Fitted, Instructions
from cohortium.models.optimisers import OptimiserPlan
from cohortium.models.torch_training import (
    fitted,
    in_pieces,
    predictions,
    require_torch,
    row_losses,
    rows_of,
    tensor,
    train,
)

if TYPE_CHECKING:
    from torch import Tensor

__all__ = [
    "Perceptron",
    "Shape",
    "dropout_mask",
    "fit_perceptron",
    "glorot_uniform",
    "initial_weights",
    "predict",
    "torch_uniform",
]

Bound = Callable[[int, int], float]


@dataclass(frozen=True, kw_only=True)
class Shape:
    """A perceptron on paper. sizes: inputs, hidden layers, outputs. dropout: after each hidden layer.

    decay: by layer, lambda of lambda/2 |w|^2 on its weights (not its biases).
    """

    sizes: tuple[int, ...]
    outcome: str
    dropout: tuple[float, ...]
    decay: tuple[float, ...]

    @property
    def n_layers(self) -> int:
        """Linear layers."""
        return len(self.sizes) - 1

    @cached_property
    def names(self) -> tuple[str, ...]:
        """Array names in order."""
        return tuple(f"layers.{at}.{part}" for at in range(self.n_layers) for part in ("weight", "bias"))

    @cached_property
    def decay_by_name(self) -> dict[str, float]:
        """Decay of the weights that have one."""
        return {f"layers.{at}.weight": decay for at, decay in enumerate(self.decay) if decay}

    @property
    def n_parameters(self) -> int:
        """Numbers in all arrays."""
        return sum((a + 1) * b for a, b in zip(self.sizes, self.sizes[1:], strict=False))


def torch_uniform(n_in: int, n_out: int) -> float:
    """Bound of torch's own Linear layers, 1/sqrt(inputs)."""
    return 1.0 / sqrt(max(n_in, 1))


def glorot_uniform(n_in: int, n_out: int) -> float:
    """Bound of Glorot and Bengio 2010, sqrt(6/(inputs + outputs))."""
    return sqrt(6.0 / (n_in + n_out))


def initial_weights(
    shape: Shape, rng: np.random.Generator, *, bound: Bound = torch_uniform, zero_biases: bool = False
) -> Parameters:
    """First weights, uniform within the bound of each layer; float32."""
    arrays: dict[str, NDArray[np.float32]] = {}
    for at, (n_in, n_out) in enumerate(zip(shape.sizes, shape.sizes[1:], strict=False)):
        b = bound(n_in, n_out)
        arrays[f"layers.{at}.weight"] = rng.uniform(-b, b, size=(n_out, n_in)).astype(np.float32)
        bias = np.zeros(n_out) if zero_biases else rng.uniform(-b, b, size=n_out)
        arrays[f"layers.{at}.bias"] = bias.astype(np.float32)
    return Parameters(arrays)


class Perceptron:
    """A perceptron being trained (see `Network`)."""

    def __init__(self, shape: Shape, parameters: Parameters) -> None:
        self._shape = shape
        self.trainable: Mapping[str, Tensor] = {n: tensor(parameters[n]).requires_grad_() for n in shape.names}
        self.decay: Mapping[str, float] = shape.decay_by_name

    def outputs(self, x: Tensor, noise: np.random.Generator | None = None) -> Tensor:
        """Logits or means, (n, outputs)."""
        import torch

        a, tensors = x.reshape(len(x), -1), list(self.trainable.values())
        for at in range(self._shape.n_layers):
            a = torch.addmm(tensors[2 * at + 1], a, tensors[2 * at].t())
            if at == self._shape.n_layers - 1:
                break
            a = torch.relu(a)
            rate = self._shape.dropout[at]
            if rate and noise is not None:
                a = a * torch.from_numpy(dropout_mask(noise, len(a), a.shape[1], rate))
        return a

    def loss(self, x: Tensor, y: Tensor, noise: np.random.Generator | None) -> Tensor:
        """Mean loss of the batch, without decay."""
        return row_losses(self._shape.outcome, self.outputs(x, noise), y).mean()

    def export(self) -> Parameters:
        """The weights as they are now."""
        return Parameters({name: held.detach().numpy() for name, held in self.trainable.items()})


def dropout_mask(noise: np.random.Generator, n: int, width: int, rate: float) -> NDArray[np.float32]:
    """0 with probability `rate`, else 1/(1 - rate); shape (n, width)."""
    kept = noise.random((n, width), dtype=np.float32) >= np.float32(rate)
    return kept * np.float32(1 / (1 - rate))


def fit_perceptron(
    shape: Shape,
    start: Parameters,
    examples: Examples,
    *,
    instructions: Instructions,
    plan: OptimiserPlan,
    batch_size: int,
    rng: np.random.Generator,
) -> Fitted:
    """One local training from `start`."""
    require_torch()
    rows = rows_of(examples)
    network = Perceptron(shape, start)
    steps, loss = train(
        network, rows, start=start, instructions=instructions, plan=plan, batch_size=batch_size, rng=rng
    )
    return fitted(network.export(), rows, plan, instructions, steps=steps, loss=loss)


def predict(shape: Shape, parameters: Parameters, examples: Examples) -> NDArray[np.float64]:
    """P(1), class probabilities or means for all rows."""
    require_torch()
    network = Perceptron(shape, parameters)
    return predictions(shape.outcome, in_pieces(network.outputs, examples.x))
