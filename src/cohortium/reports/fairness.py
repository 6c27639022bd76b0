"""Whether a model serves all groups of patients: measures per subgroup, gaps with intervals, the worst one named.

A subgroup is judged where it holds at least 10 of each class. A site's class imbalance alone moves error rates,
so gaps are to be read beside the outcome share, which is given.

Sources: Newcombe 1998 (difference of two shares, method 10); Hardt et al. 2016 (sensitivity and specificity gaps).
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from cohortium.reports.calibration import calibration_intercept
from cohortium.reports.classification import confusion
from cohortium.reports.discrimination import Z95, auroc_difference, auroc_measure
from cohortium.reports.measure import Measure, unavailable
from cohortium.reports.observed import Observed

__all__ = ["MIN_OF_CLASS", "Gap", "Subgroup", "gaps", "subgroups", "worst"]

MIN_OF_CLASS = 10

Floats = NDArray[np.float64]


@dataclass(frozen=True, kw_only=True)
class Subgroup:
    """One level of one attribute. measures: auroc, sensitivity, specificity, calibration_intercept.

    share: of the outcome, None where withheld. gain: AUROC of the swarm minus that of the sites' own models.
    """

    attribute: str
    level: str
    n: int | None
    share: float | None
    measures: dict[str, Measure]
    gain: Measure


@dataclass(frozen=True, kw_only=True)
class Gap:
    """Largest difference of one measure between two judged levels of an attribute."""

    attribute: str
    measure: str
    higher: str
    lower: str
    difference: Measure


def subgroups(
    predictions: Floats,
    observed: Observed,
    groups: Mapping[str, tuple[Sequence[str], NDArray[np.integer]]],
    *,
    own: Floats | None = None,
    repaired: Floats | None = None,
    threshold: float | Floats = 0.5,
) -> tuple[Subgroup, ...]:
    """Measures per subgroup of a binary outcome.

    groups: attribute -> (names of levels, codes of shape (n,), -1 unknown). own: predictions of each row's own
    site's model. repaired: predictions after each site's recalibration, None = as they are; the threshold (one, or
    one a row) is theirs, and so are sensitivity, specificity and calibration. AUROC and gain take `predictions`.
    """
    if observed.outcome != "binary" or observed.y is None:
        raise ValueError(f"subgroups are judged for a binary outcome, got {observed.outcome!r}")
    known = observed.known()
    found = []
    for attribute, (levels, codes) in groups.items():
        for code, level in enumerate(levels):
            rows = (codes == code) & known
            y, p, patient = observed.y[rows], predictions[rows], observed.patient[rows]
            cut = threshold if isinstance(threshold, float | int) else threshold[rows]
            found.append(
                Subgroup(
                    attribute=attribute,
                    level=str(level),
                    n=int(rows.sum()),
                    share=float(y.mean()) if len(y) else None,
                    measures=_measures(y, p, p if repaired is None else repaired[rows], patient, cut),
                    gain=_gain(y, p, None if own is None else own[rows], patient),
                )
            )
    return tuple(found)


def gaps(found: Sequence[Subgroup]) -> tuple[Gap, ...]:
    """For each attribute with two judged levels or more: the largest gap in each error measure."""
    result = []
    for attribute in dict.fromkeys(group.attribute for group in found):
        for measure in ("sensitivity", "specificity", "calibration_intercept"):
            judged = [g for g in found if g.attribute == attribute and g.measures[measure].interval is not None]
            if len(judged) < 2:
                continue
            ordered = sorted(judged, key=lambda g: g.measures[measure].value or 0.0)
            low, high = ordered[0], ordered[-1]
            result.append(
                Gap(
                    attribute=attribute,
                    measure=measure,
                    higher=high.level,
                    lower=low.level,
                    difference=_difference(high.measures[measure], low.measures[measure], measure),
                )
            )
    return tuple(result)


def worst(found: Sequence[Subgroup], measure: str = "auroc") -> Subgroup | None:
    """The judged subgroup with the lowest value; None where none is judged."""
    judged = [group for group in found if group.measures[measure].value is not None]
    return min(judged, key=lambda g: g.measures[measure].value or 0.0, default=None)


def _measures(
    y: Floats, p: Floats, repaired: Floats, patient: NDArray[np.int64], cut: float | Floats
) -> dict[str, Measure]:
    names = ("auroc", "sensitivity", "specificity", "calibration_intercept")
    positive = int((y > 0.5).sum())
    if min(positive, len(y) - positive) < MIN_OF_CLASS:
        return {name: unavailable(len(y), f"fewer than {MIN_OF_CLASS} of a class") for name in names}
    shares = confusion(y, repaired, threshold=cut).measures()
    return {
        "auroc": auroc_measure(y, p, patient),
        "sensitivity": shares["sensitivity"],
        "specificity": shares["specificity"],
        "calibration_intercept": calibration_intercept(y, repaired),
    }


def _gain(y: Floats, p: Floats, own: Floats | None, patient: NDArray[np.int64]) -> Measure:
    if own is None:
        return unavailable(len(y), "own models were not scored")
    positive = int((y > 0.5).sum())
    tested = auroc_difference(y, p, own, patient)
    if tested is None or min(positive, len(y) - positive) < MIN_OF_CLASS:
        return unavailable(len(y), f"fewer than {MIN_OF_CLASS} of a class")
    reach = Z95 * tested.standard_error
    value = tested.difference
    return Measure(value=value, low=value - reach, high=value + reach, n=len(y), method="paired DeLong")


def _difference(high: Measure, low: Measure, measure: str) -> Measure:
    """Difference of two independent measures by squaring and adding the distances to their limits."""
    a, b = high.value or 0.0, low.value or 0.0
    (a_low, a_high), (b_low, b_high) = high.interval or (a, a), low.interval or (b, b)
    below = float(np.hypot(a - a_low, b_high - b))
    above = float(np.hypot(a_high - a, b - b_low))
    method = "Newcombe" if measure != "calibration_intercept" else "Wald"
    n = (high.n or 0) + (low.n or 0)
    return Measure(value=a - b, low=a - b - below, high=a - b + above, n=n, method=method)
