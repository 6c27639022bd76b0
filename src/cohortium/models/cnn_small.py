"""`cnn-small`: a small convolutional network for images such as chest X-rays of 28 x 28 pixels.

Three blocks of 3x3 convolution (16, 32, 64 channels), group normalisation (4 groups), ReLU and 2x2 max-pooling; global
average; dropout 0.2; one logit, or one for each class: 23,585 parameters with one channel and one logit. Group
normalisation knows no running statistics, so averaging its weights is sound. Training images are shifted and turned
a little, never flipped: the heart is on the left.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from functools import cached_property
from math import pi, prod, sqrt
from typing import TYPE_CHECKING, ClassVar, Literal

import numpy as np
from numpy.typing import NDArray

from cohortium.core.examples import Examples, Layout
from cohortium.core.parameters import Parameters
from cohortium.core.update import Fitted, Instructions
from cohortium.errors import Problem, StudyError
from cohortium.models.optimisers import OptimiserPlan
from cohortium.models.patient_gradients import PatientGradients, nothing, shared_tensors
from cohortium.models.perceptron import dropout_mask
from cohortium.models.private_training import fit_privately
from cohortium.models.torch_training import (
    check_batch,
    check_outcome,
    fitted,
    in_pieces,
    n_outputs,
    no_sums,
    one_thread,
    predictions,
    refuse_adaptive,
    require_torch,
    row_losses,
    rows_of,
    tensor,
    train,
)
from cohortium.privacy.dp.clipping import Clipped, clip_each

if TYPE_CHECKING:
    from torch import Tensor

__all__ = ["CNNSmall"]

_NAME = "cnn-small"
_CHANNELS = (16, 32, 64)
_GROUPS = 4
_DROPOUT = 0.2
_NORM = ("0.norm", "1.norm", "2.norm")
_LEAST_SIDE = 8


@dataclass(frozen=True, kw_only=True)
class CNNSmall:
    """Three convolutional blocks. shift: largest, as share of the side; turn: largest, in degrees; 0 and 0 for none."""

    batch_size: int = 32
    learning_rate: float = 0.001
    optimiser: str = "adam"
    momentum: float = 0.9
    shift: float = 0.07
    turn: float = 10.0

    learns_by: ClassVar[Literal["weights"]] = "weights"

    def __post_init__(self) -> None:
        if not 0 <= self.shift < 0.5:
            raise ValueError(f"shift must be at least 0 and below 0.5 of the side, got {self.shift}")
        if not 0 <= self.turn <= 45:
            raise ValueError(f"turn must be 0 to 45 degrees, got {self.turn}")
        check_batch(self.batch_size)
        _ = self.plan

    @cached_property
    def plan(self) -> OptimiserPlan:
        """The optimiser."""
        return OptimiserPlan(name=self.optimiser, learning_rate=self.learning_rate, momentum=self.momentum)

    def initial(self, layout: Layout, *, rng: np.random.Generator) -> Parameters:
        """Uniform within 1/sqrt(fan-in); normalisation starts as none."""
        _check_image(layout)
        assert layout.image is not None  # noqa: S101 - just checked
        arrays: dict[str, NDArray[np.float32]] = {}
        n_in = layout.image[0]
        for at, n_out in enumerate(_CHANNELS):
            arrays |= _uniform(rng, f"{at}.conv", (n_out, n_in, 3, 3))
            arrays[f"{at}.norm.weight"] = np.ones(n_out, np.float32)
            arrays[f"{at}.norm.bias"] = np.zeros(n_out, np.float32)
            n_in = n_out
        return Parameters(arrays | _uniform(rng, "head", (n_outputs(layout), n_in)))

    def fit(
        self, start: Parameters, examples: Examples, *, instructions: Instructions, rng: np.random.Generator
    ) -> Fitted:
        """One local training."""
        refuse_adaptive(_NAME, self.plan, instructions)
        _check_image(examples.layout)
        if instructions.private is not None:
            gradients = self.patient_gradients(examples.layout)
            return fit_privately(gradients, start, examples, instructions=instructions, rng=rng)
        require_torch()
        rows = rows_of(examples)
        network = _Convolutions(start, examples.layout.outcome, shift=self.shift, turn=self.turn)
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

    def patient_gradients(self, layout: Layout) -> PatientGradients:
        """Clipped gradients, one patient's at a time."""
        _check_image(layout)
        return _ImageGradients(outcome=layout.outcome, plan=self.plan, shift=self.shift, turn=self.turn)

    def advance(self, start: Parameters, total: Parameters) -> Parameters:
        """Not by sums."""
        raise no_sums(_NAME)

    def finished(self, parameters: Parameters) -> bool:
        """Never: the strategy's rounds decide."""
        return False

    def predict(self, parameters: Parameters, examples: Examples) -> NDArray[np.float64]:
        """P(1), (n,), or class probabilities, (n, k)."""
        require_torch()
        network = _Convolutions(parameters, examples.layout.outcome, shift=0.0, turn=0.0)
        return predictions(examples.layout.outcome, in_pieces(network.outputs, examples.x))

    def parts(self, parameters: Parameters) -> Mapping[str, tuple[str, ...]]:
        """Group normalisation, and the last layer."""
        norm = tuple(f"{name}.{part}" for name in _NORM for part in ("weight", "bias"))
        return {"norm": norm, "head": ("head.weight", "head.bias")}


