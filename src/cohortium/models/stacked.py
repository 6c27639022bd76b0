"""All sites of a round trained at once: 5 to 10 times faster than one after the other for small networks.

Theory of operation (performance-and-interface.md 1.2). Each tensor of all S sites lies together in one block,
`block[S a : S b].view(S, *shape)` (layer-major), so that a layer of all sites is one batched matrix product; the
backward pass is written by hand. Sites are sorted by number of steps, most first: at step t the active ones are a
prefix `[:A]`, every view of it is contiguous, and no step is wasted. Only rows inside a batch are padded: they point to
one spare row and carry weight 0, so whatever finite values it holds changes no bit. Each site draws order and noise
from its own stream exactly as `torch_training.train` does; results go back to the order they came in.

Plain SGD is fused into the weights; other optimisers, decay, proximal terms and corrections write gradients into a
second block first. What cannot be stacked (frozen arrays, unequal rates) is trained one after the other.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray

from cohortium.core.examples import Examples
from cohortium.core.parameters import Parameters
from cohortium.core.update import Fitted, Instructions
from cohortium.models.optimisers import OptimiserPlan, update
from cohortium.models.perceptron import Perceptron, Shape, dropout_mask, fit_perceptron
from cohortium.models.torch_training import (
    PIECE,
    Rows,
    fitted,
    one_thread,
    require_torch,
    row_losses,
    rows_of,
    tensor,
)

if TYPE_CHECKING:
    from torch import Tensor

__all__ = ["Block", "Pages", "fit_stacked", "n_steps", "pages"]

_LARGEST_BLOCK = 1 << 26  # numbers of one block (256 MiB); beyond, arithmetic binds and stacking brings nothing


class Block:
    """One float32 buffer for all sites; `views` has a tensor (S, *shape) for each array of the shape."""

    def __init__(self, shape: Shape, n_sites: int) -> None:
        import torch

        self._flat = torch.zeros(n_sites * shape.n_parameters)
        self._n_sites = n_sites
        self.views: list[Tensor] = []
        at = 0
        for n_in, n_out in zip(shape.sizes, shape.sizes[1:], strict=False):
            for size, form in ((n_in * n_out, (n_sites, n_out, n_in)), (n_out, (n_sites, n_out))):
                self.views.append(self._flat[at : at + n_sites * size].view(form))
                at += n_sites * size

    def fill(self, shape: Shape, sites: Sequence[Parameters]) -> Block:
        """Put each site's arrays into its place; returns itself."""
        alike = all(parameters is sites[0] for parameters in sites)
        for name, view in zip(shape.names, self.views, strict=True):
            if alike:
                view.copy_(tensor(sites[0][name]))
                continue
            for at, parameters in enumerate(sites):
                view[at].copy_(tensor(parameters[name]))
        return self

    def prefix(self, active: int) -> list[Tensor]:
        """The first sites' tensors: one vector when all are active."""
        return [self._flat] if active == self._n_sites else [view[:active] for view in self.views]

    def site(self, shape: Shape, at: int) -> Parameters:
        """One site's arrays."""
        return Parameters({n: view[at].numpy() for n, view in zip(shape.names, self.views, strict=True)})


@dataclass(frozen=True, kw_only=True, eq=False)
class Pages:
    """Which rows each site takes at each step: `index` (steps, sites, batch), padding points to `spare`.

    n_steps: of each site, falling. n_rows: real rows (steps, sites); they come first in a page.
    """

    index: NDArray[np.int64]
    n_rows: NDArray[np.int64]
    n_steps: NDArray[np.int64]
    spare: int

    def active(self, step: int) -> int:
        """How many sites still have a step number `step`."""
        return int(np.count_nonzero(self.n_steps > step))


def pages(
    sizes: Sequence[int],
    batch_sizes: Sequence[int],
    instructions: Sequence[Instructions],
    orders: Sequence[np.random.Generator],
) -> Pages:
    """The batches of all sites, drawn as sequential training draws them. Sites must come by falling steps."""
    steps = np.array([n_steps(*one) for one in zip(sizes, batch_sizes, instructions, strict=True)], dtype=np.int64)
    first_row = np.concatenate([[0], np.cumsum(sizes)])
    width = max(min(n, batch) for n, batch in zip(sizes, batch_sizes, strict=True))
    index = np.full((int(steps.max(initial=0)), len(sizes), width), int(first_row[-1]), dtype=np.int64)
    n_rows = np.zeros(index.shape[:2], dtype=np.int64)
    for site, (n, batch, asked, order) in enumerate(zip(sizes, batch_sizes, instructions, orders, strict=True)):
        step = 0
        for _ in range(asked.local_epochs):
            if step >= steps[site]:
                break
            shuffled = first_row[site] + order.permutation(n)
            for at in range(0, n, batch):
                if step >= steps[site]:
                    break
                chosen = shuffled[at : at + batch]
                index[step, site, : len(chosen)] = chosen
                n_rows[step, site] = len(chosen)
                step += 1
    return Pages(index=index, n_rows=n_rows, n_steps=steps, spare=int(first_row[-1]))


