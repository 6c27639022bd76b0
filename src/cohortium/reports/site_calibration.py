"""A site's repair and what it did: recalibrate and choose a threshold on the calibration part, measure on test.

The figures before use the raw probabilities and a threshold of 0.5, those after the site's own of both.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from cohortium.reports.calibration import calibration_bins
from cohortium.reports.measure import Measure
from cohortium.reports.observed import Observed
from cohortium.reports.panel import measure_all
from cohortium.reports.recalibration import CalibrationPart, Kind, choose_threshold, recalibrate
from cohortium.reports.record import SiteCalibration
from cohortium.reports.resampling import DRAWS

__all__ = ["SHOWN", "calibrate_site"]

SHOWN = (
    "accuracy",
    "sensitivity",
    "specificity",
    "ppv",
    "npv",
    "brier",
    "calibration_intercept",
    "calibration_slope",
    "ece",
)
"""Measures kept before and after."""


def calibrate_site(
    part: CalibrationPart,
    probabilities: NDArray[np.float64],
    observed: Observed,
    *,
    rng: np.random.Generator,
    rule: str = "youden",
    kind: Kind | None = None,
    prevalence: float | None = None,
    expected: float | None = None,
    draws: int = DRAWS,
) -> SiteCalibration:
    """Fit on `part`, measure on the site's test rows (`probabilities`, `observed`, binary).

    rule: see `choose_threshold`; it is applied to the recalibrated calibration part. kind, prevalence, expected:
    see `recalibrate`.
    """
    repaired = recalibrate(part, prevalence=prevalence, expected=expected, kind=kind)
    threshold = choose_threshold(CalibrationPart(y=part.y, p=repaired.apply(part.p)), rule)
    better = repaired.apply(probabilities)
    known = observed.known()
    y = np.zeros(0) if observed.y is None else observed.y[known]

    def measured(p: NDArray[np.float64], cut: float) -> dict[str, Measure]:
        found = measure_all(p, observed, rng=rng, threshold=cut, draws=draws)
        return {name: found[name] for name in SHOWN}

    return SiteCalibration(
        recalibration=repaired,
        threshold=threshold,
        before=measured(probabilities, 0.5),
        after=measured(better, threshold.value),
        bins_before=calibration_bins(y, probabilities[known]),
        bins_after=calibration_bins(y, better[known]),
    )
