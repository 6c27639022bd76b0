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


def violations(slope: Floats, w: Floats, *, l1: Floats, l2: Floats) -> Floats:
    """How far each coordinate is from optimal, in units of the gradient; slope: of the smooth part without l2."""
    whole = slope + l2 * w
    inside = np.maximum(np.abs(whole) - l1, 0.0)
    return np.where(w != 0, np.abs(whole + l1 * np.sign(w)), inside)


def minimise(gradient: Floats, hessian: Floats, at: Floats, *, l1: Floats, l2: Floats, tolerance: float) -> Floats:
    """w with all violations at most `tolerance`, or after 200 passes; all arrays (q,), hessian (q, q)."""
    w = np.array(at, dtype=np.float64)
    slope = np.array(gradient, dtype=np.float64)
    for _ in range(_PASSES):
        broken = violations(slope, w, l1=l1, l2=l2) > tolerance
        if not broken.any():
            break
        active = np.flatnonzero(broken | (w != 0))
        small = np.ascontiguousarray(hessian[np.ix_(active, active)])
        moved = _sweeps(slope[active], small, w[active], l1=l1[active], l2=l2[active], tolerance=tolerance / 2)
        change = moved - w[active]
        w[active] = moved
        shifted = np.flatnonzero(change)
        if len(shifted) == 0:
            break
        slope = slope + fp.matvec(hessian[:, active[shifted]], change[shifted])
    return w


def _sweeps(slope: Floats, hessian: Floats, w: Floats, *, l1: Floats, l2: Floats, tolerance: float) -> Floats:
    """Coordinate by coordinate until none breaks its condition."""
    w, slope = w.copy(), slope.copy()
    curvature = np.diagonal(hessian) + l2
    for _ in range(_SWEEPS):
        for j in np.flatnonzero(curvature > 0):
            target = curvature[j] * w[j] - slope[j] - l2[j] * w[j]
            shrunk = max(abs(target) - l1[j], 0.0) / curvature[j]
            new = shrunk if target > 0 else -shrunk
            change = new - w[j]
            if change != 0.0:
                w[j] = new
                slope += change * hessian[j]
        if not (violations(slope, w, l1=l1, l2=l2) > tolerance).any():
            break
    return w
