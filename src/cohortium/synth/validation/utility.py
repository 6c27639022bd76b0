"""Is a model trained on synthetic patients as good on real ones? Train on synthetic, test on real (TSTR) against TRTR.

Survival: C-index of a ridge Cox regression and of gradient boosting for death within two years (Cox alone flatters a
generator that is a hazard model itself), on held-out patients, from columns known at baseline. A binary outcome: AUROC
of gradient boosting. Intervals by linearisation (Cox) or DeLong.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from cohortium.data.schema import DAYS_PER
from cohortium.errors import CohortiumError
from cohortium.models.survival_estimators import Cox
from cohortium.reports.discrimination import auroc_measure
from cohortium.reports.measure import Measure, unavailable
from cohortium.reports.survival_measures import c_index_measure
from cohortium.synth.facts import Fact
from cohortium.synth.rows import Rows
from cohortium.synth.validation.indistinguishable import boosted_scores

__all__ = ["HORIZON_D", "Utility", "baseline_matrix", "cox_fit", "known_columns", "target", "utility"]

Floats = NDArray[np.float64]

HORIZON_D = 2 * 365.25
L2 = 0.01


@dataclass(frozen=True, kw_only=True)
class Utility:
    """On held-out patients. c: C-index by Cox; boosted: AUROC by gradient boosting; trained on either table."""

    c_synthetic: Measure
    c_real: Measure
    boosted_synthetic: Measure
    boosted_real: Measure

    @property
    def difference(self) -> float:
        """TSTR minus TRTR: by Cox where there is survival, else by boosting; NaN where neither can be computed."""
        pair = (self.c_synthetic, self.c_real)
        if pair[0].value is None or pair[1].value is None:
            pair = (self.boosted_synthetic, self.boosted_real)
        if pair[0].value is None or pair[1].value is None:
            return float("nan")
        return pair[0].value - pair[1].value


def baseline_matrix(rows: Rows, *, fill: Floats | None = None) -> tuple[Floats, tuple[str, ...], Floats]:
    """(matrix, names, means) of the baseline columns: categories as 0/1, gaps filled with `fill` or the means."""
    columns: list[Floats] = []
    names: list[str] = []
    for fact in rows.facts.columns:
        if fact.group == "outcome" or not fact.baseline:
            continue
        if fact.kind == "categorical":
            held = rows[fact.name]
            columns += [np.where(np.isnan(held), np.nan, held == k) for k in range(1, len(fact.levels))]
            names += [f"{fact.name}={level}" for level in fact.levels[1:]]
        else:
            columns.append(rows[fact.name])
            names.append(fact.name)
    matrix = np.column_stack(columns).astype(np.float64)
    known = np.maximum((~np.isnan(matrix)).sum(axis=0), 1)  # a column nobody has is filled with 0
    means = np.nansum(matrix, axis=0) / known if fill is None else fill
    return np.where(np.isnan(matrix), means, matrix), tuple(names), means


def cox_fit(rows: Rows, *, fill: Floats | None = None, l2: float = L2) -> tuple[Cox, Floats]:
    """A ridge Cox regression on these rows, and the means that filled gaps. Raises CohortiumError."""
    x, _, means = baseline_matrix(rows, fill=fill)
    time = np.maximum(rows[rows.facts.time], 0.0)
    return Cox(l2=l2).fit(x, np.column_stack([time, rows[rows.facts.event]])), means


def utility(training: Rows, synthetic: Rows, reserve: Rows) -> Utility:
    """TSTR and TRTR on the held-out patients."""
    facts = training.facts
    nothing = unavailable(len(reserve), "no survival outcome")
    found = {"c_synthetic": nothing, "c_real": nothing}
    _, _, means = baseline_matrix(training)
    if facts.time:
        for key, rows in (("c_synthetic", synthetic), ("c_real", training)):
            found[key] = _c_index(rows, reserve, means)
    return Utility(
        **found, boosted_synthetic=_boosted(synthetic, reserve), boosted_real=_boosted(training, reserve)
    )  # fmt: skip


def _c_index(rows: Rows, reserve: Rows, means: Floats) -> Measure:
    facts = rows.facts
    try:
        model, _ = cox_fit(rows, fill=means)
    except CohortiumError as error:
        return unavailable(len(reserve), str(error).split(";")[0])
    risk = model.predict(baseline_matrix(reserve, fill=means)[0])
    n = np.arange(len(reserve), dtype=np.int64)
    return c_index_measure(reserve[facts.time], reserve[facts.event] == 1, risk, n, np.full(len(n), ""))


def _boosted(rows: Rows, reserve: Rows) -> Measure:
    (y, kept), (y_test, kept_test) = target(rows), target(reserve)
    if y is None or y_test is None or len(np.unique(y)) < 2 or len(np.unique(y_test)) < 2:
        return unavailable(len(reserve), "one class")
    x, x_test = (_raw_matrix(one) for one in (rows, reserve))
    score = boosted_scores(x[kept], y, x_test[kept_test])
    return auroc_measure(y_test, score, np.arange(len(y_test), dtype=np.int64))


def target(rows: Rows) -> tuple[Floats | None, NDArray[np.bool_]]:
    """What boosting predicts and the rows where it is known: death within two years, or the binary outcome."""
    facts = rows.facts
    if facts.time:
        days = rows[facts.time] * DAYS_PER[facts[facts.time].unit or "d"]
        died = rows[facts.event] == 1
        known = (days >= HORIZON_D) | died
        return ((days < HORIZON_D) & died)[known].astype(np.float64), known
    outcome = next((f for f in facts.of_group("outcome") if f.kind == "flag"), None)
    if outcome is None:
        return None, np.zeros(len(rows), dtype=bool)
    known = ~np.isnan(rows[outcome.name])
    return rows[outcome.name][known], known


def known_columns(rows: Rows) -> tuple[Fact, ...]:
    """Columns known at baseline: what any model of the outcome may use."""
    return tuple(f for f in rows.facts.columns if f.group != "outcome" and f.baseline)


def _raw_matrix(rows: Rows) -> Floats:
    return np.column_stack([rows[f.name] for f in known_columns(rows)])
