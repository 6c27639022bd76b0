"""The judging half of `ctgan`, with its gradients written out: no tape, no second pass through it.

The critic sees one patient, or a few at once (pac), with what was asked for, and says how real they look: two hidden
layers, leaky ReLU 0.2, dropout if wanted. Loss: mean of the invented - mean of the real + 10 (|g| - 1)^2, g the
gradient at a mixture of both (WGAN-GP: Gulrajani et al. 2017; pac: Lin et al. 2018). Where slopes and dropout are
held, the critic is linear in its input, g = W1' (a1 * W2' (a2 * w3)), so the penalty's derivative by every weight is a
product of matrices.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray

from cohortium.core.parameters import Parameters
from cohortium.synth.generators.network_training import uniform_layer

if TYPE_CHECKING:
    from torch import Tensor

__all__ = ["Critic"]

SLOPE = 0.2
PENALTY = 10.0
LAYERS = ("critic.0", "critic.1", "critic.2")
NAMES = tuple(f"{layer}.{part}" for layer in LAYERS for part in ("weight", "bias"))


@dataclass(frozen=True)
class Critic:
    """n_inputs: width of a patient with a question; pac: patients at once; dropout: after each hidden layer."""

    n_inputs: int
    n_hidden: int
    pac: int
    dropout: float

    @property
    def names(self) -> tuple[str, ...]:
        """Arrays in order."""
        return NAMES

    def initial(self, rng: np.random.Generator) -> Parameters:
        """First weights."""
        sizes = (self.pac * self.n_inputs, self.n_hidden, self.n_hidden, 1)
        arrays: dict[str, NDArray[np.float32]] = {}
        for layer, n_in, n_out in zip(LAYERS, sizes, sizes[1:], strict=False):
            arrays |= uniform_layer(layer, n_in, n_out, rng)
        return Parameters(arrays)

    def gradients(
        self, held: Mapping[str, Tensor], real: Tensor, fake: Tensor, noise: np.random.Generator
    ) -> tuple[float, list[Tensor]]:
        """The loss and its gradient by every array, in the order of the names. real, fake: (n, n_inputs)."""
        import torch

        real, fake = (one.reshape(-1, self.pac * self.n_inputs) for one in (real, fake))
        n = len(real)
        share = torch.from_numpy(noise.random((n, 1), dtype=np.float32))
        whole = torch.cat([real, fake, share * real + (1 - share) * fake])
        towards = torch.full((2 * n, 1), 1.0 / n, dtype=held[NAMES[4]].dtype)
        towards[:n] = -1.0 / n
        return self._gradients(held, whole, towards, noise)

    def penalty(
        self, held: Mapping[str, Tensor], mixed: Tensor, noise: np.random.Generator
    ) -> tuple[float, list[Tensor]]:
        """What the slope at these mixtures adds to the loss, and its gradient by every array. mixed: (n, inputs)."""
        return self._gradients(held, mixed, mixed[:0, :1], noise)

    def passed(
        self, held: Mapping[str, Tensor], shown: Tensor, towards: float, noise: np.random.Generator
    ) -> tuple[list[Tensor], list[Tensor]]:
        """Each layer's inputs, and the slopes at its outputs of `towards` times each judgement. shown: (n, inputs)."""
        import torch

        w1, b1, w2, b2, w3, _ = (held[name] for name in NAMES)
        h1 = torch.addmm(b1, shown, w1.t())
        a1 = self._slopes(h1, self._mask(len(shown), noise))
        h2 = torch.addmm(b2, h1 * a1, w2.t())
        a2 = self._slopes(h2, self._mask(len(shown), noise))
        d2 = (towards * w3) * a2
        d1 = (d2 @ w2) * a1
        return [shown, h1 * a1, h2 * a2], [d1, d2, torch.full((len(shown), 1), towards, dtype=w3.dtype)]

    def _gradients(
        self, held: Mapping[str, Tensor], whole: Tensor, towards: Tensor, noise: np.random.Generator
    ) -> tuple[float, list[Tensor]]:
        """Of the judgements of the first rows, each times its `towards`, and of the penalty at all others."""
        import torch

        w1, b1, w2, b2, w3, b3 = (held[name] for name in NAMES)
        k, n = len(towards), len(whole) - len(towards)
        masks = [self._mask(len(whole), noise) for _ in range(2)]
        h1 = torch.addmm(b1, whole, w1.t())
        a1 = self._slopes(h1, masks[0])
        z1 = h1 * a1
        h2 = torch.addmm(b2, z1, w2.t())
        a2 = self._slopes(h2, masks[1])
        said = torch.addmm(b3, (h2 * a2)[:k], w3.t())
        d2 = (towards * w3) * a2[:k]
        d1 = (d2 @ w2) * a1[:k]
        u2 = a2[k:] * w3  # the gradient at the mixtures, backwards through both layers
        u1 = a1[k:] * (u2 @ w2)
        gradient = u1 @ w1
        size = gradient.norm(dim=1, keepdim=True).clamp_min(1e-12)
        loss = (said * towards).sum() + PENALTY * ((size - 1) ** 2).mean()
        pull = gradient.mul_(2 * PENALTY / n * (size - 1) / size)
        back1 = a1[k:] * (pull @ w1.t())
        back2 = a2[k:] * (back1 @ w2.t())
        by_w1 = torch.cat([d1, u1]).t() @ torch.cat([whole[:k], pull])
        by_w2 = torch.cat([d2, u2]).t() @ torch.cat([z1[:k], back1])
        by_w3 = towards.t() @ (h2 * a2)[:k] + back2.sum(dim=0, keepdim=True)
        by_b1, by_b2, by_b3 = d1.sum(dim=0), d2.sum(dim=0), towards.sum(dim=0)
        return float(loss), [by_w1, by_b1, by_w2, by_b2, by_w3, by_b3]

    def towards_real(
        self, held: Mapping[str, Tensor], fake: Tensor, noise: np.random.Generator
    ) -> tuple[float, Tensor]:
        """Minus the mean judgement of invented patients, and its gradient by them, (n, n_inputs)."""
        import torch

        w1, b1, w2, b2, w3, b3 = (held[name] for name in NAMES)
        packed = fake.reshape(-1, self.pac * self.n_inputs)
        h1 = torch.addmm(b1, packed, w1.t())
        a1 = self._slopes(h1, self._mask(len(packed), noise))
        h2 = torch.addmm(b2, h1 * a1, w2.t())
        a2 = self._slopes(h2, self._mask(len(packed), noise))
        said = torch.addmm(b3, h2 * a2, w3.t())
        by_input = ((a2 * (w3 * (-1.0 / len(packed)))) @ w2 * a1) @ w1
        return -float(said.mean()), by_input.reshape(fake.shape)

    def _mask(self, n: int, noise: np.random.Generator) -> Tensor | None:
        import torch

        if not self.dropout:
            return None
        kept = noise.random((n, self.n_hidden), dtype=np.float32) >= np.float32(self.dropout)
        return torch.from_numpy(kept * np.float32(1 / (1 - self.dropout)))

    def _slopes(self, h: Tensor, mask: Tensor | None) -> Tensor:
        """What every hidden unit multiplies its input by."""
        import torch

        slope = torch.where(h > 0, 1.0, SLOPE)
        return slope if mask is None else slope.mul_(mask)
