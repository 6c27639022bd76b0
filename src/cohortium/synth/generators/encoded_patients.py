"""Noisy steps of `vae_bgm`: every array learns from patients.

The loss of a patient is that of one row through four Linear layers, so a patient's gradient is known by its length
without being built (`clip_linear`).
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from cohortium.models.patient_gradients import Weights, nothing, shared_tensors
from cohortium.models.torch_training import one_thread
from cohortium.privacy.dp.clipping import Clipped, clip_linear
from cohortium.synth.generators.vae_network import Targets, VaeNetwork

__all__ = ["EncodedPatients"]

Integers = NDArray[np.int64]


@dataclass(frozen=True, eq=False)
class EncodedPatients:
    """targets: of the site's rows."""

    network: VaeNetwork
    targets: Targets

    @property
    def names(self) -> Sequence[str]:
        """All arrays."""
        return self.network.names

    def clipped(self, weights: Weights, chosen: Integers, *, norm: float, chance: np.random.Generator) -> Clipped:
        """Sums over these patients."""
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

    def public(self, weights: Weights, *, norm: float, chance: np.random.Generator) -> dict[str, NDArray[np.floating]]:
        """Nothing."""
        return {}
