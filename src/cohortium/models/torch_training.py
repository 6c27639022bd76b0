"""Local training of a network: batches, passes, and everything a strategy may ask of it.

A `Network` holds trainable tensors and knows its loss; `train` does the rest: `Instructions` obeyed (passes, batches,
rate, proximal term, correction, frozen arrays) or refused, own optimisers, one thread. All chance comes from one numpy
stream, split in two: the order of rows, and noise (dropout, augmentation); the same stream, the same bits on a machine.
Torch is imported when a network is trained or asked, never before. Optimiser moments start anew every round.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from typing import TYPE_CHECKING, Protocol
from weakref import WeakKeyDictionary

import numpy as np
from numpy.typing import NDArray

from cohortium.core.examples import Examples, Layout
from cohortium.core.parameters import Parameters
from cohortium.core.progress import tell
from cohortium.core.update import Fitted, Instructions
from cohortium.errors import InvariantBroken, MissingExtra, Problem, StudyError, TrainingFailed
from cohortium.models.optimisers import OptimiserPlan, update

if TYPE_CHECKING:
    from torch import Tensor

__all__ = [
    "PIECE",
    "Network",
    "Rows",
    "check_batch",
    "check_outcome",
    "fitted",
    "in_pieces",
    "n_outputs",
    "no_sums",
    "one_thread",
    "predictions",
    "refuse_adaptive",
    "require_torch",
    "row_losses",
    "rows_of",
    "tensor",
    "train",
]

PIECE = 4096
"""Rows evaluated at once where no gradient is needed."""


class Network(Protocol):
    """One network being trained: trainable tensors by name, and the mean loss of a batch.

    noise: a stream for dropout and augmentation while training, None when evaluating.
    decay: by name, lambda of lambda/2 |w|^2 (added to the gradient as lambda w).
    """

    @property
    def trainable(self) -> Mapping[str, Tensor]: ...

    @property
    def decay(self) -> Mapping[str, float]: ...

    def loss(self, x: Tensor, y: Tensor, noise: np.random.Generator | None) -> Tensor: ...


@dataclass(frozen=True, kw_only=True, eq=False)
class Rows:
    """Rows with a known outcome, as tensors: x float32; y float32, or int64 class indices."""

    x: Tensor
    y: Tensor

    def __len__(self) -> int:
        return int(self.x.shape[0])


def require_torch() -> None:
    """Raise MissingExtra where torch is not installed."""
    try:
        import torch  # noqa: F401
    except ImportError:
        raise MissingExtra("a network", extra="torch") from None


@contextmanager
def one_thread() -> Iterator[None]:
    """Run torch on one thread: small networks gain nothing from more, and the bits depend less on the machine."""
    import torch

    before = torch.get_num_threads()
    torch.set_num_threads(1)
    try:
        yield
    finally:
        torch.set_num_threads(before)


def tensor(array: NDArray[np.generic], *, dtype: str = "float32") -> Tensor:
    """A tensor of its own memory."""
    import torch

    return torch.from_numpy(np.array(array, dtype=dtype))


def check_batch(batch_size: int | None) -> None:
    """Raise ValueError unless the batch size is at least 1."""
    if batch_size is not None and batch_size < 1:
        raise ValueError(f"batch_size must be at least 1, got {batch_size}")


def check_outcome(model: str, layout: Layout, *allowed: str) -> None:
    """Raise StudyError where a model cannot learn this kind of outcome."""
    if layout.outcome not in allowed:
        message = f"model '{model}' learns outcomes of kind {', '.join(allowed)}; the study's is {layout.outcome}"
        raise StudyError([Problem("model.name", message)])


def n_outputs(layout: Layout) -> int:
    """One logit or mean, or one logit for each class."""
    return len(layout.classes) if layout.outcome == "classes" else 1


def no_sums(model: str) -> InvariantBroken:
    """The error of a learner by weights that is asked to learn from sums."""
    return InvariantBroken(f"model '{model}' learns by weights; it has no leader half")


def refuse_adaptive(model: str, plan: OptimiserPlan, instructions: Instructions) -> None:
    """Raise StudyError when plain SGD is asked of a model that was told to use something else."""
    if not plan.plain and (instructions.plain_sgd or instructions.correction is not None):
        message = f"model '{model}' uses {plan.name}, but the strategy needs plain SGD; set model.optimiser = \"sgd\""
        raise StudyError([Problem("model.optimiser", message)])


def rows_of(examples: Examples) -> Rows:
    """The rows whose outcome is known. Raises TrainingFailed for none, and for missing or infinite values in x.

    Checked and converted once for each `Examples` object, which is frozen: a run asks for the same ones every round.
    """
    if examples not in _ROWS:
        _ROWS[examples] = _converted(examples)
    return _ROWS[examples]


_ROWS: WeakKeyDictionary[Examples, Rows] = WeakKeyDictionary()


def _converted(examples: Examples) -> Rows:
    if examples.y is None:
        raise TrainingFailed("the examples hold no outcome a network could learn", code="outcome")
    known = np.isfinite(examples.y)
    if not known.any():
        raise TrainingFailed("no training row has a known outcome", code="empty")
    x, y = (examples.x, examples.y) if known.all() else (examples.x[known], examples.y[known])
    if not np.isfinite(x).all():
        n_bad = int(x.size - np.count_nonzero(np.isfinite(x)))
        message = f"{n_bad} of {x.size} feature values are missing or infinite"
        raise TrainingFailed(message, code="missing", hint='fill them first: cohort.fill = "mean"')
    with_classes = examples.layout.outcome == "classes"
    return Rows(x=tensor(x), y=tensor(y, dtype="int64" if with_classes else "float32"))


def row_losses(outcome: str, outputs: Tensor, y: Tensor) -> Tensor:
    """Loss of each row, (n,): cross-entropy of logits (n, 1) or (n, k), squared error of means (n, 1)."""
    from torch.nn import functional

    if outcome == "classes":
        return functional.cross_entropy(outputs, y, reduction="none")
    if outcome == "binary":
        return functional.binary_cross_entropy_with_logits(outputs[:, 0], y, reduction="none")
    return (outputs[:, 0] - y) ** 2


def predictions(outcome: str, outputs: Tensor) -> NDArray[np.float64]:
    """Logits as P(1), (n,), or class probabilities, (n, k); means as they are, (n,)."""
    import torch

    wide = outputs.to(torch.float64)
    if outcome == "classes":
        return np.asarray(torch.softmax(wide, dim=1).numpy())
    return np.asarray((torch.sigmoid(wide[:, 0]) if outcome == "binary" else wide[:, 0]).numpy())


def in_pieces(function: Callable[[Tensor], Tensor], x: NDArray[np.floating]) -> Tensor:
    """`function` of all rows, a few thousand at a time, without gradients, on one thread."""
    import torch

    require_torch()
    with torch.no_grad(), one_thread():
        pieces = [function(tensor(x[at : at + PIECE])) for at in range(0, max(len(x), 1), PIECE)]
    return torch.cat(pieces)


def train(
    network: Network,
    rows: Rows,
    *,
    start: Parameters,
    instructions: Instructions,
    plan: OptimiserPlan,
    batch_size: int,
    rng: np.random.Generator,
    least_batch: int = 1,
) -> tuple[int, float]:
    """Train in place; (steps taken, mean loss of the start). start: what the network holds, the anchor unless named.

    least_batch: a last batch of fewer rows joins the one before it (batch normalisation needs two).
    """
    import torch

    order, noise = rng.spawn(2)
    names = [name for name in network.trainable if name not in instructions.frozen]
    parameters = [network.trainable[name] for name in names]
    pull = _pull(names, network, start, instructions)
    moments = [[torch.zeros_like(p) for p in parameters] for _ in range(plan.n_moments)]
    with one_thread():
        loss = _mean_loss(network, rows)
        step, most = 0, _most_steps(len(rows), batch_size, instructions)
        for chosen in _batches(len(rows), batch_size, instructions, order, least_batch):
            tell(step / most)
            step += 1
            index = torch.from_numpy(chosen)
            value = network.loss(rows.x[index], rows.y[index], noise)
            gradients = torch.autograd.grad(value, parameters, allow_unused=True, materialize_grads=True)
            with torch.no_grad():
                changed = pull(list(gradients))
                update(plan, parameters, changed, moments, step=step, factor=instructions.learning_rate_factor)
    return step, loss


def _most_steps(n: int, batch_size: int, instructions: Instructions) -> int:
    steps = max(1, math.ceil(n / batch_size) * instructions.local_epochs)
    return steps if instructions.max_steps is None else max(1, min(steps, instructions.max_steps))


def _batches(
    n: int, batch_size: int, instructions: Instructions, order: np.random.Generator, least: int
) -> Iterator[NDArray[np.int64]]:
    """Row numbers batch by batch, a new order for every pass."""
    left = instructions.max_steps if instructions.max_steps is not None else n * instructions.local_epochs
    for _ in range(instructions.local_epochs):
        if left <= 0:
            return
        shuffled = order.permutation(n)
        cuts = list(range(batch_size, n, batch_size))
        if cuts and n - cuts[-1] < least:
            cuts.pop()
        for chosen in np.split(shuffled, cuts)[:left]:
            yield chosen
            left -= 1


def _mean_loss(network: Network, rows: Rows) -> float:
    """The loss of all rows as the network stands, penalty included."""
    import torch

    with torch.no_grad():
        total = 0.0
        for at in range(0, len(rows), PIECE):
            x, y = rows.x[at : at + PIECE], rows.y[at : at + PIECE]
            total += float(network.loss(x, y, None)) * len(x)
        squares = {name: float((network.trainable[name] ** 2).sum()) for name in network.decay}
    return total / len(rows) + sum(weight / 2 * squares[name] for name, weight in network.decay.items())


def _pull(
    names: list[str], network: Network, start: Parameters, instructions: Instructions
) -> Callable[[list[Tensor]], list[Tensor]]:
    """What is added to every gradient: decay w, mu (w - anchor), the correction."""
    import torch

    parameters = [network.trainable[name] for name in names]
    decayed = [at for at, name in enumerate(names) if network.decay.get(name, 0.0)]
    mu = instructions.proximal
    anchor = instructions.anchor if instructions.anchor is not None else start
    anchors = [tensor(anchor[name]) for name in names] if mu else []
    extra = [tensor(instructions.correction[name]) for name in names] if instructions.correction is not None else []

    def pull(gradients: list[Tensor]) -> list[Tensor]:
        for at in decayed:
            gradients[at] = gradients[at].add(parameters[at], alpha=network.decay[names[at]])
        if mu:
            away = torch._foreach_sub(parameters, anchors)
            gradients = list(torch._foreach_add(gradients, away, alpha=mu))
        if extra:
            gradients = list(torch._foreach_add(gradients, extra))
        return gradients

    return pull


def fitted(
    parameters: Parameters, rows: Rows, plan: OptimiserPlan, instructions: Instructions, *, steps: int, loss: float
) -> Fitted:
    """The answer to a strategy: the rate is told only where it means something (plain SGD)."""
    rate = plan.learning_rate * instructions.learning_rate_factor if plan.plain else 0.0
    return Fitted(parameters=parameters, n_samples=len(rows), steps=steps, learning_rate=rate, loss=loss)
