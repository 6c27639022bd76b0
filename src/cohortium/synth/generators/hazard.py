"""Time to death and to the end of follow-up: two proportional hazards models, constant within intervals.

Log hazard = a (of the interval) + b' x, for events and for censorings alike; covariates are all other columns. Sites
send the sums of a Newton step at the shared point: gradient, curvature, expected events by interval, all of them whole
numbers rounded per patient, so the fit is that of the pooled patients. Ridge tau = 3 on b. Sampled times invert the
cumulative hazard; a patient's record is whichever of death, censoring and the longest allowed time comes first.
Design: synthetic-data.md 5.1; piecewise exponential model: Holford 1980, Friedman 1982.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import Protocol

import numpy as np
from numpy.typing import NDArray

from cohortium.core import fixed_point as fp
from cohortium.core.parameters import Parameters
from cohortium.synth.generators.design import SCORE_BITS
from cohortium.synth.generators.normal_scores import Scores

__all__ = ["Columns", "Hazard", "hazard_sums", "started"]

Floats = NDArray[np.float64]
Integers = NDArray[np.int64]

N_INTERVALS = 20
RIDGE = 3.0
CONVERGED = 1e-3
MAX_STEPS = 8
_LARGEST_STEP = 2.0
_ETA_BITS, _RESIDUAL_BITS, _WEIGHT_BITS, _X_BITS = 16, 16, 12, 8
_EXTREME = 6.0
_EVENTS_PER_INTERVAL = 5


class Columns(Protocol):
    """What the columns of a patient's row are worth: a `Design` or `Covariates`."""

    @property
    def width(self) -> int: ...
    @property
    def on_score(self) -> NDArray[np.bool_]: ...
    @property
    def scale(self) -> Floats: ...


@dataclass(frozen=True, eq=False)
class Hazard:
    """edges: where intervals begin, the first at 0; a: log hazards; b: by column (the constant's is 0)."""

    edges: Floats
    a: Floats
    b: Floats
    step: float = np.inf

    @property
    def converged(self) -> bool:
        """Whether the last step moved nothing."""
        return self.step < CONVERGED

    def advanced(self, sums: Parameters) -> Hazard:
        """The point after one Newton step on the summed sums."""
        k = len(self.a)
        events = np.asarray(sums["events"]).astype(np.float64)
        expected = fp.from_fixed(sums["expected"], _RESIDUAL_BITS)
        gradient = fp.from_fixed(sums["gradient"], _RESIDUAL_BITS + _X_BITS)[1:] - RIDGE * self.b[1:]
        weights = fp.from_fixed(sums["weights"], _WEIGHT_BITS)
        cross = fp.from_fixed(sums["cross"], _WEIGHT_BITS + _X_BITS)[:, 1:]
        curvature = fp.from_fixed(sums["curvature"], _WEIGHT_BITS + 2 * _X_BITS)[1:, 1:]
        whole = np.zeros((k + len(gradient), k + len(gradient)))
        whole[:k, :k] = np.diag(np.maximum(weights, 1e-6))
        whole[:k, k:], whole[k:, :k] = cross, cross.T
        whole[k:, k:] = curvature + RIDGE * np.eye(len(gradient))
        whole += 1e-3 * np.eye(len(whole))  # weights are rounded to 2^-12 a patient
        step = fp.solve_spd(whole, np.concatenate([events - expected, gradient]))
        longest = float(np.abs(step).max())
        step = step * min(1.0, _LARGEST_STEP / longest) if longest > 0 else step
        return replace(self, a=self.a + step[:k], b=self.b + np.concatenate([[0.0], step[k:]]), step=longest)

    def sample(self, x: Integers, columns: Columns, rng: np.random.Generator) -> Floats:
        """Times to this end for patients with these covariates."""
        eta = np.clip((x * columns.scale) @ self.b, -_EXTREME, _EXTREME)
        left = rng.exponential(size=len(x)) / np.exp(eta)
        widths = np.diff(self.edges)
        hazards = np.exp(self.a)
        cumulative = np.concatenate([[0.0], np.cumsum(hazards[:-1] * widths)])
        place = np.searchsorted(cumulative, left, side="right") - 1
        return np.asarray(self.edges[place] + (left - cumulative[place]) / hazards[place])

    def widened(self, n_more: int) -> Hazard:
        """The same point with so many columns more, each at 0 and still to be moved."""
        return replace(self, b=np.concatenate([self.b, np.zeros(n_more)]), step=np.inf)

    def to_parameters(self) -> Parameters:
        """As arrays of a state."""
        return Parameters({"edges": self.edges, "a": self.a, "b": self.b, "step": [self.step]})

    @classmethod
    def from_parameters(cls, held: Parameters) -> Hazard:
        """What `to_parameters` gave."""
        edges, a, b = (np.asarray(held[name], dtype=np.float64) for name in ("edges", "a", "b"))
        return cls(edges, a, b, float(held["step"][0]))


def started(own: Scores, at_risk: Scores, columns: Columns) -> Hazard:
    """The first point: one hazard for all, in intervals that hold equal shares of the own ends.

    own: table of the times that ended this way; at_risk: of all times.
    """
    n = int(own.counts.sum())
    k = max(1, min(N_INTERVALS, n // _EVENTS_PER_INTERVAL))
    inner = own.value(np.arange(1, k) / k) if n else np.zeros(0)
    edges = np.concatenate([[0.0], np.unique(inner[inner > 0])])
    total = float(np.sum(at_risk.value((np.arange(200) + 0.5) / 200))) / 200 * max(int(at_risk.counts.sum()), 1)
    level = float(fp.log((n + 0.5) / max(total, 1e-9)))
    return Hazard(edges, np.full(len(edges), level), np.zeros(columns.width))


def hazard_sums(point: Hazard, columns: Columns, x: Integers, time: Floats, ended: NDArray[np.bool_]) -> Parameters:
    """One site's sums at the shared point. x: (n, width) whole numbers; ended: whether it ended this way."""
    b = np.rint(point.b * 2.0**_ETA_BITS).astype(np.int64)
    on_score = columns.on_score
    steps = np.where(on_score, x, x << SCORE_BITS)
    eta = fp.from_fixed(fp.integer_dot(steps, b, what="log hazard"), _ETA_BITS + SCORE_BITS)
    relative = fp.exp(np.clip(eta, -_EXTREME, _EXTREME))
    upper = np.concatenate([point.edges[1:], [np.inf]])
    spent = np.clip(np.minimum(time[:, None], upper) - point.edges, 0.0, None)
    expected = spent * fp.exp(point.a) * relative[:, None]
    coarse = np.where(on_score, (x + (1 << (SCORE_BITS - _X_BITS - 1))) >> (SCORE_BITS - _X_BITS), x << _X_BITS)
    by_interval = fp.to_fixed(expected, _WEIGHT_BITS, what="expected events")
    residual = fp.to_fixed(ended.astype(np.float64) - fp.ordered_sum(expected, axis=1), _RESIDUAL_BITS, what="residual")
    place = np.searchsorted(point.edges, time, side="left") - 1
    events = np.bincount(np.maximum(place[ended], 0), minlength=len(point.edges)).astype(np.int64)
    return Parameters(
        {
            "events": events,
            "expected": fp.to_fixed(expected, _RESIDUAL_BITS, what="expected events").sum(axis=0),
            "gradient": fp.integer_dot(coarse.T, residual, what="gradient"),
            "weights": by_interval.sum(axis=0),
            "cross": fp.integer_dot(by_interval.T, coarse, what="curvature"),
            "curvature": fp.weighted_gram(coarse, by_interval.sum(axis=1), what="curvature"),
        }
    )
