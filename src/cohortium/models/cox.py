"""Cox regression, exact: `Cox` equals the pooled fit bit for bit, in two exchanges a Newton step.

Cells c = 0..K-1 hold events; eta = x'b; delta = event. First exchange: events and patients at risk per cell,
which choose the cells and cut the tail. Then, for every point b:

A  S0_c = sum over those at risk of e^eta; D0_c = sum over events of e^eta; E0 = sum over events of eta.
   With r = l/d_c for l = 0..d_c-1 (Efron) or 0 (Breslow) and q_cl = S0_c - r D0_c, the objective is
   sum log q_cl - E0; it judges the point. a_c = sum_l 1/q_cl, b_c = sum_l r/q_cl.
B  With u_i = e^eta_i (sum of a_c while at risk - b at the event): g = sum (delta_i - u_i) x_i,
   H1 = sum u_i x_i x_i', and S1, D1 (as S0, D0, times x). Then m_cl = (S1_c - r D1_c)/q_cl and
   I = H1 - sum m_cl m_cl'.

x x' enters linearly once S0 is known, so no K p^2 numbers travel. The tail is cut behind the last cell with
`min_at_risk` patients, since S0 of the last survivors would be one patient's risk.
`strata = "site"`: risk sets within sites, one exchange a step, no shared baseline. Another name is a subgroup
with codes 0 .. n_strata - 1, each with its own baseline. The sums are in `partial_likelihood`.
Design: clinical-learning.md 2.4. Source: Efron 1977; Breslow 1974.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import ClassVar, Literal

import numpy as np
from numpy.typing import NDArray

from cohortium.core import fixed_point as fp
from cohortium.core.examples import Examples, Layout
from cohortium.core.parameters import Parameters
from cohortium.core.update import Fitted, Instructions
from cohortium.errors import DataError, UsageError
from cohortium.models import newton
from cohortium.models.families import check_layout
from cohortium.models.glm import MAX_COEFFICIENTS, inference
from cohortium.models.newton import Search
from cohortium.models.partial_likelihood import (
    LARGEST_ETA,
    RISK_BITS,
    TiedTerms,
    gradient_and_information,
    slope_sums,
    tied_terms,
    weight_sums,
)
from cohortium.models.risk_sets import Spans, at_risk_sums, cell_sums, in_strata, n_cells, spans, spans_in
from cohortium.models.row_sums import (
    LOSS_BITS,
    X_BITS,
    bound_site_total,
    fixed_features,
    linear_predictor,
    predictor,
    triangle,
    unpacked,
)

__all__ = ["Cox"]

Floats = NDArray[np.float64]
Integers = NDArray[np.int64]

_COUNT, _WEIGHTS, _SLOPES, _SITE = range(4)
_SITE_BITS = 24


@dataclass(frozen=True, kw_only=True)
class Cox:
    """Log risks by Cox regression.

    l2: penalty per patient. ties: `efron` or `breslow`. strata: `""`, `"site"` or a subgroup with codes
    0 .. n_strata - 1. cause: the event counted; others are censored. min_at_risk: patients at risk in the
    last cell that is used. max_rounds: exchanges at most.

    Parameters: `coefficients` (p,); `hazard` per cell of `cells`, at the mean patient `centre` (2^-16);
    after the last exchange `standard_errors` and `covariance` from the unpenalised information (0 = not available).
    """

    l2: float = 0.05
    ties: Literal["efron", "breslow"] = "efron"
    strata: str = ""
    n_strata: int = 1
    cause: int = 1
    min_at_risk: int = 30
    max_rounds: int = 60

    learns_by: ClassVar[Literal["sums"]] = "sums"

    def __post_init__(self) -> None:
        if not 0 <= self.l2 < float("inf"):
            raise ValueError(f"l2 must be at least 0 and finite, got {self.l2}")
        if self.ties not in ("efron", "breslow"):
            raise ValueError(f"ties must be 'efron' or 'breslow', got {self.ties!r}")
        named = self.strata not in ("", "site")
        if not (2 <= self.n_strata <= 100 if named else self.n_strata == 1):
            wanted = "2 to 100 for a subgroup" if named else f"1 with strata = {self.strata!r}"
            raise ValueError(f"n_strata must be {wanted}, got {self.n_strata}")
        for option, least in (("cause", 1), ("min_at_risk", 1), ("max_rounds", 1)):
            if getattr(self, option) < least:
                raise ValueError(f"{option} must be at least {least}, got {getattr(self, option)}")

    def initial(self, layout: Layout, *, rng: np.random.Generator) -> Parameters:
        """All coefficients 0, nothing counted. Raises DataError for another outcome or too many columns."""
        check_layout(layout, ("survival",), model="cox")
        n_cells(layout)
        p = layout.n_features
        if p >= MAX_COEFFICIENTS:
            raise DataError(f"model 'cox' has {p} coefficients, at most {MAX_COEFFICIENTS - 1} are learned by sums")
        phase = _SITE if self.strata == "site" else _COUNT
        search = Search.begin(np.zeros(p))
        arrays = {"coefficients": search.point, "phase": np.array([phase]), "held": np.zeros(p, dtype=np.uint8)}
        unknown = {"standard_errors": np.zeros(p), "covariance": np.zeros((0, 0))}
        return Parameters({**arrays, **search.write(), "centre": np.zeros(p, dtype=np.int64), **unknown})

    def fit(
        self, start: Parameters, examples: Examples, *, instructions: Instructions, rng: np.random.Generator
    ) -> Fitted:
        """The sums the state's phase asks for."""
        newton.raise_if_failed(start, examples.layout)
        phase = int(start["phase"][0])
        x = fixed_features(examples, intercept=False)
        if phase == _COUNT:
            sums = self._counts(x, examples)
        elif phase == _SITE:
            sums = self._site_sums(start, x, examples)
        else:
            rows = self._rows(start, examples)
            x = x - np.asarray(start["centre"])
            eta = predictor(x, _floats(start, "coefficients"))
            if phase == _WEIGHTS:
                sums = weight_sums(rows, eta)
            else:
                terms = tied_terms(
                    _floats(start, "s0"), _floats(start, "d0"), _integers(start, "events"), ties=self.ties
                )
                sums = slope_sums(rows, x, eta, terms)
            sums |= Parameters({"rows": np.array([len(x)], dtype=np.int64)})
        return Fitted(parameters=sums, n_samples=len(examples))

    def advance(self, start: Parameters, total: Parameters) -> Parameters:
        """Choose cells, judge the point, or take the next Newton step, as the phase has it."""
        phase = int(start["phase"][0])
        if phase == _COUNT:
            return self._chosen(start, total)
        if phase in (_WEIGHTS, _SLOPES) and int(total["rows"][0]) != int(start["rows"][0]):
            return self._anew(start)
        if phase == _WEIGHTS:
            return self._judged(start, total)
        if phase == _SLOPES:
            gradient, information = gradient_and_information(total, _terms(start, self.ties))
            return self._stepped(start, _search(start), gradient, information)
        return self._site_judged(start, total)

    def finished(self, parameters: Parameters) -> bool:
        """Converged, or out of exchanges."""
        return newton.over(parameters)

    def predict(self, parameters: Parameters, examples: Examples) -> Floats:
        """Log risk, (n,); 0 is the mean patient."""
        coefficients = _floats(parameters, "coefficients")
        mean = fp.from_fixed(parameters["centre"], X_BITS)
        return linear_predictor(examples, coefficients) - float(fp.ordered_sum(mean * coefficients))

    def survival(self, parameters: Parameters, examples: Examples, times: Floats) -> Floats:
        """Probability to be free of the event at `times` (t,), of shape (n, t); needs a shared baseline."""
        if "hazard" not in parameters:
            raise UsageError("a Cox model with strata = 'site' has no shared baseline; predict log risks instead")
        k = n_cells(examples.layout)
        cells = np.floor(np.asarray(times, dtype=np.float64) / examples.layout.resolution)
        positions = self._strata(examples)[:, None] * k + np.clip(cells, -1, k - 1).astype(np.int64)
        first = self._strata(examples)[:, None] * k
        grown = np.concatenate([[0.0], fp.cumulative(_floats(parameters, "hazard"))])
        event_cells = _integers(parameters, "cells")
        cumulative = grown[np.searchsorted(event_cells, positions, side="right")]
        before = grown[np.searchsorted(event_cells, first, side="left")]
        return fp.exp(-(np.maximum(cumulative - before, 0.0)) * fp.exp(self.predict(parameters, examples))[:, None])

    def parts(self, parameters: Parameters) -> Mapping[str, tuple[str, ...]]:
        """None."""
        return {}

    def _strata(self, examples: Examples) -> Integers:
        if self.n_strata == 1:
            return np.zeros(len(examples), dtype=np.int64)
        if self.strata not in examples.subgroups:
            known = ", ".join(sorted(examples.subgroups)) or "none"
            raise DataError(f"strata '{self.strata}' is no subgroup of these examples; known: {known}")
        codes = examples.subgroups[self.strata].astype(np.int64)
        wrong = int(np.count_nonzero((codes < 0) | (codes >= self.n_strata)))
        if wrong:
            raise DataError(f"strata '{self.strata}': {wrong} of {len(codes)} rows are unknown or beyond n_strata")
        return codes

    def _full(self, examples: Examples) -> Spans:
        return in_strata(spans(examples, cause=self.cause), self._strata(examples), self.n_strata)

    def _rows(self, state: Parameters, examples: Examples) -> Spans:
        end = _integers(state, "kept")[self._strata(examples)]
        return spans_in(self._full(examples), _integers(state, "cells"), end=end)

    def _counts(self, x: Integers, examples: Examples) -> Parameters:
        rows = self._full(examples)
        ones = np.ones(len(x), dtype=np.int64)
        column_sums = x.sum(axis=0)
        bound_site_total(column_sums, what="columns")
        sums = {
            "rows": np.array([len(x)], dtype=np.int64),
            "columns": column_sums,
            "at_risk": at_risk_sums(rows, ones, what="patients at risk"),
            "events": cell_sums(rows, ones, rows.event, what="events"),
        }
        return Parameters(sums)

    def _chosen(self, start: Parameters, total: Parameters) -> Parameters:
        """Cells with events up to the cut tail; at b = 0 their weights are the counts, so B comes next."""
        n = int(total["rows"][0])
        at_risk = _integers(total, "at_risk").reshape(self.n_strata, -1)
        k = at_risk.shape[1]
        least = np.minimum(self.min_at_risk, np.maximum(1, at_risk.max(axis=1) // 2))
        enough = at_risk >= least[:, None]
        kept = np.where(enough.any(axis=1), k - np.argmax(enough[:, ::-1], axis=1), 0)
        usable = np.where(np.arange(k) < kept[:, None], _integers(total, "events").reshape(at_risk.shape), 0).ravel()
        cells = np.flatnonzero(usable)
        events = usable[cells]
        weights = at_risk.ravel()[cells].astype(np.float64)
        state = start | Parameters(
            {
                "phase": np.array([_SLOPES]),
                "rows": np.array([n]),
                "cells": cells.astype(np.int64),
                "events": events,
                "kept": (np.arange(self.n_strata) * k + kept).astype(np.int64),
                "centre": np.rint(_integers(total, "columns") / max(n, 1)).astype(np.int64),
                "s0": weights,
                "d0": events.astype(np.float64),
            }
        )
        if len(cells) == 0:
            return state | Parameters(replace(_search(state), status=newton.ONE_CLASS).write())
        return self._accepted(state, _search(state), _terms(state, self.ties).log_q)

    def _anew(self, start: Parameters) -> Parameters:
        """Counted again from the beginning: cells, events and weights in hand are of other patients."""
        blank = _search(start)
        limit = newton.LIMIT if blank.rounds + 1 >= self.max_rounds else newton.RUNNING
        begun = replace(Search.begin(np.zeros_like(blank.point)), rounds=blank.rounds + 1, status=limit)
        return _written(start | Parameters({"phase": np.array([_COUNT])}), begun)

    def _judged(self, start: Parameters, total: Parameters) -> Parameters:
        search = _search(start)
        weights = {name: fp.from_fixed(total[name], RISK_BITS) for name in ("s0", "d0")}
        there = start | Parameters(weights)
        if int(total["refused"][0]) == 0:
            likelihood = _terms(there, self.ties).log_q - float(fp.from_fixed(total["e0"], LOSS_BITS)[0])
            objective = likelihood + self._penalty(start, search.point)
            n_events = int(_integers(start, "events").sum())
            tolerance = math.ldexp(n_events, -LOSS_BITS) + abs(objective) * 2.0**-40
            if search.falls(objective, tolerance=tolerance, rows=int(start["rows"][0])):
                return self._accepted(there | Parameters({"phase": np.array([_SLOPES])}), search, objective)
        return _written(start, search.halved(max_rounds=self.max_rounds))

    def _accepted(self, state: Parameters, search: Search, objective: float) -> Parameters:
        terms = _terms(state, self.ties)
        rows, rounds = int(state["rows"][0]), search.rounds + 1
        search = replace(search, accepted=search.point, objective=objective, rows=rows, share=1.0, rounds=rounds)
        if search.rounds >= self.max_rounds:
            search = replace(search, status=newton.LIMIT)
        return _written(state | Parameters({"hazard": terms.a}), search)

    def _stepped(self, start: Parameters, search: Search, gradient: Floats, information: Floats) -> Parameters:
        state = start
        if search.rounds <= 1 and self.l2 == 0:
            state |= Parameters({"held": newton.aliased(information)})
        held = np.asarray(state["held"], dtype=bool)
        penalty = self.l2 * int(state["rows"][0])
        square = information + np.diag(np.full(len(gradient), penalty))
        step = newton.newton_step(gradient - penalty * search.point, square, held=held, n=int(state["rows"][0]))
        rows = int(state["rows"][0])
        search = search.moved(step, objective=search.objective, rows=rows, max_rounds=self.max_rounds)
        found = _written(state, search)
        if search.status in (newton.CONVERGED, newton.LIMIT):
            return found | Parameters(inference(newton.covariance(information, held=held)))
        return found if self.strata == "site" else found | Parameters({"phase": np.array([_WEIGHTS])})

    def _penalty(self, state: Parameters, point: Floats) -> float:
        return 0.5 * self.l2 * int(state["rows"][0]) * float(fp.ordered_sum(point * point))

    def _site_sums(self, start: Parameters, x: Integers, examples: Examples) -> Parameters:
        """Objective, gradient and information of this site's own risk sets, rounded once."""
        full = self._full(examples)
        ones = np.ones(len(x), dtype=np.int64)
        events = cell_sums(full, ones, full.event, what="events")
        cells = np.flatnonzero(events)
        rows = spans_in(full, cells, end=np.full(len(x), full.k))
        x = x - np.rint(x.sum(axis=0) / max(len(x), 1)).astype(np.int64)
        p = x.shape[1]
        eta = predictor(x, _floats(start, "coefficients"))
        refused = np.count_nonzero((eta > LARGEST_ETA) & (rows.start < rows.stop))
        counts = np.array([len(x), refused, rows.event.sum()], dtype=np.int64)
        objective, gradient, information = 0.0, np.zeros(p), np.zeros((p, p))
        if not refused and len(cells):
            weights = weight_sums(rows, eta)
            s0, d0 = (fp.from_fixed(weights[name], RISK_BITS) for name in ("s0", "d0"))
            terms = tied_terms(s0, d0, events[cells], ties=self.ties)
            objective = terms.log_q - float(fp.from_fixed(weights["e0"], LOSS_BITS)[0])
            gradient, information = gradient_and_information(slope_sums(rows, x, eta, terms), terms)
        sums = {
            "rows": counts,
            "loss": fp.to_fixed([objective], _SITE_BITS, what="partial likelihood"),
            "gradient": fp.to_fixed(gradient, _SITE_BITS, what="gradient"),
            "information": triangle(fp.to_fixed(information, _SITE_BITS, what="information")),
        }
        return Parameters(sums)

    def _site_judged(self, start: Parameters, total: Parameters) -> Parameters:
        search = _search(start)
        n, refused, n_events = (int(v) for v in total["rows"])
        state = start | Parameters({"rows": np.array([n])})
        if n_events == 0 and not refused:
            return state | Parameters(replace(search, status=newton.ONE_CLASS).write())
        objective = float(fp.from_fixed(total["loss"], _SITE_BITS)[0]) + self._penalty(state, search.point)
        tolerance = math.ldexp(n_events, -LOSS_BITS) + abs(objective) * 2.0**-40
        if not search.falls(objective, tolerance=tolerance, rows=n, refused=refused):
            return _written(state, search.halved(max_rounds=self.max_rounds))
        gradient = fp.from_fixed(total["gradient"], _SITE_BITS)
        information = fp.from_fixed(unpacked(_integers(total, "information"), len(gradient)), _SITE_BITS)
        return self._stepped(state, replace(search, objective=objective), gradient, information)


def _terms(state: Parameters, ties: Literal["efron", "breslow"]) -> TiedTerms:
    return tied_terms(_floats(state, "s0"), _floats(state, "d0"), _integers(state, "events"), ties=ties)


def _search(state: Parameters) -> Search:
    return Search.read(state, _floats(state, "coefficients"))


def _written(state: Parameters, search: Search) -> Parameters:
    return state | Parameters({"coefficients": search.point, **search.write()})


def _floats(state: Parameters, name: str) -> Floats:
    return np.asarray(state[name], dtype=np.float64)


def _integers(state: Parameters, name: str) -> Integers:
    return np.asarray(state[name], dtype=np.int64)
