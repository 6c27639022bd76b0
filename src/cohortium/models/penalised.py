"""Elastic net and LASSO: `ElasticNet`, `Lasso`, by exact sums, for binary, count and number outcomes.

Minimises (1/n) loss + l1 |w|_1 + (l2/2)|w|^2, intercept free. Proximal Newton: `advance` minimises the quadratic
of the summed gradient and second derivatives by coordinate descent; the next exchange judges the step (`newton`).
It ends when no optimality condition is broken by more than 1e-6, which took 3-7 exchanges against hundreds
of a first-order method. Up to 2,000 columns all second derivatives travel; above, those of a working set
(coefficients that are not 0, and columns whose gradient nearly reaches l1), and the gradient of all columns.
A number outcome needs one exchange (`least_squares`); its conditions hold to 1e-6 of the outcome's sd.
Design: clinical-learning.md 2.3.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import ClassVar, Literal

import numpy as np
from numpy.typing import NDArray

from cohortium.core import fixed_point as fp
from cohortium.core.examples import Examples, Layout, OutcomeKind
from cohortium.core.parameters import Parameters
from cohortium.core.update import Fitted, Instructions
from cohortium.errors import DataError
from cohortium.models import newton
from cohortium.models.coordinate_descent import minimise, violations
from cohortium.models.derivatives import (
    derivative_sums,
    first_precision,
    gradient_of,
    point_of,
    precision,
    second_derivatives,
)
from cohortium.models.families import FAMILIES, check_layout
from cohortium.models.glm import predicted_mean
from cohortium.models.least_squares import moment_sums, moments
from cohortium.models.newton import Search
from cohortium.models.row_sums import LOSS_BITS, on_grid

__all__ = ["MAX_WORKING", "ElasticNet", "Lasso"]

Floats = NDArray[np.float64]

MAX_WORKING = 2_000
"""Columns whose second derivatives are exchanged at once (16 MB)."""

_KKT = 1e-6
_OUTCOMES: tuple[OutcomeKind, ...] = ("binary", "count", "number")
_NEARLY = 0.9


@dataclass(frozen=True, kw_only=True)
class ElasticNet:
    """A sparse model of a binary, count or number outcome.

    l1, l2: penalties per patient. max_rounds: exchanges at most.
    Parameters: `coefficients` (p,), `intercept` (1,), `violation` (1,): the largest broken optimality condition.
    """

    l1: float = 0.05
    l2: float = 0.01
    max_rounds: int = 40

    learns_by: ClassVar[Literal["sums"]] = "sums"

    def __post_init__(self) -> None:
        _check(l1=self.l1, l2=self.l2, max_rounds=self.max_rounds)

    def initial(self, layout: Layout, *, rng: np.random.Generator) -> Parameters:
        """All coefficients 0. Raises DataError for another outcome, or a number with more than 2,000 columns."""
        return _initial(layout, model="elastic-net")

    def fit(
        self, start: Parameters, examples: Examples, *, instructions: Instructions, rng: np.random.Generator
    ) -> Fitted:
        """Loss, gradient of all columns, second derivatives of the working set; for a number its moments."""
        return _sums(start, examples)

    def advance(self, start: Parameters, total: Parameters) -> Parameters:
        """Judge the point, minimise the new quadratic."""
        return _advance(start, total, l1=self.l1, l2=self.l2, max_rounds=self.max_rounds)

    def finished(self, parameters: Parameters) -> bool:
        """Optimal to 1e-6, or out of rounds."""
        return newton.over(parameters)

    def predict(self, parameters: Parameters, examples: Examples) -> Floats:
        """P(1), expected count or expected number, (n,)."""
        return predicted_mean(parameters, examples)

    def parts(self, parameters: Parameters) -> Mapping[str, tuple[str, ...]]:
        """The intercept is what a site may keep to itself."""
        return {"head": ("intercept",)}


@dataclass(frozen=True, kw_only=True)
class Lasso:
    """`ElasticNet` without the quadratic penalty."""

    l1: float = 0.05
    max_rounds: int = 40

    learns_by: ClassVar[Literal["sums"]] = "sums"

    def __post_init__(self) -> None:
        _check(l1=self.l1, l2=0.0, max_rounds=self.max_rounds)

    def initial(self, layout: Layout, *, rng: np.random.Generator) -> Parameters:
        """As `ElasticNet`."""
        return _initial(layout, model="lasso")

    def fit(
        self, start: Parameters, examples: Examples, *, instructions: Instructions, rng: np.random.Generator
    ) -> Fitted:
        """As `ElasticNet`."""
        return _sums(start, examples)

    def advance(self, start: Parameters, total: Parameters) -> Parameters:
        """As `ElasticNet`."""
        return _advance(start, total, l1=self.l1, l2=0.0, max_rounds=self.max_rounds)

    def finished(self, parameters: Parameters) -> bool:
        """Optimal to 1e-6, or out of rounds."""
        return newton.over(parameters)

    def predict(self, parameters: Parameters, examples: Examples) -> Floats:
        """P(1), expected count or expected number, (n,)."""
        return predicted_mean(parameters, examples)

    def parts(self, parameters: Parameters) -> Mapping[str, tuple[str, ...]]:
        """The intercept is what a site may keep to itself."""
        return {"head": ("intercept",)}


def _check(*, l1: float, l2: float, max_rounds: int) -> None:
    for option, value in (("l1", l1), ("l2", l2)):
        if not 0 <= value < float("inf"):
            raise ValueError(f"{option} must be at least 0 and finite, got {value}")
    if max_rounds < 1:
        raise ValueError(f"max_rounds must be at least 1, got {max_rounds}")


def _initial(layout: Layout, *, model: str) -> Parameters:
    check_layout(layout, _OUTCOMES, model=model)
    p = layout.n_features
    if layout.outcome == "number" and p > MAX_WORKING:
        raise DataError(f"model '{model}' learns a number from at most {MAX_WORKING} columns, got {p}")
    working = np.arange(p, dtype=np.int64) if p <= MAX_WORKING else np.zeros(0, dtype=np.int64)
    kind = np.array([_OUTCOMES.index(layout.outcome)], dtype=np.int64)
    found = {"coefficients": np.zeros(p), "intercept": np.zeros(1), "kind": kind, "violation": np.zeros(1)}
    search = Search.begin(np.zeros(p + 1)).write()
    return Parameters({**found, "working": working, **search}) | first_precision(FAMILIES[layout.outcome])


def _sums(start: Parameters, examples: Examples) -> Fitted:
    newton.raise_if_failed(start, examples.layout)
    if examples.layout.outcome == "number":
        return Fitted(parameters=moment_sums(examples), n_samples=len(examples))
    working = np.concatenate([[0], np.asarray(start["working"], dtype=np.int64) + 1])
    return Fitted(parameters=derivative_sums(start, examples, columns=working), n_samples=len(examples))


def _advance(start: Parameters, total: Parameters, *, l1: float, l2: float, max_rounds: int) -> Parameters:
    theta = point_of(start)
    penalties = {"l1": np.full(len(theta), l1), "l2": np.full(len(theta), l2)}
    for one in penalties.values():
        one[0] = 0.0
    if _OUTCOMES[int(start["kind"][0])] == "number":
        return _least_squares(start, total, l1=l1, l2=l2)
    kind = _OUTCOMES[int(start["kind"][0])]
    search = Search.read(start, theta)
    n, refused = (int(v) for v in total["rows"])
    y = int(total["outcome"][0])
    if search.rounds == 0 and (y == 0 or (y == n and kind == "binary")):
        return _written(start, replace(search, status=newton.ONE_CLASS))
    each = penalties["l1"] * np.abs(theta) + 0.5 * penalties["l2"] * theta * theta
    objective = float(fp.from_fixed(total["loss"], LOSS_BITS)[0]) / n + float(fp.ordered_sum(each))
    tolerance = 2.0 ** (-LOSS_BITS - 1) + abs(objective) * 2.0**-40
    if not search.falls(objective, tolerance=tolerance, rows=n, refused=refused):
        return _written(start, search.halved(max_rounds=max_rounds))
    if search.rounds == 0 and kind == "count":
        to_mean = np.zeros_like(theta)
        to_mean[0] = float(fp.log(y / n))
        search = search.moved(to_mean, objective=objective, rows=n, max_rounds=max_rounds, converged=False)
        return _written(start | precision(FAMILIES["count"], events=y), search)
    slope = -gradient_of(start, total) / n
    broken = float(np.max(violations(slope, theta, **penalties)))
    state = start | Parameters({"violation": [broken]})
    if search.rounds == 0:
        state |= precision(FAMILIES[kind], rows=n)
    working = np.concatenate([[0], np.asarray(start["working"], dtype=np.int64) + 1])
    hessian = second_derivatives(start, total, len(working))
    step = np.zeros_like(theta)
    if broken > _KKT:
        chosen = {name: one[working] for name, one in penalties.items()}
        best = minimise(slope[working], hessian / n, theta[working], tolerance=max(broken / 100, 1e-8), **chosen)
        step[working] = best - theta[working]
    if len(theta) > MAX_WORKING + 1:
        state |= Parameters({"working": _worth_working_on(slope, theta + step, l1=l1)})
    search = search.moved(step, objective=objective, rows=n, max_rounds=max_rounds, converged=broken <= _KKT)
    return _written(state, search)


def _worth_working_on(slope: Floats, theta: Floats, *, l1: float) -> NDArray[np.int64]:
    """Columns with a coefficient, and those whose gradient nearly reaches l1, the steepest first up to the limit."""
    size = np.abs(slope[1:])
    wanted = np.where(theta[1:] != 0, np.inf, np.where(size > _NEARLY * l1, size, 0.0))
    first = np.argsort(-wanted, kind="stable")[:MAX_WORKING]
    return np.sort(first[wanted[first] > 0]).astype(np.int64)


def _least_squares(start: Parameters, total: Parameters, *, l1: float, l2: float) -> Parameters:
    found = moments(total, start["coefficients"].size)
    p, n = len(found.xy), max(found.n, 1)
    scale = float(np.sqrt(found.yy / n)) or 1.0
    wide = {"l1": np.full(p, l1 / scale), "l2": np.full(p, l2)}
    slope, hessian = -found.xy / n / scale, found.xx / n
    unit = minimise(slope, hessian, np.zeros(p), tolerance=_KKT, **wide)
    broken = float(np.max(violations(slope + fp.matvec(hessian, unit), unit, **wide), initial=0.0))
    w = unit * scale
    intercept = found.y_mean - float(fp.ordered_sum(w * found.x_mean))
    search = replace(Search.begin(np.zeros(p + 1)), status=newton.CONVERGED, rounds=1)
    ended = {"coefficients": w, "intercept": [intercept], "violation": [broken]}
    return start | Parameters({**ended, **search.write()})


def _written(state: Parameters, search: Search) -> Parameters:
    point = on_grid(search.point)
    return state | Parameters({"coefficients": point[1:], "intercept": point[:1], **search.write()})
