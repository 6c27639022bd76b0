"""Arithmetic that gives the same bits on every processor: integers, fixed point, and a few functions of + - x /.

`numpy.exp`, `numpy.log`, matrix products and `numpy.linalg` differ in last bits between vector units
and BLAS kernels (measured: swarm.md section 7), so whatever decides a merge is computed here: values
rounded to multiples of 2^-bits and added as int64; e^x and log x by range reduction and a fixed
polynomial; linear systems by an outer-product Cholesky whose every step is element-wise. Only + - x /,
sqrt, rint, comparisons and bit patterns of numpy arrays are used, no fused and no reordered form.

The names: `to_fixed`, `from_fixed`, `check_total`, `integer_dot`, `weighted_gram`; `exp`, `log`,
`log1p`, `sigmoid`, `log1p_exp`; `ordered_sum`, `cumulative`, `cumulative_from_end`, `matvec`;
`cholesky`, `solve_spd`, `inverse_spd`. Sums of doubles of any magnitude: `wide_sums.py`.
"""

from __future__ import annotations

import math

import numpy as np
from numpy.typing import ArrayLike, NDArray

from cohortium.errors import TrainingFailed

__all__ = [
    "MAX_TOTAL",
    "NotPositiveDefinite",
    "check_total",
    "cholesky",
    "cumulative",
    "cumulative_from_end",
    "exp",
    "from_fixed",
    "integer_dot",
    "inverse_spd",
    "log",
    "log1p",
    "log1p_exp",
    "matvec",
    "ordered_sum",
    "sigmoid",
    "solve_spd",
    "to_fixed",
    "weighted_gram",
]

Floats = NDArray[np.float64]
Integers = NDArray[np.int64]

MAX_TOTAL = 1 << 62
"""No sum of integers may reach this; half of what int64 holds, so that a check cannot itself overflow."""

_EXACT_IN_FLOAT = 1 << 53
_LN2_HI = float.fromhex("0x1.62e42fefa38p-1")  # 42 bits: times an exponent of 11 bits it is exact
_LN2_LO = float.fromhex("0x1.ef35793c7673p-45")
_LOG2_E = float.fromhex("0x1.71547652b82fep+0")
_EXP_TERMS = tuple(1.0 / math.factorial(k) for k in range(13, 1, -1))  # r^14/14! < 2^-57 of e^r for |r| <= ln2/2
_LOG_TERMS = tuple(2.0 / (2 * k + 1) for k in range(11, 0, -1))  # s^24/25 < 2^-60 for |s| <= 3 - 2 sqrt 2
_ONE = 1023 << 52
_TILE = 128


class NotPositiveDefinite(ValueError):
    """A matrix that should be symmetric positive definite has a pivot that is not positive."""


# Integers


def to_fixed(values: ArrayLike, bits: int, *, what: str = "values") -> Integers:
    """The nearest multiples of 2^-bits as int64, ties to even: rint(values x 2^bits).

    Round every patient's term first, then add: the sum is the same for any order and any partition.
    Raises TrainingFailed, naming `what`, for values that are not finite or do not fit below 2^62.
    """
    floats = np.asarray(values, dtype=np.float64)
    if not np.isfinite(floats).all():
        n_bad = int(floats.size - np.count_nonzero(np.isfinite(floats)))
        raise TrainingFailed(f"{what}: {n_bad} of {floats.size} values are not finite", code="not_finite")
    largest = float(np.max(np.abs(floats), initial=0.0))
    if largest >= math.ldexp(1.0, 62 - bits):
        raise TrainingFailed(f"{what}: a value of 2^{math.frexp(largest)[1]} or so at {bits} fractional bits"
                             " does not fit into 62 bits", code="overflow")  # fmt: skip
    return np.rint(floats * math.ldexp(1.0, bits)).astype(np.int64)


def from_fixed(values: ArrayLike, bits: int) -> Floats:
    """The float64 nearest to each integer multiple of 2^-bits."""
    return np.asarray(values, dtype=np.int64).astype(np.float64) * math.ldexp(1.0, -bits)


def check_total(largest_term: float, n_terms: int, *, what: str = "sum") -> None:
    """Raise TrainingFailed, naming `what`, unless n_terms integers of that size stay below 2^62 together."""
    if not largest_term * max(n_terms, 1) < MAX_TOTAL:
        raise TrainingFailed(f"{what}: {n_terms} terms of up to 2^{math.frexp(largest_term)[1]} may reach 2^62",
                             code="overflow")  # fmt: skip


