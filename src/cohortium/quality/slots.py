"""Logistic probes in slots: every half of the consortium is one slot, and one sum of integers trains them all.

A site adds to the slots of the halves it belongs to and leaves zeros in the others. Per slot the sums are the loss,
its gradient and its second derivatives at the slot's own point, weighted by trust; each record's term is rounded to a
multiple of a fixed step first, so totals are exact for any order and any partition. `newton` is the leader half: it
accepts or halves each slot's step and proposes the next, bit for bit the same at all nodes.

The objective of a slot is sum q_i loss_i + |w|^2 / (2 C), C = 0.1, intercept free. Design: harmful-data.md 5.1.
"""

from __future__ import annotations

import math
from dataclasses import dataclass, replace

import numpy as np
from numpy.typing import NDArray

from cohortium.core import fixed_point as fp
from cohortium.core.parameters import Parameters

__all__ = ["EXACT", "MAX_COLUMNS", "ROUGH", "Slots", "begin", "logits", "newton", "on_grid", "slot_sums", "weights_of"]

Floats = NDArray[np.float64]
Integers = NDArray[np.int64]

EXACT, ROUGH = 2.0**-16, 2.0**-1
"""Newton steps below which a search ends: as in the models, or for halves; the error left is about its square.

Halves start near the probe of everybody, so most need one step; half the exchanges of 2^-4, and no site judged
otherwise by more than chance (docs/results.md)."""

MAX_COLUMNS = 256
"""Columns up to which second derivatives are exchanged; a slot of 256 columns is 33,153 numbers."""

X_BITS, _POINT_BITS, _RESIDUAL_BITS, _WEIGHT_BITS, _LOSS_BITS = 12, 20, 20, 14, 20
_PENALTY = 10.0  # 1 / C
_SMALLEST_SHARE = 2.0**-8
_MAX_STEPS = 12
_LARGEST = 30.0
_BLOCK = 4096
_SKIPPED = 0.05


@dataclass(frozen=True, kw_only=True, eq=False)
class Slots:
    """Where the searches stand. point, accepted, step: (slots, 1 + d), the intercept first; the others (slots,).

    steps: exchanges so far.
    """

    point: Floats
    accepted: Floats
    step: Floats
    objective: Floats
    share: Floats
    done: NDArray[np.bool_]
    steps: int = 0

    def write(self, prefix: str) -> Parameters:
        """As arrays of a state."""
        return Parameters({
            f"{prefix}/point": self.point, f"{prefix}/accepted": self.accepted, f"{prefix}/step": self.step,
            f"{prefix}/objective": self.objective, f"{prefix}/share": self.share, f"{prefix}/done": self.done,
            f"{prefix}/steps": np.array([self.steps], dtype=np.int64),
        })  # fmt: skip

    @classmethod
    def read(cls, state: Parameters, prefix: str) -> Slots:
        """Back from a state."""
        arrays = {name: np.asarray(state[f"{prefix}/{name}"], dtype=np.float64)
                  for name in ("point", "accepted", "step", "objective", "share")}  # fmt: skip
        done = np.asarray(state[f"{prefix}/done"], dtype=bool)
        return cls(**arrays, done=done, steps=int(state[f"{prefix}/steps"][0]))


def on_grid(values: Floats) -> Floats:
    """Coefficients as multiples of 2^-20, where a predictor can use them exactly."""
    return fp.from_fixed(fp.to_fixed(values, _POINT_BITS, what="probe"), _POINT_BITS)


def begin(n_slots: int, n_columns: int, *, rng: np.random.Generator, around: Floats | None = None) -> Slots:
    """Every slot from a random point of its own, near `around` (1 + d,) or zero.

    With equal points the first sums of overlapping halves would give single sites by subtraction.
    """
    start = np.zeros(1 + n_columns) if around is None else around
    point = on_grid(start + rng.normal(scale=0.05, size=(n_slots, 1 + n_columns)))
    return Slots(
        point=point,
        accepted=point,
        step=np.zeros_like(point),
        objective=np.full(n_slots, math.inf),
        share=np.ones(n_slots),
        done=np.zeros(n_slots, dtype=bool),
    )


def weights_of(q: Floats) -> Floats:
    """Trust as the probes use it: records at or below .05 are skipped."""
    return np.where(q > _SKIPPED, q, 0.0)


def logits(x: Integers, points: Floats) -> Floats:
    """Exact predictors of every slot, (n, slots). x: (n, d) at 2^-12; points: (slots, 1 + d) on the grid."""
    fixed = fp.to_fixed(points, _POINT_BITS, what="probe")
    found = fp.integer_dot(x, np.ascontiguousarray(fixed[:, 1:].T), what="logits")
    return fp.from_fixed(found + (fixed[:, 0] << X_BITS), X_BITS + _POINT_BITS)


