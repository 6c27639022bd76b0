"""Clipped gradients of a user's torch module: `ChainGradients` for plain rows of Linear layers, `ModuleGradients` else.

A chain is known layer by layer, so no patient meets another and one backward pass serves all. Any other module is asked
for one patient at a time (`torch.func.vmap`): whatever its forward pass does, it sees a batch of one. Its buffers
stay as the factory made them; dropout draws from a stream of its own for each patient.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, ClassVar

import numpy as np
from numpy.typing import NDArray

from cohortium.core.examples import Examples
from cohortium.models.optimisers import OptimiserPlan
from cohortium.models.patient_gradients import nothing, shared_tensors
from cohortium.models.torch_training import one_thread, row_losses, rows_of
from cohortium.privacy.dp.clipping import Clipped, clip_each, clip_linear

if TYPE_CHECKING:
    import torch
    from torch import Tensor

__all__ = ["ChainGradients", "ModuleGradients"]

Weights = Mapping[str, NDArray[np.generic]]


@dataclass(frozen=True, kw_only=True)
class ChainGradients:
    """Of a Sequential of Linear layers and activations (see `PatientGradients`)."""

    built: torch.nn.Module
    plan: OptimiserPlan
    outcome: str
    decay: Mapping[str, float] = field(default_factory=dict)
    reads: ClassVar[str] = "float32"

    def clipped(self, weights: Weights, rows: Examples, *, norm: float, chance: np.random.Generator) -> Clipped:
        """As `PatientGradients`."""
        if not len(rows):
            return nothing(weights)
        import torch

        held, known = shared_tensors(weights), rows_of(rows)
        with one_thread(), _seeded(chance):
            inputs, outputs, last = self._forward(held, known.x)
            loss = row_losses(self.outcome, last.reshape(len(known), -1).float(), known.y).sum()
            pairs, n_whole = clip_linear(inputs, torch.autograd.grad(loss, outputs), norm=norm)
        sums: dict[str, Any] = {}
        for name, (weight, bias) in zip(self._linear(), pairs, strict=True):
            sums |= {f"{name}.weight": weight.numpy(), f"{name}.bias": bias.numpy()}
        return Clipped(sums={name: sums[name] for name in weights}, n_whole=n_whole)

    def _linear(self) -> list[str]:
        return [name for name, layer in self.built.named_modules() if type(layer).__name__ == "Linear"]

    def _forward(self, held: Mapping[str, Tensor], x: Tensor) -> tuple[list[Tensor], list[Tensor], Tensor]:
        """Inputs and outputs of the Linear layers in training mode, and the network's output."""
        from torch.nn import functional

        self.built.train()
        inputs, outputs = [], []
        for name, layer in self.built.named_modules():
            kind = type(layer).__name__
            if kind == "Sequential":
                continue
            if kind != "Linear":
                x = layer(x)
                continue
            inputs.append(x.detach())
            x = functional.linear(x, held[f"{name}.weight"], held[f"{name}.bias"])
            outputs.append(x if x.requires_grad else x.requires_grad_())
        return inputs, outputs, x


@dataclass(frozen=True, kw_only=True)
class ModuleGradients:
    """Of any module, one patient at a time (see `PatientGradients`). loss: of (outputs, outcomes), the batch's mean."""

    built: torch.nn.Module
    plan: OptimiserPlan
    loss: Callable[[Tensor, Tensor], Tensor]
    decay: Mapping[str, float] = field(default_factory=dict)
    reads: ClassVar[str] = "float32"

    def clipped(self, weights: Weights, rows: Examples, *, norm: float, chance: np.random.Generator) -> Clipped:
        """As `PatientGradients`."""
        if not len(rows):
            return nothing(weights)
        from torch.func import functional_call

        known = rows_of(rows)
        self.built.train()

        def loss(held: Mapping[str, Tensor], x: Tensor, y: Tensor) -> Tensor:
            return self.loss(functional_call(self.built, dict(held), (x[None],)), y[None])

        with one_thread(), _seeded(chance):
            sums, n_whole = clip_each(loss, shared_tensors(weights), (known.x, known.y), norm=norm)
        return Clipped(sums={name: total.numpy() for name, total in sums.items()}, n_whole=n_whole)


@contextmanager
def _seeded(chance: np.random.Generator) -> Iterator[None]:
    """Torch's own stream from the training's, for dropout; as it was before, afterwards."""
    import torch

    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(int(chance.integers(0, 2**62)))
        yield
