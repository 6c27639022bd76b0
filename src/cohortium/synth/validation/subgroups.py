"""Survival by gene and by risk group: do the synthetic carriers of TP53 fare as the real ones do?

Curves compare held-out with synthetic patients; effects compare Cox regressions on training and synthetic patients of
the group. Risk groups are thirds of the training patients by their own Cox regression. A group is judged from 20
held-out patients and 5 deaths on, in both tables.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from cohortium.errors import CohortiumError
from cohortium.synth.rows import Rows
from cohortium.synth.validation.curves import km_gap, log_rank_p, optimism, restricted_mean, tau_of
from cohortium.synth.validation.hazards import compare_hazards
from cohortium.synth.validation.utility import baseline_matrix, cox_fit

__all__ = ["LEAST_PATIENTS", "Subgroup", "groups_of", "judge_subgroups"]

Bools = NDArray[np.bool_]

LEAST_PATIENTS = 20
_LEAST_EVENTS = 5
_LEAST_EVENTS_COX = 40
_MOST_GENES = 6
_RISKS = ("low risk", "middle risk", "high risk")


@dataclass(frozen=True, kw_only=True)
class Subgroup:
    """Held-out against synthetic patients of one group. rmst: difference of the restricted means with its interval.

    signs_kept, overlapping: of a Cox regression inside the group, NaN with too few deaths.
    """

    name: str
    n_real: int
    n_synthetic: int
    km_gap: float
    optimism: float
    log_rank_p: float
    censoring_gap: float
    rmst: tuple[float, float, float]
    signs_kept: float
    overlapping: float


def groups_of(training: Rows, tables: Mapping[str, Rows]) -> dict[str, dict[str, Bools]]:
    """Who belongs to which group, by group and table: frequent genes with and without mutation, thirds of risk."""
    names = [fact.name for fact in training.facts.of_group("gene")]
    names.sort(key=lambda name: -float(np.nansum(training[name])))
    found: dict[str, dict[str, Bools]] = {}
    for name in names[:_MOST_GENES]:
        found[f"{name} mutated"] = {key: rows[name] == 1 for key, rows in tables.items()}
        found[f"{name} wild type"] = {key: rows[name] == 0 for key, rows in tables.items()}
    try:
        model, means = cox_fit(training)
    except CohortiumError:
        return found
    risk = model.predict(baseline_matrix(training, fill=means)[0])
    cuts = np.quantile(risk, [1 / 3, 2 / 3])
    third = {k: np.searchsorted(cuts, model.predict(baseline_matrix(r, fill=means)[0])) for k, r in tables.items()}
    for at, name in enumerate(_RISKS):
        found[name] = {key: places == at for key, places in third.items()}
    return found


def judge_subgroups(training: Rows, reserve: Rows, synthetic: Rows) -> tuple[Subgroup, ...]:
    """Every group with enough patients; none without survival."""
    facts = training.facts
    if not facts.time:
        return ()
    tables = {"training": training, "reserve": reserve, "synthetic": synthetic}
    tau = tau_of(training[facts.time])
    found = []
    for name, masks in groups_of(training, tables).items():
        own = {key: rows.take(masks[key]) for key, rows in tables.items()}
        deaths = {key: int(rows[facts.event].sum()) for key, rows in own.items()}
        if min(len(own["reserve"]), len(own["synthetic"])) < LEAST_PATIENTS:
            continue
        if min(deaths["reserve"], deaths["synthetic"]) < _LEAST_EVENTS:
            continue
        out, made = ((own[key][facts.time], own[key][facts.event]) for key in ("reserve", "synthetic"))
        enough = min(deaths["training"], deaths["synthetic"]) >= _LEAST_EVENTS_COX
        effects = compare_hazards(own["training"], own["synthetic"]) if enough else None
        (mean, error), (mean_real, error_real) = restricted_mean(*made, tau), restricted_mean(*out, tau)
        half = 1.96 * float(np.hypot(error, error_real))
        found.append(
            Subgroup(
                name=name,
                n_real=len(out[0]),
                n_synthetic=len(made[0]),
                km_gap=km_gap(out, made, tau),
                optimism=optimism(out, made, tau),
                log_rank_p=log_rank_p(out, made),
                censoring_gap=km_gap((out[0], 1 - out[1]), (made[0], 1 - made[1]), tau),
                rmst=(mean - mean_real, mean - mean_real - half, mean - mean_real + half),
                signs_kept=float("nan") if effects is None else effects.signs_kept,
                overlapping=float("nan") if effects is None else effects.overlapping,
            )
        )
    return tuple(found)
