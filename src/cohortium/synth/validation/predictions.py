"""More of what models learned from either table are worth on held-out patients: two years, whole curves, importances.

A ridge Cox regression gives the AUROC of death within two years (censoring weighted out) and the integrated Brier
score; gradient boosting gives the columns it leans on. Each figure is a pair, trained on synthetic and on real, with
the difference and its interval over held-out patients. Sources: Uno 2007; Graf 1999; Breiman 2001 (permutation).
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from cohortium.data.schema import DAYS_PER
from cohortium.errors import CohortiumError
from cohortium.models.survival_estimators import Cox
from cohortium.reports.discrimination import auroc
from cohortium.reports.measure import Measure, unavailable
from cohortium.reports.survival_measures import auroc_at, c_index, integrated_brier
from cohortium.synth.rows import Rows
from cohortium.synth.validation.indistinguishable import boosted
from cohortium.synth.validation.intervals import jackknifed
from cohortium.synth.validation.utility import HORIZON_D, baseline_matrix, cox_fit, known_columns, target

__all__ = ["Pair", "Predictions", "predictions"]

Floats = NDArray[np.float64]
Integers = NDArray[np.int64]

_N_TIMES = 12
_LEAST_EVENTS = 10


@dataclass(frozen=True, kw_only=True)
class Pair:
    """A figure of the model learned from synthetic and from real patients, and synthetic minus real."""

    synthetic: Measure
    real: Measure
    difference: Measure


@dataclass(frozen=True, kw_only=True)
class Predictions:
    """None where it cannot be had. importances: rank correlation over columns of what boosting leans on."""

    c_index: Pair | None
    auc_two_years: Pair | None
    brier: Pair | None
    importances: Measure


def predictions(training: Rows, synthetic: Rows, reserve: Rows, *, seed: int) -> Predictions:
    """All of it."""
    found = _by_cox(training, synthetic, reserve, seed=seed) if training.facts.time else {}
    return Predictions(
        c_index=found.get("c_index"),
        auc_two_years=found.get("auc_two_years"),
        brier=found.get("brier"),
        importances=_importances(training, synthetic, reserve, seed=seed),
    )


def _by_cox(training: Rows, synthetic: Rows, reserve: Rows, *, seed: int) -> dict[str, Pair]:
    facts = training.facts
    _, _, means = baseline_matrix(training)
    x = baseline_matrix(reserve, fill=means)[0]
    time, event = reserve[facts.time], reserve[facts.event] == 1
    if event.sum() < _LEAST_EVENTS:
        return {}
    try:
        models = [cox_fit(rows, fill=means)[0] for rows in (synthetic, training)]
    except CohortiumError:
        return {}
    risks = [model.predict(x) for model in models]
    horizon = HORIZON_D / DAYS_PER[facts[facts.time].unit or "d"]
    times = np.linspace(np.quantile(time[event], 0.1), np.quantile(time[event], 0.9), _N_TIMES)
    curves = [_curves(model, x, times) for model in models]
    held: dict[str, tuple[Measure, ...]] = {}

    def each(rows: Integers) -> Sequence[float]:
        t, e = time[rows], event[rows]
        c = [c_index(t, e, risk[rows]) for risk in risks]
        auc = [auroc_at(t, e, risk[rows], at=horizon) for risk in risks]
        brier = [integrated_brier(t, e, curve[rows], times=times) if times[-1] > times[0] else np.nan
                 for curve in curves]  # fmt: skip
        return [value for pair in (c, auc, brier) for value in (*pair, pair[0] - pair[1])]

    measured = jackknifed(lambda tables: each(tables[0]), [len(reserve)], seed=seed)
    held = {name: measured[3 * k : 3 * k + 3] for k, name in enumerate(("c_index", "auc_two_years", "brier"))}
    return {
        name: Pair(synthetic=three[0], real=three[1], difference=three[2])
        for name, three in held.items()
        if all(one.value is not None for one in three)
    }


def _curves(model: Cox, x: Floats, times: Floats) -> Floats:
    return np.asarray(model.predict_survival(x, times), dtype=np.float64)


def _importances(training: Rows, synthetic: Rows, reserve: Rows, *, seed: int) -> Measure:
    """How alike the order of columns is by the AUROC lost when a column is shuffled among held-out patients."""
    y, kept = target(reserve)
    names = [fact.name for fact in known_columns(training)]
    if y is None or len(np.unique(y)) < 2 or len(names) < 3:
        return unavailable(len(reserve), "no outcome to predict")
    x = np.column_stack([reserve[name] for name in names])[kept]
    lost = []
    for rows in (training, synthetic):
        label, known = target(rows)
        if label is None or len(np.unique(label)) < 2:
            return unavailable(len(reserve), "one class")
        model = boosted(np.column_stack([rows[name] for name in names])[known], label)
        whole = auroc(y, model(x))
        rng = np.random.default_rng([seed, 17])
        drop = []
        for j in range(len(names)):
            changed = x.copy()
            changed[:, j] = changed[rng.permutation(len(x)), j]
            drop.append(whole - auroc(y, model(changed)))
        lost.append(np.array(drop))
    ranks = [np.argsort(np.argsort(one, kind="stable"), kind="stable").astype(np.float64) for one in lost]
    a, b = (one - one.mean() for one in ranks)
    value = float((a * b).sum() / np.sqrt((a**2).sum() * (b**2).sum()))
    half = 1.96 * (1 - value**2) / np.sqrt(max(len(names) - 1, 1))
    return Measure(value=value, low=max(value - half, -1.0), high=min(value + half, 1.0), n=len(names), method="normal")
