"""Local gradient descent for linear predictors, in numpy: how a GLM learns by weights, without torch.

Plain SGD at a constant rate on (1/n) loss + (l2/2)|w|^2, intercept free. Many sites are trained at once:
their tables are stacked and padded, one batch of each is drawn a step. A single site is a stack of one.
Obeys `Instructions` in full. Not bit-exact between processors; nothing here decides a merge.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from cohortium.core.examples import Examples, OutcomeKind
from cohortium.core.parameters import Parameters
from cohortium.core.progress import tell
from cohortium.core.update import Fitted, Instructions
from cohortium.models.families import one_hot, outcome_of
from cohortium.models.row_sums import refuse_unusable

__all__ = ["Descent", "check_descent", "descend", "slope_residual"]

Floats = NDArray[np.float64]
Indices = NDArray[np.int64]

_LARGEST_LOG_MEAN = 14.0


@dataclass(frozen=True, kw_only=True)
class Descent:
    """What to descend. batch_size: rows a step, 0 = all of them."""

    outcome: OutcomeKind
    l2: float
    learning_rate: float
    batch_size: int


def check_descent(*, learn: str, learning_rate: float, batch_size: int) -> None:
    """Raise ValueError naming the option that is out of range."""
    if learn not in ("sums", "weights"):
        raise ValueError(f"learn must be 'sums' or 'weights', got {learn!r}")
    if not 0 < learning_rate < float("inf"):
        raise ValueError(f"learning_rate must be positive and finite, got {learning_rate}")
    if batch_size < 0:
        raise ValueError(f"batch_size must be at least 0 (0 = all rows), got {batch_size}")


def descend(
    descent: Descent,
    starts: Sequence[Parameters],
    examples: Sequence[Examples],
    *,
    instructions: Sequence[Instructions],
    rngs: Sequence[np.random.Generator],
) -> list[Fitted]:
    """Train every site from its own start; results in the order given."""
    for one in examples:
        refuse_unusable(one)
    x, y = _stacked(examples)
    n_rows = np.array([len(one) for one in examples])
    plans = [
        _plan(len(one), asked, rng, descent.batch_size)
        for one, asked, rng in zip(examples, instructions, rngs, strict=True)
    ]
    w = np.stack([_table(start) for start in starts])
    anchor = np.stack([_table(i.anchor or s) for i, s in zip(instructions, starts, strict=True)])
    correction = np.stack(
        [np.zeros(w.shape[1:]) if i.correction is None else _table(i.correction) for i in instructions]
    )
    free = np.stack([_free(i, w.shape[1:]) for i in instructions])
    proximal = _column([i.proximal for i in instructions])
    rate = _column([descent.learning_rate * i.learning_rate_factor for i in instructions])
    decay = np.full((w.shape[1], 1), descent.l2)
    decay[0] = 0.0
    loss = _mean_loss(descent.outcome, x, y, w, n_rows)

    n_steps = max((len(plan) for plan in plans), default=0)
    for t in range(n_steps):
        tell(t / n_steps)
        rows, valid = _batch(plans, t)
        at = np.arange(len(plans))[:, None]
        slope = _slope(descent.outcome, x[at, rows], y[at, rows], w, valid)
        slope = slope + decay * w + proximal * (w - anchor) + correction
        active = np.array([t < len(plan) for plan in plans])[:, None, None]
        w = w - np.where(active, free, 0.0) * rate * slope

    return [
        Fitted(parameters=_untabled(w[s], starts[s]), n_samples=int(n_rows[s]), steps=len(plans[s]),
               learning_rate=float(rate[s, 0, 0]), loss=float(loss[s]))
        for s in range(len(starts))
    ]  # fmt: skip


def _stacked(examples: Sequence[Examples]) -> tuple[Floats, Floats]:
    """Tables with a leading column of ones and outcomes (one-hot for classes), padded with zeros."""
    longest = max(1, *(len(one) for one in examples)) if examples else 1
    layout = examples[0].layout
    k = len(layout.classes) if layout.outcome == "classes" else 1
    x = np.zeros((len(examples), longest, 1 + len(layout.features)))
    y = np.zeros((len(examples), longest, k))
    for s, one in enumerate(examples):
        x[s, : len(one), 0] = 1.0
        x[s, : len(one), 1:] = one.x
        outcome = outcome_of(one)
        y[s, : len(one)] = one_hot(outcome, k) if k > 1 else outcome[:, None]
    return x, y


def _plan(n: int, asked: Instructions, rng: np.random.Generator, batch_size: int) -> list[Indices]:
    """The rows of every step. Whole tables are not shuffled."""
    size = n if batch_size == 0 else min(batch_size, n)
    steps: list[Indices] = []
    for _ in range(asked.local_epochs if n else 0):
        order = np.arange(n) if size == n else rng.permutation(n)
        steps += [order[at : at + size] for at in range(0, n, size)]
        if asked.max_steps is not None and len(steps) >= asked.max_steps:
            return steps[: asked.max_steps]
    return steps


def _batch(plans: Sequence[list[Indices]], t: int) -> tuple[Indices, Floats]:
    """Rows of step t for every site, padded with row 0; share of each row in its site's batch, (s, b, 1)."""
    chosen = [plan[t] if t < len(plan) else np.zeros(0, dtype=np.int64) for plan in plans]
    rows = np.zeros((len(plans), max(len(one) for one in chosen)), dtype=np.int64)
    share = np.zeros((*rows.shape, 1))
    for s, one in enumerate(chosen):
        rows[s, : len(one)] = one
        share[s, : len(one)] = 1.0 / max(1, len(one))
    return rows, share


