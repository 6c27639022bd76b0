"""`co.fit`: an estimator in the manner of scikit-learn, fitted by several sites.

    co.fit(co.models.LogisticRegression(), sites={"porto": (xa, ya), "bonn": (xb, yb)})     # all tables are here

    def porto():                                                    # one site of co.rehearse
        return co.fit(co.models.Cox(l2=0.05), (x, y), study="study.toml")

The second form exchanges exact sums with the other sites through the nodes of the run and gives the bits of the first.
The study's model must be the estimator's, with the same options: the study is what sites agree on.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping, Sequence
from typing import Any, TypeVar

import numpy as np

from cohortium.assembly import build_learner
from cohortium.core.examples import Examples
from cohortium.core.seams import Learner, Preparation
from cohortium.core.study import Study
from cohortium.data.cohort import Cohort
from cohortium.entry.plan import Plan, read_plan
from cohortium.entry.seat import Brought, Learned, Seat, Stop, current_seat
from cohortium.errors import UsageError
from cohortium.models.local_fit import Estimator, LocalFit, fitted_elsewhere

__all__ = ["fit"]

E = TypeVar("E", bound=Estimator)


def fit(
    estimator: E,
    data: tuple[Any, Any] | Cohort | None = None,
    *,
    study: Plan | None = None,
    sites: Mapping[str, tuple[Any, Any]] | None = None,
) -> E:
    """The estimator, fitted: by `sites` that are all here, or by this site's `data` in the run of `study`.

    data: (X, y), or a cohort, of which the training part is used. Raises UsageError where the study names another
    model, or outside of a rehearsal; DataError where rows cannot be read; RunFailed when the run has no model.
    """
    if sites is not None:
        if data is not None or study is not None:
            raise UsageError("co.fit takes either sites, or data and a study")
        return _fitted(estimator, sites=sites)
    if data is None or study is None:
        raise UsageError("co.fit needs data and a study, or sites={name: (X, y)}")
    plan = read_plan(study)
    seat = current_seat("co.fit", plan)

    def in_swarm(learner: Learner, rows: Sequence[Examples], preparation: Preparation | None) -> LocalFit:
        _refuse_another_model(plan, learner)
        return _exchange(seat, Brought(learner, rows[0], preparation, _labels(estimator)))

    x, y = _rows_of(data) if isinstance(data, Cohort) else data
    with fitted_elsewhere(in_swarm):
        return _fitted(estimator, x, y)


def _fitted(estimator: E, *data: Any, **sites: Any) -> E:
    """Every estimator has `fit`; their common parent leaves its signature open."""
    fitted: E = estimator.fit(*data, **sites)  # type: ignore[attr-defined]
    return fitted


def _exchange(seat: Seat, brought: Brought) -> LocalFit:
    """One run with these rows."""
    seat.taken = True
    answer = seat.say(brought)
    if isinstance(answer, Stop):
        raise answer.error
    assert isinstance(answer, Learned)  # noqa: S101 - rows are answered by nothing else
    return LocalFit(
        learner=brought.learner, state=answer.model, rounds=answer.rounds, layout=answer.layout, scale=answer.scale
    )


def _refuse_another_model(study: Study, learner: Learner) -> None:
    """Raise UsageError unless the study describes this very learner."""
    agreed = build_learner(study)
    if type(agreed) is not type(learner):
        raise UsageError(
            f"study '{study.name}' agrees on model '{study.model.name}', the estimator trains a"
            f" {type(learner).__name__}; name the same in both"
        )
    for option in dataclasses.fields(agreed):  # type: ignore[arg-type]
        ours, theirs = getattr(learner, option.name), getattr(agreed, option.name)
        if ours != theirs:
            raise UsageError(
                f"study '{study.name}' agrees on model.{option.name} = {theirs!r}, the estimator has {ours!r};"
                " write the same in both"
            )


def _labels(estimator: object) -> tuple[str, ...]:
    """What codes stand for: classes of an outcome, groups of curves."""
    found = getattr(estimator, "classes_", getattr(estimator, "groups_", ()))
    return tuple(str(one) for one in found)


def _rows_of(cohort: Cohort) -> tuple[Any, Any]:
    """Columns and outcome of a cohort's training part."""
    rows = cohort.examples("train")
    if rows.time is not None and rows.event is not None:
        return rows.x, np.column_stack([rows.time, rows.event])
    return rows.x, rows.y