def slot_sums(x: Integers, y: Floats, q: Floats, member: NDArray[np.bool_], slots: Slots) -> dict[str, Integers]:
    """One answer: `loss` (slots,), `gradient` (slots, 1 + d), `hessian` (slots, packed), `used` records (slots,).

    x: (n, d) at 2^-12; member: (n, slots). Finished slots and records without weight are left out.
    """
    n_slots, width = slots.point.shape
    sums = {
        "loss": np.zeros(n_slots, dtype=np.int64),
        "gradient": np.zeros((n_slots, width), dtype=np.int64),
        "hessian": np.zeros((n_slots, width * (width + 1) // 2), dtype=np.int64),
        "used": np.zeros(n_slots, dtype=np.int64),
    }
    for slot in np.flatnonzero(~slots.done):
        rows = member[:, slot] & (q > 0)
        for at in range(0, int(rows.sum()), _BLOCK):
            chosen = np.flatnonzero(rows)[at : at + _BLOCK]
            _add(sums, int(slot), x[chosen], y[chosen], q[chosen], slots.point[slot])
    return sums


def _add(sums: dict[str, Integers], slot: int, x: Integers, y: Floats, q: Floats, point: Floats) -> None:
    eta = logits(x, point[None, :])[:, 0]
    mean = fp.sigmoid(eta)
    residual = fp.to_fixed(q * (y - mean), _RESIDUAL_BITS, what="residuals")
    weight = fp.to_fixed(q * mean * (1.0 - mean), _WEIGHT_BITS, what="weights")
    design = np.concatenate([np.full((len(x), 1), 1 << X_BITS, dtype=np.int64), x], axis=1)
    sums["loss"][slot] += fp.to_fixed(q * (fp.log1p_exp(eta) - y * eta), _LOSS_BITS, what="loss").sum()
    sums["gradient"][slot] += fp.integer_dot(design.T, residual, what="gradient")
    square = fp.weighted_gram(design, weight, what="second derivatives")
    sums["hessian"][slot] += square[np.triu_indices(len(square))]
    sums["used"][slot] += len(x)


def newton(slots: Slots, total: Parameters, *, settled: float) -> Slots:
    """Judge every slot's point by the merged sums and propose the next; a worse one is halved back.

    settled: the Newton step below which a slot is done.
    """
    found = [_advance(slots, total, slot, settled) for slot in range(len(slots.point))]
    point, accepted, step, objective, share, done = (np.array(one) for one in zip(*found, strict=True))
    over = slots.steps + 1 >= _MAX_STEPS
    return Slots(point=point, accepted=accepted, step=step, objective=objective, share=share,
                 done=done | over, steps=slots.steps + 1)  # fmt: skip


def _advance(
    slots: Slots, total: Parameters, slot: int, settled: float
) -> tuple[Floats, Floats, Floats, float, float, bool]:
    one = replace(slots, point=slots.point[slot], accepted=slots.accepted[slot], step=slots.step[slot])
    before, share = float(slots.objective[slot]), float(slots.share[slot])
    if slots.done[slot]:
        return one.point, one.accepted, one.step, before, share, True
    penalty = np.full(len(one.point), _PENALTY)
    penalty[0] = 1e-3  # keeps a slot without curvature solvable
    loss = float(fp.from_fixed(total["loss"][slot], _LOSS_BITS))
    objective = loss + 0.5 * float(fp.ordered_sum(penalty * one.point * one.point))
    if objective > before + 1e-3:
        if share <= _SMALLEST_SHARE:
            return one.accepted, one.accepted, one.step, before, share, True
        return on_grid(one.accepted + 0.5 * share * one.step), one.accepted, one.step, before, 0.5 * share, False
    gradient = fp.from_fixed(total["gradient"][slot], X_BITS + _RESIDUAL_BITS) - penalty * one.point
    step = fp.solve_spd(_square(total["hessian"][slot], len(penalty)) + np.diag(penalty), gradient)
    longest = float(np.max(np.abs(one.point + step)))
    if longest > _LARGEST:
        step = step * (_LARGEST / float(np.max(np.abs(step))))
    done = bool(np.max(np.abs(step)) < settled)
    return on_grid(one.point + step), one.point, step, objective, 1.0, done


def _square(packed: NDArray[np.generic], width: int) -> Floats:
    rows, columns = np.triu_indices(width)
    whole = np.zeros((width, width))
    values = fp.from_fixed(np.asarray(packed, dtype=np.int64), 2 * X_BITS + _WEIGHT_BITS)
    whole[rows, columns] = values
    whole[columns, rows] = values
    return whole