def _slope(outcome: OutcomeKind, x: Floats, y: Floats, w: Floats, share: Floats) -> Floats:
    """Gradient of the mean loss, (s, q, k)."""
    residual = (_mean(outcome, x @ w) - y) * share
    slope: Floats = np.swapaxes(x, 1, 2) @ residual
    return slope


def slope_residual(outcome: OutcomeKind, eta: Floats, y: Floats) -> Floats:
    """Slope of each row's loss by its predictors, (n, k), from predictors and outcomes of that shape."""
    return _mean(outcome, eta) - y


def _mean(outcome: OutcomeKind, eta: Floats) -> Floats:
    if outcome == "number":
        return eta
    if outcome == "count":
        return np.exp(np.minimum(eta, _LARGEST_LOG_MEAN))
    if outcome == "binary":
        return np.asarray(0.5 * (1.0 + np.tanh(0.5 * eta)))
    grown = np.exp(eta - eta.max(axis=-1, keepdims=True))
    return np.asarray(grown / grown.sum(axis=-1, keepdims=True))


def _mean_loss(outcome: OutcomeKind, x: Floats, y: Floats, w: Floats, n_rows: NDArray[np.int64]) -> Floats:
    """Mean loss of every site's rows, without the penalty; NaN where there are none."""
    eta = x @ w
    if outcome == "number":
        each = 0.5 * (y - eta) ** 2
    elif outcome == "count":
        held = np.minimum(eta, _LARGEST_LOG_MEAN)
        each = np.exp(held) - y * held
    elif outcome == "binary":
        each = np.logaddexp(0.0, eta) - y * eta
    else:
        top = eta.max(axis=-1, keepdims=True)
        each = (np.log(np.exp(eta - top).sum(axis=-1, keepdims=True)) + top) - (y * eta).sum(axis=-1, keepdims=True)
    there = np.arange(x.shape[1])[None, :, None] < n_rows[:, None, None]
    total = np.where(there, each, 0.0).sum(axis=(1, 2))
    found: Floats = np.divide(total, n_rows, out=np.full(len(n_rows), np.nan), where=n_rows > 0)
    return found


def _table(parameters: Parameters) -> Floats:
    """Intercept and coefficients as one table (1 + p, k)."""
    coefficients = np.asarray(parameters["coefficients"], dtype=np.float64)
    intercept = np.asarray(parameters["intercept"], dtype=np.float64)
    wide = coefficients[:, None] if coefficients.ndim == 1 else coefficients.T
    return np.concatenate([intercept[None, :], wide])


def _untabled(table: Floats, like: Parameters) -> Parameters:
    wide = table[1:, 0] if like["coefficients"].ndim == 1 else table[1:].T
    trained = {"coefficients": wide, "intercept": table[0]}
    return Parameters({name: trained.get(name, array) for name, array in like.items()})


def _free(asked: Instructions, shape: tuple[int, ...]) -> Floats:
    free = np.ones(shape)
    if "intercept" in asked.frozen:
        free[0] = 0.0
    if "coefficients" in asked.frozen:
        free[1:] = 0.0
    return free


def _column(values: Sequence[float]) -> Floats:
    return np.array(values, dtype=np.float64)[:, None, None]
