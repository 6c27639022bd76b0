"""The generating half of `ctgan`: noise and a question in, a patient out, softly enough to have gradients.

Input layer and residual blocks with LayerNorm (batch normalisation keeps running statistics, which do not average over
sites and break privacy), then distances by tanh and flags and levels by Gumbel-softmax at temperature 0.2. All columns
of a kind are one block of numbers; nothing loops over columns. Xu et al. 2019; Jang et al. 2017.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from functools import cached_property
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray

from cohortium.core.parameters import Parameters
from cohortium.models.torch_training import tensor
from cohortium.synth.generators.gan_cells import GanCells, Modal
from cohortium.synth.generators.gan_conditions import Asked
from cohortium.synth.generators.heads import BARRED, Heads
from cohortium.synth.generators.network_training import uniform_layer

if TYPE_CHECKING:
    from torch import Tensor

__all__ = ["GanNetwork", "Soft"]

Floats = NDArray[np.float64]
Integers = NDArray[np.int64]

TEMPERATURE = 0.2


@dataclass(frozen=True, kw_only=True, eq=False)
class Soft:
    """What the generator gave: data as the critic sees them (n, width); raw flag and level logits."""

    data: Tensor
    flags: Tensor
    levels: Tensor


@dataclass(frozen=True, eq=False)
class GanNetwork:
    """cells: what a patient is; n_noise, n_hidden: widths; n_blocks: residual blocks."""

    cells: GanCells
    n_noise: int
    n_hidden: int
    n_blocks: int = 2

    @property
    def heads(self) -> Heads:
        """Where the variables stand in a patient's row."""
        return self.cells.heads

    @property
    def width(self) -> int:
        """Numbers a patient has: distances, flags, levels."""
        return self.cells.n_numbers + self.heads.width

    @cached_property
    def n_asked(self) -> tuple[int, int]:
        """(flags, levels) that can be asked for: those of named variables, which come first in their blocks."""
        named = len(self.cells.named)
        flags = int((self.heads.flags < named).sum())
        return flags, sum(self.cells.sizes[at] for at in self.heads.blocks if at < named)

    @property
    def asked_width(self) -> int:
        """Width of a question."""
        return sum(self.n_asked)

    @cached_property
    def names(self) -> tuple[str, ...]:
        """Arrays in order."""
        return tuple(self.initial(np.random.default_rng(0)))  # only the names are looked at

    def initial(self, rng: np.random.Generator) -> Parameters:
        """First weights."""
        arrays: dict[str, NDArray[np.float32]] = {}
        n_in = self.n_noise + self.asked_width
        for at in range(self.n_blocks):
            arrays |= uniform_layer(f"generator.{at}", n_in if at == 0 else self.n_hidden, self.n_hidden, rng)
            arrays[f"generator.{at}.scale"] = np.ones(self.n_hidden, dtype=np.float32)
            arrays[f"generator.{at}.shift"] = np.zeros(self.n_hidden, dtype=np.float32)
        arrays |= uniform_layer("generator.out", self.n_hidden, self.width, rng)
        return Parameters(arrays)

    # --- patients as numbers -----------------------------------------------------------------------------------

    def real(self, modal: Modal) -> NDArray[np.float32]:
        """Real rows as the critic sees them, (n, width)."""
        return np.hstack([modal.places, self.heads.numbers(modal.codes)]).astype(np.float32)

    def question(self, asked: Asked | None, n: int) -> NDArray[np.float32]:
        """(n, asked_width): +1 or -1 for a flag, one level of a block, 0 for all that is not asked."""
        found = np.zeros((n, self.asked_width), dtype=np.float32)
        if asked is None:
            return found
        at, is_flag = self._place_of
        flag = is_flag[asked.variable]
        rows = np.arange(n)
        found[rows[flag], at[asked.variable[flag]]] = 2.0 * asked.level[flag] - 1.0
        found[rows[~flag], at[asked.variable[~flag]] + asked.level[~flag]] = 1.0
        return found

    @cached_property
    def _place_of(self) -> tuple[Integers, NDArray[np.bool_]]:
        """By named variable: its first column in a question, and whether it is a flag."""
        named = len(self.cells.named)
        at, is_flag = np.zeros(named, dtype=np.int64), np.zeros(named, dtype=bool)
        for place, variable in enumerate(self.heads.flags[self.heads.flags < named]):
            at[variable], is_flag[variable] = place, True
        for place, variable in enumerate(self.heads.blocks[self.heads.blocks < named]):
            at[variable] = self.n_asked[0] + self.heads.level_at[place, 0]
        return at, is_flag

    # --- the network -------------------------------------------------------------------------------------------

    def outputs(self, held: Mapping[str, Tensor], inputs: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        """Raw distances, flag logits, level logits."""
        import torch
        from torch.nn import functional

        hidden = inputs
        for at in range(self.n_blocks):
            name = f"generator.{at}"
            z = torch.addmm(held[f"{name}.bias"], hidden, held[f"{name}.weight"].t())
            z = functional.layer_norm(z, (self.n_hidden,), held[f"{name}.scale"], held[f"{name}.shift"])
            hidden = torch.relu(z) if at == 0 else hidden + torch.relu(z)
        out = torch.addmm(held["generator.out.bias"], hidden, held["generator.out.weight"].t())
        n, f = self.cells.n_numbers, len(self.heads.flags)
        return out[:, :n], out[:, n : n + f], out[:, n + f :]

    def soft(self, held: Mapping[str, Tensor], inputs: Tensor, noise: np.random.Generator) -> Soft:
        """Patients that are nearly drawn: Gumbel noise on the logits, sharpened by the temperature."""
        import torch

        raw, flags, levels = self.outputs(held, inputs)
        first, second = (noise.standard_exponential(flags.shape, dtype=np.float32) for _ in range(2))
        logistic = torch.from_numpy(np.log(second + 1e-20) - np.log(first + 1e-20))
        soft_flags = torch.sigmoid((flags + logistic) * (1 / TEMPERATURE))
        parts = [soft_flags]
        if self.heads.n_levels:
            gumbel = torch.from_numpy(-np.log(noise.standard_exponential(levels.shape, dtype=np.float32) + 1e-20))
            parts.append(self.heads.softmax((levels + gumbel) * (1 / TEMPERATURE)))
        states = torch.cat(parts, dim=1)
        places = torch.tanh(raw) * torch.addmm(self._onto[1], states, self._onto[0])
        return Soft(data=torch.cat([places, states], dim=1), flags=flags, levels=levels)

    def miss(self, soft: Soft, asked: Asked) -> Tensor:
        """Mean cross-entropy of the variables that were asked for."""
        import torch
        from torch.nn import functional

        at, is_flag = self._column_of
        flag = is_flag[asked.variable]
        rows = np.arange(len(asked.variable))
        total = soft.flags.sum() * 0.0
        if flag.any():
            chosen = soft.flags[torch.from_numpy(rows[flag]), torch.from_numpy(at[asked.variable[flag]])]
            wanted = torch.from_numpy(asked.level[flag].astype(np.float32))
            total = total + functional.binary_cross_entropy_with_logits(chosen, wanted, reduction="sum")
        if not flag.all():
            places = self.heads.level_at[at[asked.variable[~flag]]]
            wide = functional.pad(soft.levels, (0, 1), value=BARRED)
            chosen = wide[torch.from_numpy(rows[~flag])].gather(1, torch.from_numpy(places))
            total = total + functional.cross_entropy(chosen, torch.from_numpy(asked.level[~flag]), reduction="sum")
        return total / len(rows)

    def drawn_logits(self, weights: Parameters, inputs: Floats) -> tuple[Floats, Floats, Floats]:
        """Distances, flag logits and level logits (n, blocks, most levels), to draw from."""
        import torch

        held = {name: tensor(weights[name]) for name in self.names}
        with torch.no_grad():
            raw, flags, levels = self.outputs(held, tensor(inputs))
            found = [one.double().numpy() for one in (torch.tanh(raw), flags, levels)]
        return found[0], found[1], self.heads.padded(found[2])

    @cached_property
    def _column_of(self) -> tuple[Integers, NDArray[np.bool_]]:
        """By variable: its place among flags, or among blocks; and whether it is a flag."""
        at, is_flag = np.zeros(len(self.cells.sizes), dtype=np.int64), np.zeros(len(self.cells.sizes), dtype=bool)
        flags, blocks = self.heads.flags, self.heads.blocks
        at[flags], is_flag[flags] = np.arange(len(flags)), True
        at[blocks] = np.arange(len(blocks))
        return at, is_flag

    @cached_property
    def _onto(self) -> tuple[Tensor, Tensor]:
        """From flags and levels to 'this number has a mode': (states, numbers), and the constant of each number."""
        at, is_flag = self._column_of
        named, n = len(self.cells.named), self.cells.n_numbers
        matrix, constant = np.zeros((self.heads.width, n)), np.ones(n)
        for k, m in enumerate(self.cells.n_modes):
            variable = named + k
            size = self.cells.sizes[variable]
            if m == 0:
                constant[k] = 0.0
            elif is_flag[variable]:
                matrix[at[variable], k] = -1.0 if m == 1 else 0.0
            elif size > 2:
                first = len(self.heads.flags) + int(self.heads.level_at[at[variable], 0])
                matrix[first + m : first + size, k] = -1.0
        return tensor(matrix), tensor(constant)
