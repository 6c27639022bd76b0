"""Predictions of all models on all test patients, and every figure of the report that follows from them.

Where the predictions come from - one split (`score_models`) or cross-validation (`folds`) - makes no difference here.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field

import numpy as np
from numpy.typing import NDArray

from cohortium.core.examples import Examples
from cohortium.core.study import EvaluationPlan
from cohortium.data.schema import CohortSchema
from cohortium.reports.comparison import Comparison, compare
from cohortium.reports.fairness import Gap, Subgroup, gaps, subgroups
from cohortium.reports.measure import Measure
from cohortium.reports.observed import Observed
from cohortium.reports.panel import measure_all
from cohortium.reports.recalibration import CalibrationPart, choose_threshold, recalibrate
from cohortium.reports.record import CurveRecord, Presence, Results, SiteCalibration, mean_of
from cohortium.reports.risk_groups import survival_by_risk
from cohortium.reports.site_calibration import calibrate_site
from cohortium.reports.site_matrix import SiteMatrix, site_matrix
from cohortium.sim.comparison import SiteRows, TrainedModel

__all__ = ["Evaluation", "Scored", "evaluate", "presence_of", "score", "score_calibration", "score_models"]

Floats = NDArray[np.float64]
_ABSENT, _SPARSE = 0.80, 0.05


@dataclass(frozen=True, kw_only=True)
class Evaluation:
    """Everything measured on held-out patients."""

    results: Results
    comparison: Comparison
    matrix: SiteMatrix
    calibration: dict[str, SiteCalibration]
    subgroups: tuple[Subgroup, ...]
    gaps: tuple[Gap, ...]
    curves: tuple[CurveRecord, ...]


@dataclass(frozen=True, kw_only=True, eq=False)
class Scored:
    """Predictions to be measured. rows: all sites, `test` holding the patients that were predicted.

    scores: model -> site -> predictions for its test part; `swarm` is always there. calibration: site -> the
    released swarm model's predictions for the calibration part. own_calibration: the own models' there; empty where
    there is no one own model a site (cross-validation).
    """

    rows: Sequence[SiteRows]
    scores: Mapping[str, Mapping[str, Floats]]
    calibration: Mapping[str, Floats]
    own_calibration: Mapping[str, Floats] = field(default_factory=dict)


def score(models: Mapping[str, TrainedModel], rows: Sequence[SiteRows]) -> dict[str, dict[str, Floats]]:
    """model -> site -> predictions for its test part, where there are test patients and the model serves the site."""
    return {
        name: {one.site: model.scores(one, one.test) for one in rows if len(one.test) and model.serves(one.site)}
        for name, model in models.items()
    }


def score_models(models: Mapping[str, TrainedModel], rows: Sequence[SiteRows]) -> Scored:
    """The predictions of one split. models: `swarm` and whatever it is compared with."""
    own = {one.site: models[f"own/{one.site}"] for one in rows if f"own/{one.site}" in models}
    return Scored(
        rows=rows,
        scores=score(models, rows),
        calibration=score_calibration(models["swarm"], rows),
        own_calibration={
            one.site: score_calibration(own[one.site], [one])[one.site] for one in rows if one.site in own
        },
    )


def score_calibration(model: TrainedModel, rows: Sequence[SiteRows]) -> dict[str, Floats]:
    """site -> the model's predictions for its calibration part, empty where there is none."""
    return {one.site: model.scores(one, one.calibration) if len(one.calibration) else np.zeros(0) for one in rows}


def evaluate(
    scored: Scored,
    *,
    plan: EvaluationPlan,
    schema: CohortSchema,
    rng: np.random.Generator,
    cause: int = 1,
    draws: int = 2000,
) -> Evaluation:
    """Measure `swarm`, `pooled`, `own/<site>`, `without/<site>` where they are there.

    Sites without a test patient are left out of every figure. rng: of the bootstrap. cause: the event the model
    learned, where there are several.
    """
    scores, tested = scored.scores, [one for one in scored.rows if len(one.test)]
    observed = Observed.of({one.site: one.test for one in tested}, cause=cause)
    calibrated = _calibrations(scored, tested, plan, rng=rng, draws=draws)
    repaired = {
        site: calibrated[site].recalibration.apply(p) if site in calibrated else p
        for site, p in scores["swarm"].items()
    }
    cuts = np.array([calibrated[s].threshold.value if s in calibrated else 0.5 for s in observed.site.tolist()])
    own = {n.removeprefix("own/"): n for n in scores if n.startswith("own/")}

    def whole(name: str) -> dict[str, Measure]:
        return measure_all(observed.stack(scores[name]), observed, rng=rng, draws=draws) if name in scores else {}

    single = {site: whole(name) for site, name in own.items()}
    results = Results(
        swarm=whole("swarm"),
        pooled=whole("pooled"),
        single=single,
        single_mean=mean_of(single),
        per_site={one.site: _at_site(one.site, scores, observed, rng=rng, draws=draws) for one in tested},
    )
    groups = _groups(schema, tested)
    found: tuple[Subgroup, ...] = ()
    if groups and observed.outcome == "binary":
        mine = {one.site: scores[own[one.site]][one.site] for one in tested if one.site in own}
        own_scores = observed.stack(mine) if len(mine) == len(tested) else None
        found = subgroups(
            observed.stack(scores["swarm"]),
            observed,
            groups,
            own=own_scores,
            repaired=observed.stack(repaired),
            threshold=cuts,
        )
    return Evaluation(
        results=results,
        comparison=compare(
            scores,
            observed,
            n_train={one.site: len(one.training) for one in scored.rows},
            rng=rng,
            calls=_calls(scored, tested, calibrated, plan),
            draws=draws,
        ),
        matrix=site_matrix(scores, observed),
        calibration=calibrated,
        subgroups=found,
        gaps=gaps(found),
        curves=survival_by_risk(observed.stack(scores["swarm"]), observed) if observed.outcome == "survival" else (),
    )


