"""Survival of patients grouped by predicted risk, on a grid so coarse that no single patient can be read off.

Steps of an exact curve are dates of single deaths. Here grid times are chosen so that at least 5 events lie between
two of them, the curve stops below 10 at risk, and a group of fewer than 20 patients has no curve.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from cohortium.reports.observed import Observed
from cohortium.reports.record import CurveRecord
from cohortium.reports.survival_measures import kaplan_meier

__all__ = ["MIN_AT_RISK", "MIN_EVENTS", "MIN_PATIENTS", "survival_by_risk"]

MIN_EVENTS, MIN_AT_RISK, MIN_PATIENTS = 5, 10, 20
_NAMES = {2: ("lower risk", "higher risk"), 3: ("low risk", "middle risk", "high risk")}


def survival_by_risk(risk: NDArray[np.float64], observed: Observed, *, groups: int = 3) -> tuple[CurveRecord, ...]:
    """Kaplan-Meier curves of `groups` equal parts of the patients by risk, lowest first; small groups are left out.

    risk: (n,) as `Learner.predict` gives it. Raises ValueError for another outcome than survival.
    """
    if observed.time is None or observed.event is None:
        raise ValueError(f"survival curves need a survival outcome, got {observed.outcome!r}")
    known = observed.known()
    risk, time, event = risk[known], observed.time[known], observed.event[known]
    cuts = np.quantile(risk, np.arange(1, groups) / groups) if len(risk) else np.zeros(groups - 1)
    place = np.searchsorted(cuts, risk, side="right")
    names = _NAMES.get(groups, tuple(f"risk group {i + 1}" for i in range(groups)))
    found = [_released(names[i], time[place == i], event[place == i]) for i in range(groups)]
    return tuple(curve for curve in found if curve is not None)


def _released(name: str, time: NDArray[np.float64], event: NDArray[np.bool_]) -> CurveRecord | None:
    if len(time) < MIN_PATIENTS:
        return None
    curve = kaplan_meier(time, event)
    grid, since = [], 0
    for i, events in enumerate(curve.events.tolist()):
        if curve.at_risk[i] < MIN_AT_RISK:
            break
        since += events
        if since >= MIN_EVENTS:
            grid.append(i)
            since = 0
    if not grid:
        return None
    return CurveRecord(
        name=name,
        time=tuple(curve.time[grid].tolist()),
        survival=tuple(curve.survival[grid].tolist()),
        low=tuple(curve.low[grid].tolist()),
        high=tuple(curve.high[grid].tolist()),
        at_risk=tuple(int(n) for n in curve.at_risk[grid]),
    )
