"""Noisy steps of networks that generate patients: clipped gradients of each patient, and a training made of them.

The loss of a patient is that of one row through four Linear layers, so a patient's gradient is known by its length
without being built (`clip_linear`). Guarantee: that of `privacy.dp.local`, resp. of `privacy.dp.distributed`.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from cohortium.core.parameters import Parameters
from cohortium.core.private import PrivateSteps
from cohortium.models import exact_optimiser
from cohortium.models.optimisers import OptimiserPlan
from cohortium.models.patient_gradients import Weights, nothing, shared_tensors
from cohortium.models.torch_training import one_thread
from cohortium.privacy.dp.clipping import Clipped, clip_linear
from cohortium.privacy.dp.local import train
from cohortium.synth.generators.vae_network import Targets, VaeNetwork

__all__ = ["PrivatePatients", "stepped_privately"]

Integers = NDArray[np.int64]
Held = dict[str, NDArray[np.floating]]


@dataclass(frozen=True, eq=False)
class PrivatePatients:
    """Patients of one site as `vae_bgm` sees them."""

    network: VaeNetwork
    targets: Targets

    def clipped(self, weights: Weights, chosen: Integers, *, norm: float, chance: np.random.Generator) -> Clipped:
        """Sums over these patients, each row one. chance: of codes and dropout, never of noise."""
        if not len(chosen):
            return nothing(weights)
        import torch

        with one_thread():
            held = {name: one.requires_grad_() for name, one in shared_tensors(weights).items()}
            batch = self.targets.take(torch.from_numpy(chosen))
            inputs, outputs = self.network.passed(held, batch, chance)
            slopes = torch.autograd.grad(self.network.total_loss(outputs, batch), outputs)
            sums, n_whole = clip_linear([one.detach() for one in inputs], slopes, norm=norm)
        flat = [one for pair in sums for one in pair]
        return Clipped(sums={n: s.numpy() for n, s in zip(self.network.names, flat, strict=True)}, n_whole=n_whole)


def stepped_privately(
    weights: Parameters,
    patient: Integers,
    *,
    steps: PrivateSteps,
    plan: OptimiserPlan,
    clipped: Callable[[Held, Integers, float], Clipped],
    after: Callable[[Held], None] = lambda held: None,
) -> tuple[Parameters, float]:
    """(weights, clipping norm) after all noisy steps. clipped(weights, rows, norm); after: told each step's weights."""
    held: Held = {name: np.array(array) for name, array in weights.items()}
    moments = [{name: np.zeros(array.shape) for name, array in held.items()} for _ in range(plan.n_moments)]
    taken = 0

    def learn(mean: Held) -> None:
        nonlocal taken
        taken += 1
        exact_optimiser.step(plan, held, mean, moments, number=taken)
        after(held)

    size = sum(array.size for array in held.values())
    norm = train(steps, patient, size=size, clipped=lambda rows, norm: clipped(held, rows, norm), learn=learn)
    return Parameters(held), norm
