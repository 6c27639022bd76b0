"""Repair at one site, on its calibration part only: risks recalibrated, a threshold chosen. The model stays as it is.

`CalibrationPart` is the only thing the two fits accept, so test rows cannot reach them by mistake. Below 10 of a
class only the prevalence shift is left: from what the model expects there to what was seen, both in the
calibration part unless the caller knows better; below 50 of the rarer class the intercept; else intercept and
slope, the slope drawn to 1 with weight 5. Isotonic regression on request, from 1,000 records.

Sources: Steyerberg 2009, chapter 20 (updating); Elkan 2001 (prevalence shift); Ayer et al. 1955 (pooled
adjacent violators); Youden 1950; Vickers, Elkin 2006.
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from typing import Literal

import numpy as np
from numpy.typing import NDArray

from cohortium.reports.calibration import fit_logistic, logit

__all__ = [
    "CalibrationPart",
    "Kind",
    "Recalibration",
    "Threshold",
    "choose_threshold",
    "prevalence_shift",
    "recalibrate",
]

Floats = NDArray[np.float64]
Kind = Literal["none", "prevalence", "intercept", "slope", "isotonic"]

MIN_OF_CLASS, MIN_FOR_SLOPE, MIN_FOR_ISOTONIC, SLOPE_WEIGHT = 10, 50, 1000, 5.0


@dataclass(frozen=True, kw_only=True, eq=False)
class CalibrationPart:
    """Outcomes (0/1, NaN where unknown) and predicted probabilities of a site's calibration part."""

    y: Floats
    p: Floats

    def __post_init__(self) -> None:
        if len(self.y) != len(self.p):
            raise ValueError(f"calibration part: {len(self.y)} outcomes, {len(self.p)} predictions")
        known = np.isfinite(self.y)
        object.__setattr__(self, "y", np.asarray(self.y, dtype=np.float64)[known])
        object.__setattr__(self, "p", np.asarray(self.p, dtype=np.float64)[known])

    @property
    def smaller_class(self) -> int:
        """Records of the rarer outcome."""
        positive = int((self.y > 0.5).sum())
        return min(positive, len(self.y) - positive)


@dataclass(frozen=True, kw_only=True)
class Recalibration:
    """A site's own map of probabilities: expit(intercept + slope logit p), or steps through `knots` (isotonic)."""

    kind: Kind
    intercept: float = 0.0
    slope: float = 1.0
    knots: tuple[tuple[float, float], ...] = ()
    n: int = 0
    reason: str = ""

    def apply(self, p: Floats) -> Floats:
        """Recalibrated probabilities, same shape."""
        if self.kind == "none":
            return p
        if self.kind == "isotonic":
            x, y = np.array(self.knots).T
            return np.asarray(np.interp(p, x, y), dtype=np.float64)
        return np.asarray(0.5 * (1 + np.tanh((self.intercept + self.slope * logit(p)) / 2)), dtype=np.float64)


def prevalence_shift(prevalence: float, expected: float) -> float:
    """logit(prevalence) - logit(expected): what to add to logit p where labels are few or missing.

    prevalence: of the outcome at the site. expected: mean prediction there; the outcome's share in the swarm's
    training rows only where no prediction is at hand, since a model that knows the site is then shifted twice.
    """
    for name, value in (("prevalence", prevalence), ("expected", expected)):
        if not 0 < value < 1:
            raise ValueError(f"{name} must lie in (0, 1), got {value}")
    first, second = logit(np.array([prevalence, expected]))
    return float(first - second)


def recalibrate(
    part: CalibrationPart,
    *,
    prevalence: float | None = None,
    expected: float | None = None,
    kind: Kind | None = None,
) -> Recalibration:
    """The recalibration this part can carry. kind: None chooses by size; a kind asks for it.

    prevalence, expected: of the prevalence shift, best over the site's training and calibration rows; None takes
    both from this part.
    Where the part is too small for what was asked, the next simpler kind is taken and `reason` says so.
    """
    _only_calibration(part)
    n, smaller = len(part.y), part.smaller_class
    wanted: Kind = kind or ("slope" if smaller >= MIN_FOR_SLOPE else "intercept")
    reason = ""
    if wanted == "none" or n == 0:
        return Recalibration(kind="none", n=n, reason="" if n else "no calibration record")
    if wanted == "isotonic" and n < MIN_FOR_ISOTONIC:
        wanted, reason = "slope", f"isotonic needs {MIN_FOR_ISOTONIC} records, found {n}"
    if wanted != "prevalence" and smaller < MIN_OF_CLASS:
        wanted, reason = "prevalence", f"fewer than {MIN_OF_CLASS} of a class: prevalence shift only"
    if wanted == "isotonic":
        return Recalibration(kind="isotonic", knots=_isotonic(part.y, part.p), n=n)
    if wanted != "prevalence":
        x = logit(part.p)
        fit = fit_logistic(part.y, x, slope_fixed=wanted == "intercept", slope_weight=SLOPE_WEIGHT)
        if fit is not None:
            return Recalibration(kind=wanted, intercept=fit.intercept, slope=fit.slope, n=n, reason=reason)
        wanted, reason = "prevalence", "the fit ran away: prevalence shift only"
    if prevalence is None:
        prevalence = (float(part.y.sum()) + 0.5) / (n + 1)  # half a record each way, so that 0 of n has a logit
    if expected is None:
        expected = float(np.clip(part.p, 1e-6, 1 - 1e-6).mean())
    return Recalibration(kind=wanted, intercept=prevalence_shift(prevalence, expected), n=n, reason=reason)


