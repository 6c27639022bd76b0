"""Exact sums of doubles of any clinical magnitude, in one exchange and without knowing their range.

A value is cut into ten integers of 32 bits that stand for multiples of 2^128, 2^96, ... 2^-160. Sites
add these integers (int64, up to 2^30 values), so the total is exact whatever the order or partition, a
column in picograms needs no other scale than one in cells per litre, and nobody has to release a
minimum or a maximum first. Squares are taken exactly too (Dekker's product), so mean and variance are
the correctly rounded ones of the values themselves: a constant column has variance 0, not nearly 0.

Source: the superaccumulator of Kulisch; Dekker 1971, A floating-point technique for extending the
available precision.
"""

from __future__ import annotations

import math

import numpy as np
from numpy.typing import NDArray

from cohortium.errors import TrainingFailed

__all__ = ["LIMBS", "MAX_VALUES", "wide_mean", "wide_square_sums", "wide_sums", "wide_variance"]

LIMBS = 10
MAX_VALUES = 1 << 30
"""Values one total may hold: each adds less than 2^32 to a limb, and 2^62 is the limit."""

_LIMB_BITS = 32
_TOP_BITS = 160  # values must stay below 2^160, squared ones below 2^80
_LAST_BITS = _LIMB_BITS * LIMBS - _TOP_BITS  # the last limb counts multiples of 2^-160
_BLOCK = 1 << 18
_SPLITTER = 134217729.0  # 2^27 + 1

Floats = NDArray[np.float64]
Integers = NDArray[np.int64]


def wide_sums(values: NDArray[np.floating], *, what: str = "values") -> Integers:
    """The exact sum over rows, int64 of shape (LIMBS, *rest); values: finite, (n, *rest), below 2^160.

    Digits below 2^-160 are rounded away value by value. Raises TrainingFailed, naming `what`.
    """
    total = np.zeros((LIMBS, *values.shape[1:]), dtype=np.int64)
    for block in _blocks(values):
        _add(total, block, what=what)
    return total


def wide_square_sums(values: NDArray[np.floating], *, what: str = "values") -> Integers:
    """The exact sum of squares over rows, as `wide_sums`; values must be below 2^80."""
    total = np.zeros((LIMBS, *values.shape[1:]), dtype=np.int64)
    for block in _blocks(values):
        if not float(np.max(np.abs(block), initial=0.0)) < math.ldexp(1.0, _TOP_BITS // 2):
            raise TrainingFailed(f"{what}: a value is not finite or too large to square", code="overflow")
        square = block * block
        spread = _SPLITTER * block
        high = spread - (spread - block)
        low = block - high
        _add(total, square, what=what)
        _add(total, ((high * high - square) + 2.0 * high * low) + low * low, what=what)
    return total


def wide_mean(total: Integers, count: NDArray[np.integer]) -> Floats:
    """total / count, correctly rounded; NaN where nothing was counted. total: (LIMBS, p), count: (p,)."""
    means = [_ratio(whole, n) for whole, n in zip(_whole(total), _counts(count), strict=True)]
    return np.array(means, dtype=np.float64)


def wide_variance(total: Integers, squares: Integers, count: NDArray[np.integer]) -> Floats:
    """The mean squared distance from the mean, correctly rounded; NaN where nothing was counted.

    Divides by n, not n - 1. Exactly 0 for a column of equal values.
    """
    found = [
        _ratio((n * second << _LAST_BITS) - first * first, n * n, bits=2 * _LAST_BITS)
        for first, second, n in zip(_whole(total), _whole(squares), _counts(count), strict=True)
    ]
    # digits of squares below 2^-160 were rounded: nearly constant columns of tiny values may end below zero
    variance: Floats = np.maximum(np.array(found, dtype=np.float64), 0.0)
    return variance


def _blocks(values: NDArray[np.floating]) -> list[Floats]:
    if len(values) > MAX_VALUES:
        raise TrainingFailed(f"{len(values)} rows in one sum, at most 2^30", code="overflow")
    width = max(1, values[:1].size)
    step = max(1, _BLOCK // width)
    return [np.asarray(values[at : at + step], dtype=np.float64) for at in range(0, len(values), step)]


def _add(total: Integers, block: Floats, *, what: str) -> None:
    """Add the rows of one block to the limbs. Every step is exact: powers of two, truncation, differences."""
    largest = float(np.max(np.abs(block), initial=0.0))
    if not largest < math.ldexp(1.0, _TOP_BITS):
        raise TrainingFailed(f"{what}: a value is not finite or at least 2^{_TOP_BITS}", code="not_finite")
    if largest == 0.0:
        return
    above = _TOP_BITS - math.frexp(largest)[1]
    first = min(above // _LIMB_BITS, LIMBS - 1)
    rest = block * math.ldexp(1.0, _LIMB_BITS * (first + 1) - _TOP_BITS)
    for limb in range(first, LIMBS - 1):
        whole = np.trunc(rest)
        total[limb] += whole.sum(axis=0).astype(np.int64)  # below 2^18 integers below 2^32: exact in any order
        rest = (rest - whole) * math.ldexp(1.0, _LIMB_BITS)
        if not rest.any():
            return
    total[LIMBS - 1] += np.rint(rest).sum(axis=0).astype(np.int64)


def _whole(total: Integers) -> list[int]:
    """Each column's total as one integer multiple of 2^-160."""
    columns: list[int] = [0] * total.shape[1]
    for limb in total.tolist():
        columns = [(held << _LIMB_BITS) + int(more) for held, more in zip(columns, limb, strict=True)]
    return columns


def _counts(count: NDArray[np.integer]) -> list[int]:
    counts = [int(n) for n in count]
    if max(counts, default=0) > MAX_VALUES:
        raise TrainingFailed(f"{max(counts)} values in one sum, at most 2^30", code="overflow")
    return counts


def _ratio(numerator: int, denominator: int, *, bits: int = _LAST_BITS) -> float:
    """numerator / (denominator x 2^bits): division of Python integers rounds correctly."""
    return numerator / (denominator << bits) if denominator else math.nan
