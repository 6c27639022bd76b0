"""Damped Newton as a state machine: one exchange of sums per point, and the next exchange judges the step.

`point` is where the sums of the coming exchange are taken. If the objective there is not above that of
`accepted`, the point is accepted and a new step is computed from the sums already in hand; otherwise the
step is halved and tried again. An accepted step therefore costs no extra exchange. Every operation is
element-wise or from `core.fixed_point`, so all nodes find the same bits.

Sites may leave and come back between exchanges. Objectives over different patients cannot be compared: when their
number changes, the point is accepted as it is, and the search goes on from there over those who are in.

A search lives in `Parameters` under `newton/` between exchanges; `Search.write` and `read` convert.
Without halving, Cox regression on mds_tp53 ended in NaN (clinical-learning.md 2.4).
"""

from __future__ import annotations

import math
from dataclasses import dataclass, replace

import numpy as np
from numpy.typing import NDArray

from cohortium.core import fixed_point as fp
from cohortium.core.examples import Layout
from cohortium.core.parameters import Parameters
from cohortium.errors import TrainingFailed
from cohortium.models.row_sums import on_grid

__all__ = [
    "CONVERGED",
    "LIMIT",
    "ONE_CLASS",
    "RUNNING",
    "SEPARATED",
    "SEPARATION",
    "STALLED",
    "STEP_TOLERANCE",
    "Search",
    "aliased",
    "covariance",
    "flat",
    "newton_step",
    "out_of_rounds",
    "over",
    "raise_if_failed",
]

Floats = NDArray[np.float64]

RUNNING, CONVERGED, SEPARATED, STALLED, LIMIT, ONE_CLASS = range(6)

STEP_TOLERANCE = 2.0**-16
"""A search has converged when no coefficient of the Newton step reaches this."""

SEPARATION = 15.0
"""A coefficient per standard deviation beyond this means that the outcome is told apart perfectly."""

_FURTHEST = 4 * SEPARATION
_SMALLEST_SHARE = 2.0**-20
_SMALLEST_PIVOT = 2.0**-20
_FLAT = 2.0**-20  # curvature per patient and squared sd: below, the outcome is told apart perfectly
_RAISED = (0.0, 2.0**-12, 2.0**-6, 1.0)


@dataclass(frozen=True, kw_only=True, eq=False)
class Search:
    """Where a search stands. objective: at `accepted`, over `rows` patients; infinite before the first exchange.

    share: of `step` tried.
    """

    point: Floats
    accepted: Floats
    step: Floats
    objective: float = math.inf
    rows: int = 0
    share: float = 1.0
    rounds: int = 0
    status: int = RUNNING

    @classmethod
    def begin(cls, point: Floats) -> Search:
        """A search that has seen nothing yet."""
        return cls(point=on_grid(point), accepted=point, step=np.zeros_like(point))

    @classmethod
    def read(cls, state: Parameters, point: Floats) -> Search:
        """The search kept in `state`; `point` is kept by the learner under its own names."""
        objective, share, rounds, status, rows = (float(v) for v in state["newton/record"])
        return cls(point=point, accepted=np.asarray(state["newton/accepted"], dtype=np.float64),
                   step=np.asarray(state["newton/step"], dtype=np.float64), objective=objective, share=share,
                   rounds=int(rounds), status=int(status), rows=int(rows))  # fmt: skip

    def write(self) -> dict[str, object]:
        """Everything but the point, by name."""
        record = np.array([self.objective, self.share, self.rounds, self.status, self.rows], dtype=np.float64)
        return {"newton/record": record, "newton/accepted": self.accepted, "newton/step": self.step}

    def falls(self, objective: float, *, tolerance: float, rows: int, refused: int = 0) -> bool:
        """Whether the point may be accepted. rows: patients summed over; refused: those too far away to sum."""
        if refused or math.isnan(objective):
            return False
        return rows != self.rows or objective <= self.objective + tolerance

    def halved(self, *, max_rounds: int) -> Search:
        """Half the way back to the accepted point."""
        share = self.share / 2
        status = STALLED if share < _SMALLEST_SHARE else self._limit(max_rounds)
        point = on_grid(self.accepted + share * self.step)
        return replace(self, point=self.accepted if status else point, share=share, rounds=self.rounds + 1,
                       status=status)  # fmt: skip

    def moved(
        self, step: Floats | None, *, objective: float, rows: int, max_rounds: int, converged: bool | None = None
    ) -> Search:
        """The point accepted and a step of full length proposed; `None`: the objective is flat, there is no step.

        rows: patients summed over. converged: None asks the length of the step.
        """
        here = replace(self, accepted=self.point, objective=objective, rows=rows, share=1.0, rounds=self.rounds + 1)
        if step is None:
            return replace(here, status=SEPARATED)
        if converged is None:
            converged = bool(np.max(np.abs(step), initial=0.0) < STEP_TOLERANCE)
        if converged:
            return replace(here, point=on_grid(self.point + step), step=step, status=CONVERGED)
        if np.max(np.abs(self.point), initial=0.0) > SEPARATION:
            return replace(here, status=SEPARATED)
        step = _within_reach(self.point, step)
        status = here._limit(max_rounds, spent=0)
        return replace(here, point=self.point if status else on_grid(self.point + step), step=step, status=status)

    def _limit(self, max_rounds: int, *, spent: int = 1) -> int:
        return LIMIT if self.rounds + spent >= max_rounds else RUNNING


