"""Clipped gradient sums of patients, by model: what private training asks of a learner.

A learner that can train privately has `patient_gradients(layout)`; `private_training` does the rest. Weights come as
named numpy arrays, which torch reads without a copy; the sums go back the same way. Linear predictors are here, in
numpy; networks of Linear layers too, by ghost clipping; models of another form bring their own.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, ClassVar, Protocol, runtime_checkable

import numpy as np
from numpy.typing import NDArray

from cohortium.core.examples import Examples, Layout
from cohortium.models.descent import Descent, slope_residual
from cohortium.models.families import one_hot, outcome_of
from cohortium.models.optimisers import OptimiserPlan
from cohortium.models.perceptron import Shape, dropout_mask
from cohortium.models.row_sums import refuse_unusable
from cohortium.models.torch_training import one_thread, row_losses, rows_of
from cohortium.privacy.dp.clipping import Clipped, clip_linear, clip_rows

if TYPE_CHECKING:
    from torch import Tensor

__all__ = ["LinearGradients", "PatientGradients", "PerceptronGradients", "PrivateLearner", "nothing", "shared_tensors"]

Weights = Mapping[str, NDArray[np.generic]]


class PatientGradients(Protocol):
    """plan: how a step is taken. decay: by name, lambda of lambda/2 |w|^2, added after the noise.

    reads: dtype of features it works with, so that they are converted once.
    """

    @property
    def reads(self) -> str: ...

    @property
    def plan(self) -> OptimiserPlan: ...

    @property
    def decay(self) -> Mapping[str, float]: ...

    def clipped(self, weights: Weights, rows: Examples, *, norm: float, chance: np.random.Generator) -> Clipped:
        """Sums over these rows, each a patient of its own. chance: for dropout and augmentation, never for noise."""
        ...


@runtime_checkable
class PrivateLearner(Protocol):
    """A learner that can train so that no patient shows."""

    def patient_gradients(self, layout: Layout) -> PatientGradients:
        """Raises StudyError where the layout or an option rules it out."""
        ...


@dataclass(frozen=True, kw_only=True)
class LinearGradients:
    """Of generalised linear models: residual times row, in float64."""

    descent: Descent
    reads: ClassVar[str] = "float64"

    @property
    def plan(self) -> OptimiserPlan:
        """Plain SGD."""
        return OptimiserPlan(name="sgd", learning_rate=self.descent.learning_rate)

    @property
    def decay(self) -> Mapping[str, float]:
        """On the coefficients, not the intercept."""
        return {"coefficients": self.descent.l2} if self.descent.l2 else {}

    def clipped(self, weights: Weights, rows: Examples, *, norm: float, chance: np.random.Generator) -> Clipped:
        """As `PatientGradients`."""
        refuse_unusable(rows)
        coefficients = np.asarray(weights["coefficients"], dtype=np.float64)
        table = coefficients[:, None] if coefficients.ndim == 1 else coefficients.T
        x = np.concatenate([np.ones((len(rows), 1)), rows.x], axis=1)
        y = outcome_of(rows)
        wide = one_hot(y, table.shape[1]) if table.shape[1] > 1 else y[:, None]
        eta = x @ np.concatenate([np.asarray(weights["intercept"], dtype=np.float64)[None, :], table])
        total, n_whole = clip_rows(x, slope_residual(self.descent.outcome, eta, wide), norm=norm)
        slopes = total[1:, 0] if coefficients.ndim == 1 else total[1:].T
        return Clipped(sums={"coefficients": slopes, "intercept": total[0]}, n_whole=n_whole)


@dataclass(frozen=True, kw_only=True)
class PerceptronGradients:
    """Of multilayer perceptrons: one backward pass for all patients of a step."""

    shape: Shape
    plan: OptimiserPlan
    reads: ClassVar[str] = "float32"

    @property
    def decay(self) -> Mapping[str, float]:
        """Of the weights that have one."""
        return self.shape.decay_by_name

    def clipped(self, weights: Weights, rows: Examples, *, norm: float, chance: np.random.Generator) -> Clipped:
        """As `PatientGradients`."""
        if not len(rows):
            return nothing(weights)
        import torch

        held, known = shared_tensors(weights), rows_of(rows)
        with one_thread():
            inputs, outputs = self._forward([held[name] for name in self.shape.names], known.x, chance)
            loss = row_losses(self.shape.outcome, outputs[-1], known.y).sum()
            sums, n_whole = clip_linear(inputs, torch.autograd.grad(loss, outputs), norm=norm)
        flat = [one for pair in sums for one in pair]
        return Clipped(sums={n: s.numpy() for n, s in zip(self.shape.names, flat, strict=True)}, n_whole=n_whole)

    def _forward(
        self, layers: list[Tensor], x: Tensor, chance: np.random.Generator
    ) -> tuple[list[Tensor], list[Tensor]]:
        """Inputs and outputs of every layer; weights need no gradient, so none is built for them."""
        import torch

        inputs, outputs = [x.reshape(len(x), -1)], []
        for at in range(self.shape.n_layers):
            z = torch.addmm(layers[2 * at + 1], inputs[at], layers[2 * at].t())
            outputs.append(z if z.requires_grad else z.requires_grad_())
            if at == self.shape.n_layers - 1:
                break
            a = torch.relu(z)
            if rate := self.shape.dropout[at]:
                a = a * torch.from_numpy(dropout_mask(chance, len(a), a.shape[1], rate))
            inputs.append(a)
        return [a.detach() for a in inputs], outputs


def shared_tensors(weights: Weights) -> dict[str, Tensor]:
    """Torch's view of the same memory."""
    import torch

    return {name: torch.from_numpy(array) for name, array in weights.items()}


def nothing(weights: Weights) -> Clipped:
    """The sums over nobody."""
    sums: dict[str, NDArray[Any]] = {name: np.zeros(array.shape, dtype=array.dtype) for name, array in weights.items()}
    return Clipped(sums=sums, n_whole=0)