def presence_of(rows: Sequence[SiteRows]) -> Presence | None:
    """Share of missing values per site and feature, over the training rows. None for images."""
    layout = rows[0].training.layout
    if layout.image is not None:
        return None
    missing = {one.site: _missing_shares(one.training) for one in rows}
    words = {site: tuple(_word(share) for share in shares) for site, shares in missing.items()}
    return Presence(features=layout.features, missing=dict(missing), word=words)


def _at_site(
    site: str,
    scores: Mapping[str, Mapping[str, Floats]],
    observed: Observed,
    *,
    rng: np.random.Generator,
    draws: int,
) -> dict[str, dict[str, Measure]]:
    here = observed.at(site)
    names = {"swarm": "swarm", "own": f"own/{site}", "pooled": "pooled", "without": f"without/{site}"}
    return {
        role: measure_all(scores[name][site], here, rng=rng, draws=draws)
        for role, name in names.items()
        if site in scores.get(name, {})
    }


def _calibrations(
    scored: Scored,
    rows: Sequence[SiteRows],
    plan: EvaluationPlan,
    *,
    rng: np.random.Generator,
    draws: int,
) -> dict[str, SiteCalibration]:
    """Per-site recalibration and threshold, fitted on the calibration part, judged on the test part."""
    if not plan.recalibrate or rows[0].test.layout.outcome != "binary":
        return {}
    return {
        one.site: calibrate_site(
            _part(one, scored.calibration[one.site]),
            scored.scores["swarm"][one.site],
            Observed.of({one.site: one.test}),
            rng=rng,
            rule=_rule(plan),
            draws=draws,
        )
        for one in rows
    }


def _calls(
    scored: Scored, rows: Sequence[SiteRows], calibrated: Mapping[str, SiteCalibration], plan: EvaluationPlan
) -> dict[str, dict[str, NDArray[np.bool_]]]:
    """Whom swarm and own model call positive at home, each recalibrated and cut by the same rule on the same part."""
    called: dict[str, dict[str, NDArray[np.bool_]]] = {"swarm": {}}
    for one in rows:
        name, site = f"own/{one.site}", one.site
        if site not in calibrated or site not in scored.own_calibration or name not in scored.scores:
            continue
        found = calibrated[site]
        swarm = found.recalibration.apply(scored.scores["swarm"][site])
        called["swarm"][site] = swarm >= found.threshold.value
        part = _part(one, scored.own_calibration[site])
        repaired = recalibrate(part)
        cut = choose_threshold(CalibrationPart(y=part.y, p=repaired.apply(part.p)), _rule(plan))
        called[name] = {site: repaired.apply(scored.scores[name][site]) >= cut.value}
    return called


def _part(one: SiteRows, predicted: Floats) -> CalibrationPart:
    return CalibrationPart(y=np.zeros(0) if one.calibration.y is None else one.calibration.y, p=predicted)


def _rule(plan: EvaluationPlan) -> str:
    rules = {"half": "0.5", "sensitivity": f"sensitivity >= {plan.min_sensitivity:.2f}"}
    return rules.get(plan.threshold, plan.threshold)


def _groups(schema: CohortSchema, rows: Sequence[SiteRows]) -> dict[str, tuple[Sequence[str], NDArray[np.integer]]]:
    """Subgroup -> (names of its levels, code of every test row in the order of `Observed`)."""
    ordered = sorted(rows, key=lambda one: one.site)
    found: dict[str, tuple[Sequence[str], NDArray[np.integer]]] = {}
    for one in schema.subgroups:
        codes = np.concatenate([site.test.subgroups[one.name] for site in ordered])
        found[one.name] = (one.labels or schema[one.column].values, codes)
    return found


def _missing_shares(examples: Examples) -> tuple[float, ...]:
    if not len(examples):
        return tuple(1.0 for _ in examples.layout.features)
    return tuple(float(share) for share in np.isnan(examples.x).mean(axis=0))


def _word(share: float) -> str:
    return "absent" if share > _ABSENT else "sparse" if share > _SPARSE else "present"
