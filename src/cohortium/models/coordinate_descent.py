"""The elastic-net minimum of a quadratic by coordinate descent, in fixed order and bit-exact.

Minimises g'd + d'Hd/2 + sum l1_j |w_j| + sum l2_j w_j^2 / 2 with d = w - at. Only coordinates that break the
optimality conditions are worked on, on their own small matrix; then all are looked at again.
Source: Friedman, Hastie, Tibshirani 2010, Regularization Paths for Generalized Linear Models.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from cohortium.core import fixed_point as fp

__all__ = ["minimise", "violations"]

Floats = NDArray[np.float64]

_PASSES = 200
_SWEEPS = 500
_FARTHEST = 2.0**60
_STEPS = 1 << 21
"""Coordinates looked at in all passes together; nearly singular sums, honest or not, end with what was reached."""


def violations(slope: Floats, w: Floats, *, l1: Floats, l2: Floats) -> Floats:
    """How far each coordinate is from optimal, in units of the gradient; slope: of the smooth part without l2."""
    whole = slope + l2 * w
    inside = np.maximum(np.abs(whole) - l1, 0.0)
    return np.where(w != 0, np.abs(whole + l1 * np.sign(w)), inside)


def minimise(gradient: Floats, hessian: Floats, at: Floats, *, l1: Floats, l2: Floats, tolerance: float) -> Floats:
    """w with all violations at most `tolerance`, or after 200 passes or 2 million steps.

    All arrays (q,), hessian (q, q).

    Raises ArithmeticError where there is no minimum: a matrix of second derivatives that no patients can have would
    keep every site busy for as long as there are columns.
    """
    w = np.array(at, dtype=np.float64)
    slope = np.array(gradient, dtype=np.float64)
    left = _STEPS
    for _ in range(_PASSES):
        broken = violations(slope, w, l1=l1, l2=l2) > tolerance
        if not broken.any():
            break
        active = np.flatnonzero(broken | (w != 0))
        small = np.ascontiguousarray(hessian[np.ix_(active, active)])
        sweeps = min(_SWEEPS, max(1, left // len(active)))
        moved, done = _sweeps(
            slope[active], small, w[active], l1=l1[active], l2=l2[active], tolerance=tolerance / 2, sweeps=sweeps
        )
        left -= done * len(active)
        change = moved - w[active]
        w[active] = moved
        shifted = np.flatnonzero(change)
        if len(shifted) == 0 or left <= 0:
            break
        slope = slope + fp.matvec(hessian[:, active[shifted]], change[shifted])
    return w


def _sweeps(
    slope: Floats, hessian: Floats, w: Floats, *, l1: Floats, l2: Floats, tolerance: float, sweeps: int
) -> tuple[Floats, int]:
    """Coordinate by coordinate until none breaks its condition; and in how many sweeps."""
    w, slope = w.copy(), slope.copy()
    curvature = np.diagonal(hessian) + l2
    done = 0
    while done < sweeps:
        done += 1
        before = w.copy()
        for j in np.flatnonzero(curvature > 0):
            target = curvature[j] * w[j] - slope[j] - l2[j] * w[j]
            shrunk = max(abs(target) - l1[j], 0.0) / curvature[j]
            new = shrunk if target > 0 else -shrunk
            change = new - w[j]
            if change != 0.0:
                w[j] = new
                slope += change * hessian[j]
        if not (np.abs(w) < _FARTHEST).all():
            raise ArithmeticError("the quadratic has no minimum")
        if not (violations(slope, w, l1=l1, l2=l2) > tolerance).any() or np.array_equal(w, before):
            break
    return w, done
