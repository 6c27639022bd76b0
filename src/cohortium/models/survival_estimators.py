"""Estimators of survival in the manner of scikit-learn: `Cox` and `KaplanMeier`. See `estimators`."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, Literal, Self

import numpy as np
from numpy.typing import NDArray

from cohortium.core.examples import Examples, Layout
from cohortium.errors import UsageError
from cohortium.models import cox, kaplan_meier
from cohortium.models.local_fit import (
    Estimator,
    Sites,
    fit_sites,
    known_errors,
    read_survival,
    sites_of,
    time_grid,
    together,
)
from cohortium.models.log_rank import LogRank
from cohortium.models.survival_curve import Curve
from cohortium.reports.survival_measures import c_index

__all__ = ["Cox", "KaplanMeier"]

Floats = NDArray[np.float64]


@dataclass(eq=False)
class Cox(Estimator):
    """Log risks by Cox regression; y = (time, event), columns [time, event] or a structured array.

    l2: penalty per patient and squared sd. ties: `efron` or `breslow`. strata: `""` or `"site"`.
    resolution: width of a time cell; None = whole units where times are whole, else 1/2,000 of the longest.
    min_at_risk: patients at risk in the last cell used (a study's default is 30).
    coef_, standard_errors_: (p,). baseline_: (times, cumulative hazard) of the mean patient.
    """

    l2: float = 0.0
    ties: Literal["efron", "breslow"] = "efron"
    strata: Literal["", "site"] = ""
    resolution: float | None = None
    min_at_risk: int = 1
    max_rounds: int = 60

    def fit(self, X: Any = None, y: Any = None, *, sites: Sites | None = None) -> Self:
        """Learn from one table, or from several sites as if they exchanged sums."""
        names, tables, outcomes = together(sites_of(X, y, sites))
        followed = [read_survival(one) for one in outcomes]
        width, horizon = time_grid(followed, self.resolution)
        layout = Layout(features=names, outcome="survival", resolution=width, horizon=horizon)
        learner = cox.Cox(l2=self.l2, ties=self.ties, strata=self.strata, min_at_risk=self.min_at_risk,
                          max_rounds=self.max_rounds)  # fmt: skip
        rows = zip(tables, followed, strict=True)
        self.fitted_ = fit_sites(learner, [Examples(layout=layout, x=x, time=f.time, event=f.event) for x, f in rows])
        state, to_raw = self.fitted_.state, self.fitted_.to_raw[1:, 1:]
        self.coef_ = to_raw @ np.asarray(state["coefficients"], dtype=np.float64)
        self.standard_errors_ = known_errors(np.abs(to_raw) @ np.asarray(state["standard_errors"], dtype=np.float64))
        return self

    @property
    def baseline_(self) -> tuple[Floats, Floats]:
        """Times of events and the cumulative hazard of the mean patient there."""
        state = self._fit.state
        if "hazard" not in state:
            raise UsageError("strata = 'site' keeps every baseline at its site")
        times: Floats = np.asarray(state["cells"], dtype=np.float64) * self._fit.layout.resolution
        return times, np.add.accumulate(np.asarray(state["hazard"], dtype=np.float64))

    def predict(self, X: Any) -> Floats:
        """Log risk, (n,); 0 is the mean patient."""
        return self._predicted(X)

    def predict_survival(self, X: Any, times: Any) -> Floats:
        """Probability to be free of the event at `times`, (n, t)."""
        learner, state = self._fit.learner, self._fit.state
        if not isinstance(learner, cox.Cox):
            raise UsageError("only a Cox model predicts survival this way")
        return learner.survival(state, self._rows(X), np.asarray(times, dtype=np.float64))

    def score(self, X: Any, y: Any) -> float:
        """Harrell's C: share of comparable pairs in which the earlier event had the larger risk."""
        followed = read_survival(y)
        return c_index(followed.time, followed.event == 1, self.predict(X))


@dataclass(eq=False)
class KaplanMeier(Estimator):
    """Survival curves of groups; X: one label per patient, or None for everybody; y as for `Cox`.

    curves_: by label; groups_: the labels. log_rank_: test between them. min_cell, min_at_risk, min_patients: rules
    of release, 1 = show everything (a study's defaults are 5, 10 and 20).
    """

    resolution: float | None = None
    tau: float = 0.0
    min_cell: int = 1
    min_at_risk: int = 1
    min_patients: int = 1

    def fit(self, X: Any = None, y: Any = None, *, sites: Sites | None = None) -> Self:
        """Learn from one table, or from several sites as if they exchanged sums."""
        parts = [(y, X)] if sites is None else [(one[1], one[0]) for one in sites_of(X, y, sites)]
        followed = [read_survival(outcome) for outcome, _ in parts]
        labels = [np.zeros(len(f.time), dtype=int) if groups is None else np.asarray(groups).ravel()
                  for f, (_, groups) in zip(followed, parts, strict=True)]  # fmt: skip
        self.groups_ = np.unique(np.concatenate(labels))
        g = len(self.groups_)
        width, horizon = time_grid(followed, self.resolution)
        layout = Layout(features=(), outcome="survival", resolution=width, horizon=horizon)
        learner = kaplan_meier.KaplanMeier(
            by="group" if g > 1 else "",
            n_groups=g,
            tau=self.tau,
            min_cell=self.min_cell,
            min_at_risk=self.min_at_risk,
            min_patients=self.min_patients,
        )
        rows = [
            Examples(layout=layout, x=np.zeros((len(f.time), 0)), time=f.time, event=f.event,
                     subgroups={"group": np.searchsorted(self.groups_, one).astype(np.int8)})
            for f, one in zip(followed, labels, strict=True)
        ]  # fmt: skip
        self.fitted_ = fit_sites(learner, rows, scaled=False)
        self._model = learner
        return self

    @property
    def curves_(self) -> dict[Any, Curve]:
        """A curve for every label whose curve may be shown."""
        state = self._fit.state
        shown = np.flatnonzero((np.asarray(state["edges"]) >= 0).any(axis=1))
        return {self.groups_[g]: self._model.curve(state, group=int(g)) for g in shown}

    @property
    def restricted_means_(self) -> dict[Any, tuple[float, float]]:
        """Restricted mean survival time and standard error by label, up to `tau_`."""
        return {label: self._model.restricted_mean(self._fit.state, group=self._code(label)) for label in self.curves_}

    @property
    def tau_(self) -> float:
        """Where the restricted means end."""
        return self._model.tau_of(self._fit.state)

    @property
    def log_rank_(self) -> LogRank:
        """Test for any difference between the groups."""
        return self._model.log_rank(self._fit.state)

    def predict_survival(self, X: Any, times: Any) -> Floats:
        """The curve of each label at `times`, (n, t); X None: one row."""
        curves = self.curves_
        labels = self.groups_[:1] if X is None else np.asarray(X).ravel()
        missing = sorted({str(one) for one in labels.tolist() if one not in curves})
        if missing:
            raise UsageError(f"no curve of group {', '.join(missing)}; there are: {', '.join(map(str, curves))}")
        return np.stack([curves[one].at(np.asarray(times, dtype=np.float64)) for one in labels.tolist()])

    def _code(self, label: Any) -> int:
        return int(np.searchsorted(self.groups_, label))