def integer_dot(a: Integers, b: Integers, *, what: str = "product") -> Integers:
    """The exact matrix product a b of int64 arrays (n, k) and (k, m), or with (k,) for either.

    Where k max|a| max|b| < 2^53 the work is done by float64 BLAS: every partial sum is an integer that
    float64 holds exactly, so order, kernel and fused steps cannot matter. Above, int64 loops; at 2^62,
    TrainingFailed naming `what`.
    """
    bound = _largest(a) * _largest(b) * a.shape[-1]
    if bound >= MAX_TOTAL:
        raise TrainingFailed(f"{what}: totals may reach 2^{bound.bit_length()}, the limit is 2^62", code="overflow")
    if bound < _EXACT_IN_FLOAT:
        product: Integers = np.asarray(a.astype(np.float64) @ b.astype(np.float64)).astype(np.int64)
        return product
    return np.asarray(a @ b, dtype=np.int64)


def weighted_gram(x: Integers, weights: Integers, *, what: str = "Hessian") -> Integers:
    """The exact sum over rows of weights_i x_i x_i', shape (p, p), from int64 x (n, p) and weights (n,)."""
    if _largest(x) * _largest(weights) >= MAX_TOTAL:
        raise TrainingFailed(f"{what}: weight times value may reach 2^62", code="overflow")
    return integer_dot((x * weights[:, None]).T, x, what=what)


def _largest(values: Integers) -> int:
    return 0 if values.size == 0 else max(abs(int(values.min())), abs(int(values.max())))


# Functions


def exp(x: ArrayLike) -> Floats:
    """e^x within 1 unit in the last place; 0 below -745.2, infinity above 709.8, NaN stays NaN.

    x = k ln 2 + r with |r| <= ln 2 / 2, then the Taylor series of e^r to r^13.
    """
    floats = np.asarray(x, dtype=np.float64)
    unknown = np.isnan(floats)
    held = np.minimum(np.maximum(np.where(unknown, 0.0, floats), -746.0), 710.0)
    k = np.rint(held * _LOG2_E)
    r = (held - k * _LN2_HI) - k * _LN2_LO
    grown = 1.0 + (r + r * r * _horner(r, _EXP_TERMS))
    exponent = k.astype(np.int64)
    half = exponent >> 1
    with np.errstate(over="ignore", under="ignore"):
        scaled = grown * _power_of_two(half) * _power_of_two(exponent - half)
    return np.where(unknown, np.nan, scaled)


def log(x: ArrayLike) -> Floats:
    """Natural logarithm within 1 unit in the last place; -infinity at 0, NaN below.

    x = 2^k m with m in [sqrt 1/2, sqrt 2], s = (m - 1)/(m + 1), log m = 2 (s + s^3/3 + ... + s^23/23).
    """
    floats = np.asarray(x, dtype=np.float64)
    usable = (floats > 0) & (floats < np.inf)
    held = np.where(usable, floats, 1.0)
    tiny = held < 2.0**-1022
    held = held * np.where(tiny, 2.0**54, 1.0)
    pattern = np.ascontiguousarray(held).view(np.int64).reshape(held.shape)
    k = (pattern >> 52) - 1023 - np.where(tiny, 54, 0)
    m = _as_float((pattern & ((1 << 52) - 1)) | _ONE)
    upper = m > math.sqrt(2.0)
    f = np.where(upper, 0.5 * m, m) - 1.0
    exponent = (k + upper).astype(np.float64)
    s = f / (2.0 + f)
    z = s * s
    half_square = 0.5 * f * f
    rest = s * (half_square + z * _horner(z, _LOG_TERMS))
    found = exponent * _LN2_HI - ((half_square - (rest + exponent * _LN2_LO)) - f)
    return np.where(usable, found, np.where(floats == 0, -np.inf, np.where(floats == np.inf, np.inf, np.nan)))


def log1p(x: ArrayLike) -> Floats:
    """log(1 + x) for x > -1, accurate near 0: log y - ((y - 1) - x)/y with y = 1 + x rounded."""
    floats = np.asarray(x, dtype=np.float64)
    y = 1.0 + floats
    usable = (y > 0) & (y < np.inf)
    safe = np.where(usable, y, 1.0)
    lost = np.where(usable, (safe - 1.0) - floats, 0.0)
    return log(y) - lost / safe


def sigmoid(x: ArrayLike) -> Floats:
    """1/(1 + e^-x), without overflow on either side."""
    floats = np.asarray(x, dtype=np.float64)
    small = exp(-np.abs(floats))
    return np.where(floats >= 0, 1.0, small) / (1.0 + small)