def _within_reach(point: Floats, step: Floats) -> Floats:
    """The step, shortened where it ends so far beyond separation that sites could not sum the predictors."""
    furthest = float(np.max(np.abs(point + step), initial=0.0))
    return step if furthest <= _FURTHEST else step * (_FURTHEST / float(np.max(np.abs(step))))


def newton_step(gradient: Floats, hessian: Floats, *, held: NDArray[np.bool_], n: int) -> Floats | None:
    """d with H d = g, where `held` coefficients stay; None where hardly any curvature is left for n patients.

    Rounded sums may leave H a little short of positive definite: then its diagonal is raised, which makes
    the step shorter and changes nothing about where the search ends.
    """
    free = np.flatnonzero(~held)
    step = np.zeros(len(gradient))
    square = hessian[np.ix_(free, free)]
    if flat(hessian, held=held, n=n):
        return None
    for raised in _RAISED:
        try:
            step[free] = fp.solve_spd(square + np.diag(raised * np.diagonal(square)), gradient[free])
        except fp.NotPositiveDefinite:
            continue
        return step
    return None


def flat(hessian: Floats, *, held: NDArray[np.bool_], n: int) -> bool:
    """Whether the objective of n patients hardly curves along some coefficient that is not held."""
    return not (np.diagonal(hessian)[~held] > n * _FLAT).all()


def aliased(hessian: Floats) -> NDArray[np.bool_]:
    """Coefficients that cannot be told from those before them (a constant column, a copy, a dummy too many).

    As R's glm does: in order, a column whose remaining variance is below 2^-20 of its own is left at 0.
    """
    left = np.array(hessian, dtype=np.float64)
    diagonal = np.diagonal(hessian).copy()
    found = np.zeros(len(left), dtype=bool)
    for k in range(len(left)):
        pivot = left[k, k]
        if pivot <= _SMALLEST_PIVOT * diagonal[k] or pivot <= 0:
            found[k] = True
            continue
        column = left[k + 1 :, k] / pivot
        left[k + 1 :, k + 1 :] -= column[:, None] * left[k, k + 1 :]
    return found


def covariance(hessian: Floats, *, held: NDArray[np.bool_]) -> Floats:
    """The inverse of the second derivatives; rows and columns that are held, or all without an inverse, are 0."""
    free = np.flatnonzero(~held)
    found = np.zeros_like(hessian)
    try:
        found[np.ix_(free, free)] = fp.inverse_spd(hessian[np.ix_(free, free)])
    except fp.NotPositiveDefinite:
        return np.zeros_like(hessian)
    return found


def over(state: Parameters) -> bool:
    """Whether the search has ended with a model: converged, or out of rounds."""
    return int(state["newton/record"][3]) in (CONVERGED, LIMIT)


def out_of_rounds(state: Parameters) -> bool:
    """Whether a search was cut off by its `max_rounds`: a model, but not yet the optimum. False for other models."""
    return "newton/record" in state and int(state["newton/record"][3]) == LIMIT


def raise_if_failed(state: Parameters, layout: Layout) -> None:
    """Raise TrainingFailed where the merged sums showed that there is no answer; every site raises the same."""
    status = int(state["newton/record"][3])
    if status == ONE_CLASS:
        raise TrainingFailed("all training rows have the same outcome, so nothing can be learned", code="one_class")
    if status == SEPARATED:
        sizes = np.abs(np.atleast_2d(state["coefficients"])).max(axis=0)
        worst = [layout.features[j] for j in np.argsort(-sizes, kind="stable")[:3] if sizes[j] > SEPARATION / 3]
        names = ", ".join(repr(name) for name in worst)
        which = "the columns tell outcomes apart perfectly"
        if len(worst) == 1:
            which = f"column {names} tells outcomes apart perfectly"
        elif worst:
            which = f"columns {names} tell outcomes apart perfectly, or nearly copy each other"
        raise TrainingFailed(f"separation: {which}, so coefficients grow without end; raise l2", code="separation",
                             hint="raise model.l2, or leave the column out")  # fmt: skip
    if status == STALLED:
        raise TrainingFailed("no step of the search improves the fit; scale the columns or raise l2", code="stalled",
                             hint="raise model.l2")  # fmt: skip