def n_steps(n: int, batch: int, instructions: Instructions) -> int:
    """Batches a site takes."""
    whole = instructions.local_epochs * -(-n // batch)
    return whole if instructions.max_steps is None else min(whole, instructions.max_steps)


def fit_stacked(
    shape: Shape,
    starts: Sequence[Parameters],
    examples: Sequence[Examples],
    *,
    instructions: Sequence[Instructions],
    plan: OptimiserPlan,
    batch_sizes: Sequence[int],
    rngs: Sequence[np.random.Generator],
) -> list[Fitted]:
    """One training of each site, in the order given."""
    require_torch()
    together = zip(starts, examples, instructions, batch_sizes, rngs, strict=True)
    if not _stackable(instructions) or len(starts) * shape.n_parameters > _LARGEST_BLOCK:
        return [
            fit_perceptron(shape, start, rows, instructions=asked, plan=plan, batch_size=batch, rng=rng)
            for start, rows, asked, batch, rng in together
        ]
    all_rows = [rows_of(one) for one in examples]
    taken = [
        n_steps(len(rows), batch, one) for rows, batch, one in zip(all_rows, batch_sizes, instructions, strict=True)
    ]
    order = sorted(range(len(starts)), key=lambda at: -taken[at])

    stack = _Stack(
        shape=shape,
        starts=[starts[at] for at in order],
        rows=[all_rows[at] for at in order],
        instructions=[instructions[at] for at in order],
        plan=plan,
        batch_sizes=[batch_sizes[at] for at in order],
        rngs=[rngs[at] for at in order],
    )
    with one_thread():
        losses = stack.start_losses()
        stack.train()
    done: list[Fitted] = [None] * len(starts)  # type: ignore[list-item]
    for place, at in enumerate(order):
        done[at] = fitted(
            stack.weights.site(shape, place), all_rows[at], plan, instructions[at], steps=taken[at], loss=losses[place]
        )
    return done


def _stackable(instructions: Sequence[Instructions]) -> bool:
    first = instructions[0]
    return all(
        not one.frozen
        and one.learning_rate_factor == first.learning_rate_factor
        and one.proximal == first.proximal
        and (one.correction is None) == (first.correction is None)
        for one in instructions
    )


class _Stack:
    """One stacked training. Everything is in the order of falling steps."""

    def __init__(
        self,
        *,
        shape: Shape,
        starts: Sequence[Parameters],
        rows: Sequence[Rows],
        instructions: Sequence[Instructions],
        plan: OptimiserPlan,
        batch_sizes: Sequence[int],
        rngs: Sequence[np.random.Generator],
        spare: float = 0.0,
    ) -> None:
        import torch

        streams = [rng.spawn(2) for rng in rngs]
        n = len(starts)
        self._shape, self._starts, self._rows, self._plan = shape, starts, rows, plan
        self._noise = [noise for _, noise in streams]
        self._pages = pages([len(one) for one in rows], batch_sizes, instructions, [order for order, _ in streams])
        flat = [one.x.reshape(len(one), -1) for one in rows]
        self._x = torch.cat([*flat, torch.full((1, flat[0].shape[1]), spare)])
        self._y = torch.cat([*(one.y for one in rows), torch.zeros(1, dtype=rows[0].y.dtype)])
        self.weights = Block(shape, n).fill(shape, starts)
        first = instructions[0]
        self._factor, self._mu = first.learning_rate_factor, first.proximal
        anchors = [s if one.anchor is None else one.anchor for s, one in zip(starts, instructions, strict=True)]
        self._anchor = Block(shape, n).fill(shape, anchors) if self._mu else None
        corrections = [one.correction for one in instructions if one.correction is not None]
        self._correction = Block(shape, n).fill(shape, corrections) if corrections else None
        self._fused = plan.plain and not self._mu and not corrections and not any(shape.decay)
        self._gradients = None if self._fused else Block(shape, n)
        self._moments = [Block(shape, n) for _ in range(plan.n_moments)]

    def train(self) -> None:
        """All steps of all sites, in place."""
        import torch

        weights = 1.0 / np.maximum(self._pages.n_rows, 1)
        held = np.arange(self._pages.index.shape[2]) < self._pages.n_rows[:, :, None]
        per_row = torch.from_numpy((weights[:, :, None] * held).astype(np.float32))
        index = torch.from_numpy(self._pages.index)
        with torch.no_grad():
            for step in range(len(self._pages.index)):
                active = self._pages.active(step)
                chosen = index[step, :active].reshape(-1)
                x = self._x.index_select(0, chosen).view(active, -1, self._x.shape[1])
                y = self._y.index_select(0, chosen).view(active, -1)
                self._step(step, x, y, per_row[step, :active], active)

    def _step(self, step: int, x: Tensor, y: Tensor, per_row: Tensor, active: int) -> None:
        layers = [view[:active] for view in self.weights.views]
        inputs, masks = self._forward(step, x, layers)
        d = _output_gradient(self._shape.outcome, inputs.pop(), y, per_row)
        for at in reversed(range(self._shape.n_layers)):
            before = d
            if at:
                d = _through(before, layers[2 * at], inputs[at], masks[at - 1])
            self._learn(at, before, inputs[at], active)
        if self._gradients is not None:
            self._apply(step, self._gradients, active)

    def _forward(self, step: int, x: Tensor, layers: list[Tensor]) -> tuple[list[Tensor], list[Tensor | None]]:
        """Inputs of each layer and the last layer's outputs; dropout masks of the hidden layers."""
        import torch

        inputs, masks = [x], []
        for at in range(self._shape.n_layers):
            z = torch.baddbmm(layers[2 * at + 1].unsqueeze(1), inputs[-1], layers[2 * at].mT)
            if at < self._shape.n_layers - 1:
                z = z.relu_()
                mask = self._mask(step, z, self._shape.dropout[at])
                masks.append(mask)
                z = z if mask is None else z.mul_(mask)
            inputs.append(z)
        return inputs, masks

    def _mask(self, step: int, z: Tensor, rate: float) -> Tensor | None:
        """Each site's dropout for its real rows, from its own stream."""
        import torch

        if not rate:
            return None
        mask = np.zeros(tuple(z.shape), dtype=np.float32)
        for site, n in enumerate(self._pages.n_rows[step, : len(z)]):
            mask[site, :n] = dropout_mask(self._noise[site], int(n), z.shape[2], rate)
        return torch.from_numpy(mask)

    def _learn(self, at: int, d: Tensor, a: Tensor, active: int) -> None:
        """A layer's gradient: straight into the weights where nothing else has to see it."""
        import torch

        if self._gradients is None:
            rate = self._plan.learning_rate * self._factor
            self.weights.views[2 * at][:active].baddbmm_(d.mT, a, alpha=-rate)
            self.weights.views[2 * at + 1][:active].sub_(d.sum(dim=1), alpha=rate)
            return
        torch.bmm(d.mT, a, out=self._gradients.views[2 * at][:active])
        torch.sum(d, dim=1, out=self._gradients.views[2 * at + 1][:active])

    def _apply(self, step: int, gradients: Block, active: int) -> None:
        """Decay, proximal term and correction, then the optimiser."""
        import torch

        for at, decay in enumerate(self._shape.decay):
            if decay:
                gradients.views[2 * at][:active].add_(self.weights.views[2 * at][:active], alpha=decay)
        g, w = gradients.prefix(active), self.weights.prefix(active)
        if self._anchor is not None:
            torch._foreach_add_(g, torch._foreach_sub(w, self._anchor.prefix(active)), alpha=self._mu)
        if self._correction is not None:
            torch._foreach_add_(g, self._correction.prefix(active))
        moments = [moment.prefix(active) for moment in self._moments]
        update(self._plan, w, g, moments, step=step + 1, factor=self._factor)

    def start_losses(self) -> list[float]:
        """Mean loss of each site's start on its rows; starts that are the same are asked once for all rows."""
        import torch

        bounds = np.concatenate([[0], np.cumsum([len(one) for one in self._rows])])
        by_start: dict[bytes, list[int]] = {}
        for at, start in enumerate(self._starts):
            by_start.setdefault(start.digest, []).append(at)
        found = [0.0] * len(self._starts)
        for sites in by_start.values():
            network = Perceptron(self._shape, self._starts[sites[0]])
            whole = len(by_start) == 1
            x = self._x[:-1] if whole else torch.cat([self._x[bounds[at] : bounds[at + 1]] for at in sites])
            y = self._y[:-1] if whole else torch.cat([self._y[bounds[at] : bounds[at + 1]] for at in sites])
            with torch.no_grad():
                pieces = [
                    row_losses(self._shape.outcome, network.outputs(x[at : at + PIECE]), y[at : at + PIECE])
                    for at in range(0, len(x), PIECE)
                ]
                decay = self._shape.decay_by_name
                penalty = sum(d / 2 * float((network.trainable[name] ** 2).sum()) for name, d in decay.items())
            each = np.split(torch.cat(pieces).double().numpy(), np.cumsum([len(self._rows[at]) for at in sites])[:-1])
            for at, losses in zip(sites, each, strict=True):
                found[at] = float(losses.mean()) + penalty
        return found


def _output_gradient(outcome: str, z: Tensor, y: Tensor, per_row: Tensor) -> Tensor:
    """Derivative of each site's mean loss by its outputs (A, batch, outputs); 0 on padded rows."""
    import torch

    if outcome == "classes":
        d = torch.softmax(z, dim=2)
        d.scatter_add_(2, y.unsqueeze(2), torch.full_like(y, -1, dtype=d.dtype).unsqueeze(2))
        return d.mul_(per_row.unsqueeze(2))
    d = torch.sigmoid(z[:, :, 0]).sub_(y) if outcome == "binary" else (z[:, :, 0] - y).mul_(2)
    return d.mul_(per_row).unsqueeze(2)


def _through(d: Tensor, weight: Tensor, a: Tensor, mask: Tensor | None) -> Tensor:
    """The derivative before a linear layer, its dropout and its ReLU. a: the layer's input."""
    import torch

    back: Tensor = torch.ops.aten.threshold_backward(torch.bmm(d, weight), a, 0)
    return back if mask is None else back.mul_(mask)
