"""The cross-site matrix: every model on every site's test part, one measure, complete or `missing: reason`."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from cohortium.reports.observed import Observed
from cohortium.reports.panel import PRIMARY, measure_values

__all__ = ["Cell", "SiteMatrix", "site_matrix"]


@dataclass(frozen=True, kw_only=True)
class Cell:
    """One model on one test part; reason: `missing: ...` where there is no value."""

    value: float | None
    n: int | None
    reason: str = ""


@dataclass(frozen=True, kw_only=True)
class SiteMatrix:
    """Rows: models; columns: sites whose test part was used; cells[row][column].

    The row `without` holds at each site the swarm that was trained without it.
    """

    measure: str
    models: tuple[str, ...]
    sites: tuple[str, ...]
    cells: tuple[tuple[Cell, ...], ...]


def site_matrix(
    scores: Mapping[str, Mapping[str, NDArray[np.float64]]],
    observed: Observed,
    *,
    measure: str | None = None,
    why_missing: str = "not scored here",
) -> SiteMatrix:
    """Models `own/<site>` in order of sites, then `without`, `swarm`, `pooled` where any prediction exists.

    scores: as in `comparison`. why_missing: said where a model was not scored at a site, e.g. that own models stay
    at home under masks.
    """
    name, sites = measure or PRIMARY[observed.outcome], observed.sites
    models = [f"own/{site}" for site in sites]
    models += ["without"] if any(model.startswith("without/") for model in scores) else []
    models += [model for model in ("swarm", "pooled") if model in scores]
    parts = {site: observed.at(site) for site in sites}

    def cell(model: str, site: str) -> Cell:
        score = scores.get(f"without/{site}" if model == "without" else model, {}).get(site)
        n = len(parts[site])
        if score is None:
            return Cell(value=None, n=n, reason=f"missing: {why_missing}")
        value = measure_values(np.asarray(score, dtype=np.float64), parts[site])[name]
        return Cell(value=value, n=n, reason="" if value is not None else f"missing: not defined for n = {n}")

    cells = tuple(tuple(cell(model, site) for site in sites) for model in models)
    return SiteMatrix(measure=name, models=tuple(models), sites=sites, cells=cells)
