"""Decisions at a threshold: accuracy, sensitivity, specificity, predictive values, F1, net benefit; Wilson intervals.

Pure functions on arrays; a patient is called positive when the probability is at least the threshold.

Sources: Wilson 1927 (interval of a share); Vickers, Elkin 2006 (net benefit).
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from cohortium.reports.discrimination import Z95
from cohortium.reports.measure import Measure, unavailable

__all__ = ["Confusion", "confusion", "f1", "net_benefit", "predictive_values", "share", "wilson"]


@dataclass(frozen=True, kw_only=True)
class Confusion:
    """The four counts at a threshold."""

    tp: int
    fp: int
    fn: int
    tn: int

    @property
    def n(self) -> int:
        """All records."""
        return self.tp + self.fp + self.fn + self.tn

    def measures(self) -> dict[str, Measure]:
        """accuracy, sensitivity, specificity, ppv, npv with Wilson intervals, F1 without."""
        return {
            "accuracy": share(self.tp + self.tn, self.n),
            "sensitivity": share(self.tp, self.tp + self.fn),
            "specificity": share(self.tn, self.tn + self.fp),
            "ppv": share(self.tp, self.tp + self.fp),
            "npv": share(self.tn, self.tn + self.fn),
            "f1": Measure(value=f1(self.tp, self.fp, self.fn), n=self.n),
        }


def confusion(
    y: NDArray[np.float64], probability: NDArray[np.float64], *, threshold: float | NDArray[np.float64] = 0.5
) -> Confusion:
    """Counts at a threshold (one number, or one per row where sites use their own)."""
    called, truth = probability >= threshold, y > 0.5
    return Confusion(
        tp=int((called & truth).sum()),
        fp=int((called & ~truth).sum()),
        fn=int((~called & truth).sum()),
        tn=int((~called & ~truth).sum()),
    )


def wilson(k: int, n: int) -> tuple[float, float] | None:
    """95 % interval of the share k of n; None for n = 0."""
    if n == 0:
        return None
    p, z2 = k / n, Z95 * Z95
    centre = (p + z2 / (2 * n)) / (1 + z2 / n)
    reach = Z95 / (1 + z2 / n) * float(np.sqrt(p * (1 - p) / n + z2 / (4 * n * n)))
    return (0.0 if k == 0 else centre - reach, 1.0 if k == n else centre + reach)


def share(k: int, n: int) -> Measure:
    """The share k of n as a measure with Wilson's interval."""
    interval = wilson(k, n)
    if interval is None:
        return unavailable(0)
    return Measure(value=k / n, low=interval[0], high=interval[1], n=n, method="Wilson")


def f1(tp: float, fp: float, fn: float) -> float:
    """Harmonic mean of PPV and sensitivity; NaN where nothing is and nothing was called positive."""
    below = 2 * tp + fp + fn
    return 2 * tp / below if below else float("nan")


def net_benefit(y: NDArray[np.float64], probability: NDArray[np.float64], *, threshold: float) -> float:
    """True positives minus odds-weighted false positives, per patient; the odds are those of the threshold.

    threshold: in (0, 1), the risk at which a patient is treated. NaN for no patients.
    """
    if not 0 < threshold < 1:
        raise ValueError(f"threshold must lie in (0, 1), got {threshold}")
    if len(y) == 0:
        return float("nan")
    counts = confusion(y, probability, threshold=threshold)
    return (counts.tp - counts.fp * threshold / (1 - threshold)) / counts.n


def predictive_values(sensitivity: float, specificity: float, *, prevalence: float) -> tuple[float, float]:
    """PPV and NPV at a stated prevalence (Bayes' rule); NaN where nobody would be called so."""
    if not 0 <= prevalence <= 1:
        raise ValueError(f"prevalence must lie in [0, 1], got {prevalence}")
    hit, false = sensitivity * prevalence, (1 - specificity) * (1 - prevalence)
    clear, missed = specificity * (1 - prevalence), (1 - sensitivity) * prevalence
    ppv = hit / (hit + false) if hit + false > 0 else float("nan")
    npv = clear / (clear + missed) if clear + missed > 0 else float("nan")
    return ppv, npv
