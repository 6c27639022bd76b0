"""What networks that generate patients share in training: weights, moments that stay at a site, and steps.

`Descent` holds the tensors of one network between steps of Adam, pulls them towards where they came from if asked
(FedProx), and gives moments back as arrays, so that a site can keep them from round to round.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from cohortium.core.parameters import Parameters
from cohortium.models.optimisers import OptimiserPlan, fused_adam
from cohortium.models.torch_training import tensor

if TYPE_CHECKING:
    from torch import Tensor

__all__ = ["MOST_INVENTED", "Budget", "Descent", "Trained", "in_batches", "n_invented", "uniform_layer", "warmed"]

MOST_INVENTED = 200_000
"""Rows to warm up on, at most: their number comes from sums in which a liar may write anything."""


@dataclass(frozen=True, kw_only=True, eq=False)
class Trained:
    """One training: the weights, the mean loss of its last tenth, the steps taken, moments to go on with."""

    weights: Parameters
    loss: float
    steps: int
    moments: Parameters


@dataclass(frozen=True, kw_only=True)
class Budget:
    """How long a network trains, in units of its own. whole: of the whole run; warm: before, on rows of the foundation.

    private_warm: the same in a private run, where rows of the foundation are free and those of patients are not.
    """

    whole: int
    warm: int
    private_warm: int

    def share(self, effort: float) -> int:
        """This share of the whole, at least 1. Raises ValueError for a share outside (0, 1]."""
        if not 0 < effort <= 1:
            raise ValueError(f"effort must be above 0 and at most 1, got {effort}")
        return max(1, round(self.whole * effort))


class Descent:
    """Tensors being trained by Adam. proximal: mu of mu/2 |w - start|^2."""

    def __init__(
        self,
        plan: OptimiserPlan,
        weights: Parameters,
        names: Sequence[str],
        *,
        moments: Parameters | None = None,
        label: str = "",
        proximal: float = 0.0,
        decay: float = 0.0,
    ) -> None:
        import torch

        self.names, self._plan, self._label = tuple(names), plan, label
        self.tensors: Mapping[str, Tensor] = {name: tensor(weights[name]).requires_grad_() for name in names}
        self._held = list(self.tensors.values())
        self._start = [held.detach().clone() for held in self._held] if proximal else []
        self._proximal, self._decay = proximal, decay
        self.n_steps = 0
        if moments is None or f"{label}steps" not in moments:
            self._moments = [[torch.zeros_like(held) for held in self._held] for _ in range(2)]
        else:
            self.n_steps = int(moments[f"{label}steps"][0])
            self._moments = [[tensor(moments[f"{part}/{name}"]) for name in names] for part in ("first", "second")]

    def step(self, loss: Tensor) -> None:
        """One step downhill."""
        import torch

        self.apply(torch.autograd.grad(loss, self._held))

    def apply(self, gradients: Sequence[Tensor]) -> None:
        """One step with these gradients."""
        import torch

        self.n_steps += 1
        with torch.no_grad():
            g = list(gradients)
            if self._proximal:
                g = list(torch._foreach_add(g, torch._foreach_sub(self._held, self._start), alpha=self._proximal))
            fused_adam(self._plan, self._held, g, self._moments, step=self.n_steps, decay=self._decay)

    def weights(self) -> Parameters:
        """The tensors as arrays."""
        return Parameters({name: held.detach().numpy() for name, held in self.tensors.items()})

    def moments(self) -> Parameters:
        """What a site keeps until the next round."""
        found: dict[str, object] = {f"{self._label}steps": np.array([self.n_steps], dtype=np.int64)}
        for part, arrays in zip(("first", "second"), self._moments, strict=True):
            found |= {f"{part}/{name}": held.numpy() for name, held in zip(self.names, arrays, strict=True)}
        return Parameters(found)


def uniform_layer(name: str, n_in: int, n_out: int, rng: np.random.Generator) -> dict[str, NDArray[np.float32]]:
    """First weights of a linear layer, uniform within 1/sqrt(inputs) as torch draws them."""
    bound = 1.0 / np.sqrt(max(n_in, 1))
    return {
        f"{name}.weight": rng.uniform(-bound, bound, size=(n_out, n_in)).astype(np.float32),
        f"{name}.bias": rng.uniform(-bound, bound, size=n_out).astype(np.float32),
    }


def in_batches(n: int, batch: int, n_steps: int, rng: np.random.Generator) -> list[NDArray[np.int64]]:
    """Row numbers of every step: passes in a new order each, the last batch of a pass as large as the others nearly."""
    found: list[NDArray[np.int64]] = []
    while len(found) < n_steps:
        found += np.array_split(rng.permutation(n), max(1, -(-n // batch)))
    return found[:n_steps]


def n_invented(foundation: Parameters) -> int:
    """Rows to draw from a foundation for warming up: as many as there are patients, 0 to `MOST_INVENTED`."""
    return min(max(int(foundation["n"][0]), 0), MOST_INVENTED)


def warmed(
    generator: Any, weights: Parameters, foundation: Parameters, *, budget: int, rng: np.random.Generator
) -> Parameters:
    """A generator's weights after so much training on invented rows, as many as there are patients."""
    n = n_invented(foundation)
    if not budget or n == 0:
        return weights
    rows = generator.foundation().sample(foundation, n, rng=rng)
    made: Parameters = generator.train(weights, foundation, rows, budget=budget, rng=rng).weights
    return made
