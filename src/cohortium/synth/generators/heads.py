"""Flags and blocks of levels: where each variable of a patient stands in a network's row of numbers.

A variable of two levels is a flag, one number; one of more is a block of as many numbers as levels, all blocks behind
one another. Nothing loops over variables: a softmax within each block is two products with the matrix that says which
level belongs to which block, so a network has no number that no variable uses.
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray

from cohortium.models.torch_training import tensor

if TYPE_CHECKING:
    from torch import Tensor

__all__ = ["BARRED", "Heads"]

Floats = NDArray[np.float64]
Integers = NDArray[np.int64]

BARRED = -1e9
"""Logit of a level that is none."""


@dataclass(frozen=True)
class Heads:
    """sizes: levels of every variable; of one level there is nothing to say."""

    sizes: tuple[int, ...]

    @cached_property
    def flags(self) -> Integers:
        """Variables of two levels."""
        return np.array([at for at, size in enumerate(self.sizes) if size == 2], dtype=np.int64)

    @cached_property
    def blocks(self) -> Integers:
        """Variables of more."""
        return np.array([at for at, size in enumerate(self.sizes) if size > 2], dtype=np.int64)

    @cached_property
    def level_at(self) -> Integers:
        """(blocks, most levels): place among all levels, one behind the end where there is none."""
        sizes = np.array([self.sizes[at] for at in self.blocks], dtype=np.int64)
        steps = np.arange(int(sizes.max(initial=0)))
        first = np.concatenate([[0], np.cumsum(sizes)]).astype(np.int64)[: len(sizes)]
        return np.where(steps < sizes[:, None], first[:, None] + steps, self.n_levels).astype(np.int64)

    @cached_property
    def n_levels(self) -> int:
        """Levels of all blocks."""
        return sum(self.sizes[at] for at in self.blocks)

    @property
    def width(self) -> int:
        """Flags and levels."""
        return len(self.flags) + self.n_levels

    def numbers(self, codes: Integers) -> Floats:
        """(n, width): 0 or 1 for a flag and for each level; all 0 where the code is -1."""
        wide = np.zeros((len(codes), self.n_levels + 1))
        if len(self.blocks):
            own = codes[:, self.blocks]
            at = self.level_at[np.arange(len(self.blocks)), np.maximum(own, 0)]
            wide[np.arange(len(codes))[:, None], np.where(own >= 0, at, self.n_levels)] = 1.0
        return np.hstack([np.maximum(codes[:, self.flags], 0), wide[:, :-1]])

    def padded(self, levels: Floats) -> Floats:
        """(n, blocks, most levels) of (n, n_levels), `BARRED` where a block has no such level. Raises ValueError."""
        if levels.shape[1] != self.n_levels:
            raise ValueError(f"network of {levels.shape[1]} levels on a foundation of {self.n_levels}")
        behind = np.full((len(levels), 1), BARRED)
        return np.asarray(np.hstack([levels, behind])[:, self.level_at])

    # --- with torch --------------------------------------------------------------------------------------------

    def softmax(self, levels: Tensor) -> Tensor:
        """Probabilities within each block, (n, n_levels)."""
        import torch

        raised = torch.exp(self._shifted(levels))
        return raised / (raised @ self._belongs @ self._belongs.t())

    def log_chance(self, levels: Tensor, codes: Tensor) -> Tensor:
        """Log probability of each block's code, (n, blocks). codes: (n, blocks), none below 0."""
        import torch

        shifted = self._shifted(levels)
        return shifted.gather(1, codes + self._first) - torch.log(torch.exp(shifted) @ self._belongs)

    def _shifted(self, levels: Tensor) -> Tensor:
        """Logits less the largest of their block, (n, n_levels)."""
        import torch

        with torch.no_grad():
            wide = torch.nn.functional.pad(levels, (0, 1), value=BARRED)[:, self._level_at]
            top = wide.amax(dim=2) @ self._belongs.t()
        return levels - top

    @cached_property
    def _belongs(self) -> Tensor:
        """(n_levels, blocks): 1 where the level is one of the block's."""
        found = np.zeros((self.n_levels + 1, len(self.blocks)))
        found[self.level_at, np.arange(len(self.blocks))[:, None]] = 1.0
        return tensor(found[:-1])

    @cached_property
    def _first(self) -> Tensor:
        return tensor(self.level_at[:, 0] if len(self.blocks) else np.zeros(0), dtype="int64")

    @cached_property
    def _level_at(self) -> Tensor:
        return tensor(self.level_at, dtype="int64")