def log1p_exp(x: ArrayLike) -> Floats:
    """log(1 + e^x), without overflow: the loss of a logistic model at a margin of -x."""
    floats = np.asarray(x, dtype=np.float64)
    return np.maximum(floats, 0.0) + log1p(exp(-np.abs(floats)))


def _horner(x: Floats, terms: tuple[float, ...]) -> Floats:
    value = np.full_like(x, terms[0])
    for term in terms[1:]:
        value = value * x + term
    return value


def _power_of_two(exponent: Integers) -> Floats:
    return _as_float((exponent + 1023) << 52)


def _as_float(pattern: Integers) -> Floats:
    return np.ascontiguousarray(pattern).view(np.float64).reshape(pattern.shape)


# Sums and products of float64 in a fixed order


def ordered_sum(values: Floats, axis: int = 0) -> Floats:
    """Sum along an axis by halves: element i is added to element i + half until one is left.

    The order depends on the length alone, never on memory layout or vector unit; 0 for an empty axis.
    """
    held = np.asarray(values, dtype=np.float64)
    held = held if axis == 0 else np.moveaxis(held, axis, 0)
    if len(held) == 0:
        return np.zeros(held.shape[1:])
    while len(held) > 1:
        half = (len(held) + 1) // 2
        added = held[:half].copy()
        added[: len(held) - half] += held[half:]
        held = added
    return np.array(held[0])


def cumulative(values: Floats | Integers, axis: int = 0) -> Floats | Integers:
    """Running sums from the first element on, strictly one after the other; dtype stays."""
    return np.add.accumulate(values, axis=axis)


def cumulative_from_end(values: Floats | Integers, axis: int = 0) -> Floats | Integers:
    """Running sums from the last element back: element k holds the sum over all l >= k."""
    return np.flip(np.add.accumulate(np.flip(values, axis), axis=axis), axis)


def matvec(a: Floats, x: Floats) -> Floats:
    """The product of a matrix (n, p) and a vector (p,), each row summed by `ordered_sum`."""
    return ordered_sum(a * x, axis=1)


def cholesky(a: Floats) -> Floats:
    """Lower triangular L with L L' = A for a symmetric positive definite A (p, p); reads the lower half.

    Every element has its p products subtracted in the order of the columns, whatever the tile it is
    worked in. Raises NotPositiveDefinite, naming the pivot. p = 2,000 takes seconds.
    """
    factor = np.tril(np.asarray(a, dtype=np.float64))
    p = len(factor)
    for first in range(0, p, _TILE):
        last = min(first + _TILE, p)
        for k in range(first, last):
            pivot = float(factor[k, k])
            if not 0.0 < pivot < math.inf:
                raise NotPositiveDefinite(f"pivot {k + 1} of {p} is not positive: the matrix is not positive definite")
            factor[k:, k] /= math.sqrt(pivot)
            factor[k + 1 :, k + 1 : last] -= factor[k + 1 :, k, None] * factor[k + 1 : last, k]
        columns = np.ascontiguousarray(factor[last:, first:last].T)
        for top in range(last, p, _TILE):
            _subtract_products(factor, columns, top, last)
    return np.tril(factor)


def _subtract_products(factor: Floats, columns: Floats, top: int, last: int) -> None:
    """Take the finished columns' products from one stripe of rows, tile by tile (tiles stay in the cache)."""
    bottom = min(top + _TILE, len(factor))
    for left in range(last, bottom, _TILE):
        right = min(left + _TILE, bottom)
        tile = factor[top:bottom, left:right].copy()
        product = np.empty_like(tile)
        for column in columns:
            np.multiply(column[top - last : bottom - last, None], column[left - last : right - last], out=product)
            np.subtract(tile, product, out=tile)
        factor[top:bottom, left:right] = tile


def solve_spd(a: Floats, b: Floats) -> Floats:
    """x with A x = b for a symmetric positive definite A (p, p); b of shape (p,) or (p, m).

    Raises NotPositiveDefinite. Add to the diagonal first where A may be singular.
    """
    factor = cholesky(a)
    x = np.array(b, dtype=np.float64)
    wide = x if x.ndim == 2 else x[:, None]
    for k in range(len(factor)):
        wide[k] /= factor[k, k]
        wide[k + 1 :] -= factor[k + 1 :, k, None] * wide[k]
    for k in range(len(factor) - 1, -1, -1):
        wide[k] /= factor[k, k]
        wide[:k] -= factor[k, :k, None] * wide[k]
    return x


def inverse_spd(a: Floats) -> Floats:
    """The inverse of a symmetric positive definite matrix, made exactly symmetric."""
    inverse = solve_spd(a, np.eye(len(a)))
    return 0.5 * (inverse + inverse.T)
