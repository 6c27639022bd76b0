"""The network of `vae_bgm`: encoder, decoder, three blocks of heads, and what training minimises.

Encoder: inputs - hidden, ReLU - means and log variances of the code. Decoder: code - hidden, ReLU, dropout - heads:
mean and log sd of every score, a logit of every flag, a logit of every level. Each kind of head is one block of
columns; one head a column is many times slower. Loss: negative log-likelihood of the cells that were observed, and the
KL divergence to N(0, I).
Kingma and Welling 2014; heads by kind of column: Nazabal et al. 2020. Design: synthetic-data.md 5.2.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray

from cohortium.core.parameters import Parameters
from cohortium.models.perceptron import dropout_mask
from cohortium.models.torch_training import tensor
from cohortium.synth.generators.cells import Cells, Encoded
from cohortium.synth.generators.network_training import uniform_layer

if TYPE_CHECKING:
    from torch import Tensor

__all__ = ["Targets", "VaeNetwork"]

Floats = NDArray[np.float64]
Integers = NDArray[np.int64]

LOG_SD = (-4.0, 3.0)
LOG_VARIANCE = (-8.0, 6.0)
LARGEST_SCORE = 2.5758293035489004
"""Normal scores of u in [0.005, 0.995]: what lies further out is a few patients and would lead the loss."""


@dataclass(frozen=True, kw_only=True, eq=False)
class Targets:
    """Rows as tensors. inputs; z and flags with 0 where there is none; seen: 1 for cells that count."""

    inputs: Tensor
    z: Tensor
    z_seen: Tensor
    flags: Tensor
    flags_seen: Tensor
    levels: Tensor
    levels_seen: Tensor

    def take(self, rows: Tensor) -> Targets:
        """These rows."""
        return Targets(**{name: held[rows] for name, held in vars(self).items()})


@dataclass(frozen=True, eq=False)
class VaeNetwork:
    """cells: what is encoded; n_hidden, n_latent: widths; dropout: of the decoder; beta: weight of the KL term."""

    cells: Cells
    n_hidden: int
    n_latent: int
    dropout: float
    beta: float

    @cached_property
    def n_inputs(self) -> int:
        """Width of a patient."""
        return self.cells.n_numbers + self.cells.heads.width

    @property
    def names(self) -> tuple[str, ...]:
        """Arrays in order."""
        layers = ("encoder", "code", "decoder", "heads")
        return tuple(f"{layer}.{part}" for layer in layers for part in ("weight", "bias"))

    def initial(self, rng: np.random.Generator) -> Parameters:
        """First weights."""
        n_heads = self.n_inputs + self.cells.n_numbers
        sizes = {
            "encoder": (self.n_inputs, self.n_hidden),
            "code": (self.n_hidden, 2 * self.n_latent),
            "decoder": (self.n_latent, self.n_hidden),
            "heads": (self.n_hidden, n_heads),
        }
        return Parameters({k: v for name, (a, b) in sizes.items() for k, v in uniform_layer(name, a, b, rng).items()})

    def inputs(self, encoded: Encoded) -> Floats:
        """(n, n_inputs): scores, flags, levels; 0 where there is none."""
        z = np.nan_to_num(np.clip(encoded.z, -LARGEST_SCORE, LARGEST_SCORE), nan=0.0)
        return np.hstack([z, self.cells.heads.numbers(encoded.codes)])

    def targets(self, encoded: Encoded) -> Targets:
        """What the loss compares with."""
        heads = self.cells.heads
        z = np.clip(encoded.z, -LARGEST_SCORE, LARGEST_SCORE)
        flags, levels = encoded.codes[:, heads.flags], encoded.codes[:, heads.blocks]
        return Targets(
            inputs=tensor(self.inputs(encoded)),
            z=tensor(np.nan_to_num(z, nan=0.0)),
            z_seen=tensor(~np.isnan(z)),
            flags=tensor(np.maximum(flags, 0)),
            flags_seen=tensor(flags >= 0),
            levels=tensor(np.maximum(levels, 0), dtype="int64"),
            levels_seen=tensor(levels >= 0),
        )

    def loss(self, held: Mapping[str, Tensor], batch: Targets, noise: np.random.Generator) -> Tensor:
        """Mean over the batch of negative log-likelihood and KL."""
        _, outputs = self.passed(held, batch, noise)
        return self.total_loss(outputs, batch) / len(batch.inputs)

    def passed(
        self, held: Mapping[str, Tensor], batch: Targets, noise: np.random.Generator
    ) -> tuple[list[Tensor], list[Tensor]]:
        """(inputs, outputs) of the four layers, patient by patient. noise: of codes and dropout."""
        import torch

        n = len(batch.inputs)
        first = _layer(held, "encoder", batch.inputs)
        hidden = torch.relu(first)
        code = _layer(held, "code", hidden)
        spread = code[:, self.n_latent :].clamp(*LOG_VARIANCE)
        drawn = torch.from_numpy(noise.standard_normal((n, self.n_latent), dtype=np.float32))
        mask = torch.from_numpy(dropout_mask(noise, n, self.n_hidden, self.dropout)) if self.dropout else None
        z = code[:, : self.n_latent] + drawn * torch.exp(0.5 * spread)
        second = _layer(held, "decoder", z)
        wide = torch.relu(second) if mask is None else torch.relu(second) * mask
        return [batch.inputs, hidden, z, wide], [first, code, second, _layer(held, "heads", wide)]

    def total_loss(self, outputs: Sequence[Tensor], batch: Targets) -> Tensor:
        """The sum over patients of negative log-likelihood and KL. outputs: of `passed`."""
        import torch
        from torch.nn import functional

        _, code, _, heads = outputs
        mean, spread = code[:, : self.n_latent], code[:, self.n_latent :].clamp(*LOG_VARIANCE)
        middle, log_sd, flags, levels = self._heads(heads)
        apart = (batch.z - middle) * torch.exp(-log_sd)
        total = ((0.5 * apart * apart + log_sd) * batch.z_seen).sum()
        total = total + functional.binary_cross_entropy_with_logits(
            flags, batch.flags, weight=batch.flags_seen, reduction="sum"
        )
        if self.cells.heads.n_levels:
            total = total - (self.cells.heads.log_chance(levels, batch.levels) * batch.levels_seen).sum()
        return total + self.beta * 0.5 * (mean * mean + torch.exp(spread) - 1.0 - spread).sum()

    def decode(self, weights: Parameters, codes: Floats) -> tuple[Floats, Floats, Floats, Floats]:
        """Means and sds of scores, logits of flags, logits of levels (n, blocks, most levels)."""
        import torch

        held = {name: tensor(weights[name]) for name in self.names}
        with torch.no_grad():
            heads = _layer(held, "heads", torch.relu(_layer(held, "decoder", tensor(codes))))
            middle, log_sd, flags, levels = self._heads(heads)
        found = [one.double().numpy() for one in (middle, torch.exp(log_sd), flags, levels)]
        return found[0], found[1], found[2], self.cells.heads.padded(found[3])

    def _heads(self, out: Tensor) -> tuple[Tensor, Tensor, Tensor, Tensor]:
        """Means and log sds of scores, logits of flags, logits of levels."""
        n, f = self.cells.n_numbers, len(self.cells.heads.flags)
        return out[:, :n], out[:, n : 2 * n].clamp(*LOG_SD), out[:, 2 * n : 2 * n + f], out[:, 2 * n + f :]


def _layer(held: Mapping[str, Tensor], name: str, inputs: Tensor) -> Tensor:
    import torch

    return torch.addmm(held[f"{name}.bias"], inputs, held[f"{name}.weight"].t())