@dataclass(frozen=True, kw_only=True)
class Threshold:
    """The probability from which a patient is called positive, the rule that chose it, and why not another."""

    value: float
    rule: str
    n: int = 0
    reason: str = ""


def choose_threshold(part: CalibrationPart, rule: str) -> Threshold:
    """The threshold a rule gives on the calibration part.

    rule: a number in (0, 1); `youden`; `sensitivity >= 0.90`; `net benefit 0.20` (patients are treated from a
    risk of 0.20: the cut with the largest net benefit at those odds). 0.5 with a reason below 10 of a class.
    """
    _only_calibration(part)
    found = re.fullmatch(r"(?:(youden)|(sensitivity)\s*>=\s*|(net benefit)\s+|)(0?\.\d+)?", rule.strip())
    if found is None or (found[1] is None) == (found[4] is None):
        raise ValueError(
            f"threshold {rule!r}; expected 0 < number < 1, 'youden', 'sensitivity >= 0.90', 'net benefit 0.20'"
        )
    number = float(found[4]) if found[4] else 0.0
    if found[1] is None and not 0 < number < 1:
        raise ValueError(f"threshold {rule!r}: the number must lie in (0, 1), got {number}")
    if not (found[1] or found[2] or found[3]):
        return Threshold(value=number, rule=rule, n=len(part.y))
    if part.smaller_class < MIN_OF_CLASS:
        return Threshold(value=0.5, rule=rule, n=len(part.y), reason=f"fewer than {MIN_OF_CLASS} of a class: 0.5 taken")
    cuts, sensitivity, false_alarm = _operating_points(part)
    if found[2]:
        allowed = np.flatnonzero(sensitivity >= number - 1e-12)
        return Threshold(value=float(cuts[allowed[0]]), rule=rule, n=len(part.y))
    if found[1]:
        gain = sensitivity - false_alarm
    else:
        share = float(part.y.mean())
        gain = sensitivity * share - false_alarm * (1 - share) * number / (1 - number)
    return Threshold(value=float(cuts[int(np.argmax(gain))]), rule=rule, n=len(part.y))


def _operating_points(part: CalibrationPart) -> tuple[Floats, Floats, Floats]:
    """Cuts from the highest down, half-way between neighbouring predictions, with sensitivity and false alarms."""
    order = np.argsort(-part.p, kind="stable")
    p, y = part.p[order], part.y[order] > 0.5
    ends = np.flatnonzero(np.append(np.diff(p) != 0, True))
    following = np.append(p[ends[:-1] + 1], 0.0)
    hits, alarms = np.cumsum(y)[ends], np.cumsum(~y)[ends]
    return (p[ends] + following) / 2, hits / max(int(y.sum()), 1), alarms / max(int((~y).sum()), 1)


def _isotonic(y: Floats, p: Floats) -> tuple[tuple[float, float], ...]:
    """Pool adjacent violators over distinct predictions; a knot at both ends of every block."""
    x, place, counts = np.unique(p, return_inverse=True, return_counts=True)
    sums = np.bincount(place.reshape(-1), y, minlength=len(x))
    blocks: list[list[float]] = []  # sum, records, first x, last x
    for at, total, count in zip(x.tolist(), sums.tolist(), counts.tolist(), strict=True):
        blocks.append([total, count, at, at])
        while len(blocks) > 1 and blocks[-2][0] * blocks[-1][1] >= blocks[-1][0] * blocks[-2][1]:
            total_, count_, _, last = blocks.pop()
            blocks[-1] = [blocks[-1][0] + total_, blocks[-1][1] + count_, blocks[-1][2], last]
    knots: list[tuple[float, float]] = []
    for total, count, first, last in blocks:
        level = total / count
        knots.append((first, level))
        if last > first:
            knots.append((last, level))
    return tuple(knots)


def _only_calibration(part: object) -> None:
    if not isinstance(part, CalibrationPart):
        raise TypeError(f"recalibration accepts a CalibrationPart only, got {type(part).__name__}")