def _check_image(layout: Layout) -> None:
    check_outcome(_NAME, layout, "binary", "classes")
    if layout.image is None:
        raise StudyError([Problem("model.name", f"model '{_NAME}' learns images; for a table choose 'mlp'")])
    if min(layout.image[1:]) < _LEAST_SIDE:
        height, width = layout.image[1:]
        message = (
            f"model '{_NAME}' needs images of at least {_LEAST_SIDE} x {_LEAST_SIDE} pixels, got {height} x {width}"
        )
        raise StudyError([Problem("model.name", message)])


def _uniform(rng: np.random.Generator, name: str, shape: tuple[int, ...]) -> dict[str, NDArray[np.float32]]:
    b = 1.0 / sqrt(prod(shape[1:]))
    return {
        f"{name}.weight": rng.uniform(-b, b, size=shape).astype(np.float32),
        f"{name}.bias": rng.uniform(-b, b, size=shape[0]).astype(np.float32),
    }


class _Convolutions:
    """The network being trained (see `Network`)."""

    def __init__(self, parameters: Parameters, outcome: str, *, shift: float, turn: float) -> None:
        self._outcome, self._shift, self._turn = outcome, shift, turn
        self.trainable: Mapping[str, Tensor] = {n: tensor(a).requires_grad_() for n, a in parameters.items()}
        self.decay: Mapping[str, float] = {}

    def outputs(self, x: Tensor, noise: np.random.Generator | None = None) -> Tensor:
        """Logits, (n, outputs)."""
        return _forward(self.trainable, x, None if noise is None else _mask(noise, len(x)))

    def loss(self, x: Tensor, y: Tensor, noise: np.random.Generator | None) -> Tensor:
        """Mean loss of the batch; images are moved while training."""
        if noise is not None and (self._shift or self._turn):
            x = _moved(x, noise, shift=self._shift, turn=self._turn)
        return row_losses(self._outcome, self.outputs(x, noise), y).mean()

    def export(self) -> Parameters:
        """The weights as they are now."""
        return Parameters({name: held.detach().numpy() for name, held in self.trainable.items()})


def _forward(held: Mapping[str, Tensor], x: Tensor, mask: Tensor | None = None) -> Tensor:
    """Logits, (n, outputs). mask: of the last dropout, (n, channels)."""
    import torch
    from torch.nn import functional

    for at in range(len(_CHANNELS)):
        x = functional.conv2d(x, held[f"{at}.conv.weight"], held[f"{at}.conv.bias"], padding=1)
        x = functional.group_norm(x, _GROUPS, held[f"{at}.norm.weight"], held[f"{at}.norm.bias"])
        x = functional.max_pool2d(torch.relu(x), 2)
    x = x.mean(dim=(2, 3))
    x = x if mask is None else x * mask
    return torch.addmm(held["head.bias"], x, held["head.weight"].t())


def _mask(noise: np.random.Generator, n: int) -> Tensor:
    import torch

    return torch.from_numpy(dropout_mask(noise, n, _CHANNELS[-1], _DROPOUT))


@dataclass(frozen=True, kw_only=True)
class _ImageGradients:
    """Every patient's own gradient by vmap (see `PatientGradients`); images are moved and dropped out one by one."""

    outcome: str
    plan: OptimiserPlan
    shift: float
    turn: float
    decay: Mapping[str, float] = field(default_factory=dict)
    reads: ClassVar[str] = "float32"

    def clipped(
        self, weights: Mapping[str, NDArray[np.generic]], rows: Examples, *, norm: float, chance: np.random.Generator
    ) -> Clipped:
        if not len(rows):
            return nothing(weights)
        known = rows_of(rows)

        def loss(held: Mapping[str, Tensor], x: Tensor, y: Tensor, mask: Tensor) -> Tensor:
            return row_losses(self.outcome, _forward(held, x[None], mask[None]), y[None])[0]

        with one_thread():
            x = _moved(known.x, chance, shift=self.shift, turn=self.turn) if self.shift or self.turn else known.x
            patients = (x, known.y, _mask(chance, len(x)))
            sums, n_whole = clip_each(loss, shared_tensors(weights), patients, norm=norm)
        return Clipped(sums={name: total.numpy() for name, total in sums.items()}, n_whole=n_whole)


def _moved(x: Tensor, noise: np.random.Generator, *, shift: float, turn: float) -> Tensor:
    """Every image shifted and turned by its own draw; what comes in from outside repeats the border."""
    import torch
    from torch.nn import functional

    n = len(x)
    angle = noise.uniform(-turn, turn, n) * pi / 180
    away = noise.uniform(-2 * shift, 2 * shift, (n, 2))  # grid coordinates: the side is 2
    affine = np.zeros((n, 2, 3), dtype=np.float32)
    affine[:, 0, 0] = affine[:, 1, 1] = np.cos(angle)
    affine[:, 0, 1], affine[:, 1, 0] = -np.sin(angle), np.sin(angle)
    affine[:, :, 2] = away
    grid = functional.affine_grid(torch.from_numpy(affine), list(x.shape), align_corners=False)
    return functional.grid_sample(x, grid, padding_mode="border", align_corners=False)
