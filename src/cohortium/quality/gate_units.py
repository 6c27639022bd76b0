"""Units: a column whose median is a known factor away from the consortium's was probably entered in another unit.

Only a person at the site may convert it; the check names the factor, and the unit where the study's is known.
"""

from __future__ import annotations

import math
from collections.abc import Mapping

import numpy as np

from cohortium.core.check import Check
from cohortium.core.examples import Examples
from cohortium.data.units import TOLERANCE, unit_warning
from cohortium.quality.repairs import FACTORS

__all__ = ["check_units", "likely_factor", "medians"]

_FAR = 8.0  # three stops: no two hospitals differ so much in the same unit
_NEAR = 1.25  # about a known factor, where the column is far off anyhow: medians of few patients vary
_LEAST = 5  # values of a column


def medians(examples: Examples) -> dict[str, float]:
    """The median of each column of a table with at least five values; it stays at the site."""
    found = {}
    for at, name in enumerate(examples.layout.features):
        known = examples.x[:, at][~np.isnan(examples.x[:, at])]
        if len(known) >= _LEAST:
            found[name] = float(np.median(known))
    return found


def likely_factor(own: float, merged: float) -> float | None:
    """What the site's values would have to be multiplied with: a known factor, 0 for "far off", None for nothing.

    Far columns get the nearest known factor within a quarter of it. Medians of which one is zero, or of different
    signs, tell nothing.
    """
    if own * merged <= 0 or not (np.isfinite(own) and np.isfinite(merged)):
        return None
    ratio = merged / own
    for known in FACTORS:
        for factor in (known, 1.0 / known):
            if abs(ratio / factor - 1) <= TOLERANCE:
                return factor
    if max(ratio, 1 / ratio) <= _FAR:
        return None
    known = min((f for one in FACTORS for f in (one, 1.0 / one)), key=lambda f: abs(math.log(ratio / f)))
    return known if max(ratio / known, known / ratio) <= _NEAR else 0.0


def check_units(
    own: Mapping[str, float], merged: Mapping[str, float], *, units: Mapping[str, str] | None = None
) -> list[Check]:
    """One check a suspicious column, or a single one that all is well. merged: medians of all sites together.

    units: the study's unit of a column, where there is one.
    """
    found = []
    for column in sorted(set(own) & set(merged)):
        factor = likely_factor(own[column], merged[column])
        if factor is None:
            continue
        known = unit_warning(
            column, quantity="", unit=(units or {}).get(column, ""), median=own[column], reference=merged[column]
        )
        what = f"{own[column] / merged[column]:.3g} times that of all sites"
        looks = known or f"column '{column}': its median is {what}"
        fix = f"multiply by {factor:g}" if factor else "compare this column's unit with the study's"
        found.append(Check(id="units", level="warn", found=looks, fix=f"{fix}, once a person has confirmed the unit"))
    return found or [Check(id="units", level="ok", found="no column's median is far from that of all sites")]
