"""What a change of the model did to its figures: after minus before on the same patients, with a paired interval.

Patients are drawn anew within their sites, the same ones for both models; 95 % percentile intervals. For two outcomes.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from functools import partial

import numpy as np
from numpy.typing import NDArray

from cohortium.reports.calibration import squared_errors
from cohortium.reports.discrimination import auroc_draws
from cohortium.reports.measure import MIN_CLASS, Measure
from cohortium.reports.observed import Observed
from cohortium.reports.resampling import DRAWS, bootstrap, percentile_interval, weighted_means, weighted_sums

__all__ = ["CHANGES", "changes"]

Floats = NDArray[np.float64]
Draws = Callable[[Floats], Floats]

CHANGES = ("auroc", "auroc_within", "sensitivity", "specificity", "brier")
_THRESHOLD = 0.5


def changes(
    before: Floats, after: Floats, observed: Observed, *, rng: np.random.Generator, draws: int = DRAWS
) -> dict[str, Measure]:
    """Each of CHANGES, after minus before; no interval with fewer than five patients of a class."""
    assert observed.y is not None  # noqa: S101 - there are two outcomes
    y, site = observed.y, observed.site
    statistics = {name: partial(_difference, _recipe(name, y, before, site), _recipe(name, y, after, site))
                  for name in CHANGES}  # fmt: skip
    whole = np.ones((1, len(y)))
    values = {name: float(one(whole)[0]) for name, one in statistics.items()}
    if min((y > 0.5).sum(), (y <= 0.5).sum()) < MIN_CLASS:
        return {name: Measure(value=value, n=len(y), reason="too few of a class") for name, value in values.items()}
    found = bootstrap(statistics, observed.patient, site, rng=rng, draws=draws)
    return {name: _told(values[name], found[name], len(y)) for name in CHANGES}


def _told(value: float, drawn: Floats, n: int) -> Measure:
    low, high = percentile_interval(drawn) or (None, None)
    return Measure(value=value, low=low, high=high, n=n, method="paired bootstrap of patients within sites")


def _difference(before: Draws, after: Draws, weights: Floats) -> Floats:
    return after(weights) - before(weights)


def _recipe(name: str, y: Floats, p: Floats, site: NDArray[np.str_]) -> Draws:
    case, called = y > 0.5, p >= _THRESHOLD
    recipes: dict[str, Draws] = {
        "auroc": partial(auroc_draws, y, p),
        "auroc_within": partial(_within, y, p, [site == one for one in np.unique(site)]),
        "sensitivity": partial(_share, (called & case).astype(np.float64), case.astype(np.float64)),
        "specificity": partial(_share, (~called & ~case).astype(np.float64), (~case).astype(np.float64)),
        "brier": partial(weighted_means, terms=squared_errors(y, p)),
    }
    return recipes[name]


def _within(y: Floats, p: Floats, rows: Sequence[NDArray[np.bool_]], weights: Floats) -> Floats:
    """Mean of the sites' own figures by their number of pairs, as `auroc_within`; NaN where no site has a pair."""
    top, pairs = np.zeros(len(weights)), np.zeros(len(weights))
    for held in rows:
        cases, drawn = y[held] > 0.5, weights[:, held]
        if not 0 < cases.sum() < len(cases):
            continue
        number = drawn[:, cases].sum(axis=1) * drawn[:, ~cases].sum(axis=1)
        found = auroc_draws(y[held], p[held], drawn)
        top += np.where(number > 0, np.nan_to_num(found) * number, 0.0)
        pairs += number
    return _divided(top, pairs)


def _share(top: Floats, bottom: Floats, weights: Floats) -> Floats:
    return _divided(weighted_sums(weights, top), weighted_sums(weights, bottom))


def _divided(top: Floats, bottom: Floats) -> Floats:
    found = np.full(top.shape, np.nan)
    np.divide(top, bottom, out=found, where=bottom > 0)
    return found
