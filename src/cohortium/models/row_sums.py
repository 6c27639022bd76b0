"""Sums over patients that no order, partition or processor can change.

Every patient's term is rounded to a fixed-point integer before it is added. Feature values are rounded to
2^-16, coefficients live on multiples of 2^-24, so a linear predictor is an integer dot product and a row's
term does not depend on its neighbours. Products of integers go through float64 BLAS in blocks of rows small
enough that every partial sum is an integer below 2^53, hence exact.

Used by the learners by sums (`glm`, `penalised`, `cox`); they say what a term is, this says how it is added.
Scales are finer than clinical-learning.md 2.1 (x 2^-12, coefficients 2^-16), since int64 leaves room.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from cohortium.core import fixed_point as fp
from cohortium.core.examples import Examples
from cohortium.errors import DataError, TrainingFailed

__all__ = [
    "COEFFICIENT_BITS",
    "HESSIAN_WEIGHT_BITS",
    "HESSIAN_X_BITS",
    "LOSS_BITS",
    "RESIDUAL_BITS",
    "X_BITS",
    "bound_site_total",
    "coarser",
    "fixed_features",
    "linear_predictor",
    "on_grid",
    "predictor",
    "refuse_unusable",
    "summed_gram",
    "summed_products",
    "triangle",
    "unpacked",
]

Floats = NDArray[np.float64]
Integers = NDArray[np.int64]

X_BITS = 16
COEFFICIENT_BITS = 24
RESIDUAL_BITS = 20
LOSS_BITS = 20
HESSIAN_X_BITS = 10
HESSIAN_WEIGHT_BITS = 18

_LARGEST_X = float(1 << 12)
_SITE_LIMIT = 1 << 55  # 128 sites of this size stay within 2^62
_EXACT_IN_FLOAT = 1 << 53
_LEAST_BLOCK = 32
_ONE_THREAD = 1 << 18  # multiplications up to which OpenBLAS starts no threads: on busy cores they cost 70 ms, not 1
_PREDICT_BLOCK = 1 << 20


def refuse_unusable(examples: Examples) -> None:
    """Raise DataError for images, missing or infinite values, or values too large to be in units of a sd."""
    x, names = examples.x, examples.layout.features
    if x.ndim != 2:
        raise DataError(f"a model of table columns got images of shape {x.shape[1:]}", hint="choose a network")
    if x.shape[1] != len(names):
        raise DataError(f"examples have {x.shape[1]} columns, the layout names {len(names)}")
    with np.errstate(invalid="ignore"):
        bad = ~(np.abs(x) <= _LARGEST_X)
    if not bad.any():
        return
    missing = int(np.count_nonzero(np.isnan(x)))
    columns = [names[j] for j in np.flatnonzero(bad.any(axis=0))]
    shown = ", ".join(f"'{name}'" for name in columns[:5]) + (f" and {len(columns) - 5} more" if columns[5:] else "")
    if missing:
        raise DataError(f"column {shown}: {missing} missing values reach the model; expected none",
                        hint="set cohort.fill to 'mean' or 'gaussian'")  # fmt: skip
    raise DataError(f"column {shown}: {int(bad.sum())} values are infinite or beyond 4096; expected units of a sd",
                    hint="set cohort.scale to 'standard'")  # fmt: skip


def fixed_features(examples: Examples, *, intercept: bool = True) -> Integers:
    """The features at 2^-16, shape (n, p), or (n, 1 + p) with a first column of ones. Raises DataError."""
    refuse_unusable(examples)
    x = fp.to_fixed(examples.x, X_BITS, what="features")
    if not intercept:
        return x
    return np.concatenate([np.full((len(x), 1), 1 << X_BITS, dtype=np.int64), x], axis=1)


def on_grid(values: Floats) -> Floats:
    """Coefficients rounded to multiples of 2^-24, where a predictor can use them exactly."""
    return fp.from_fixed(fp.to_fixed(values, COEFFICIENT_BITS, what="coefficients"), COEFFICIENT_BITS)


def predictor(x: Integers, coefficients: Floats) -> Floats:
    """x' b of every row, exact up to one rounding; x at 2^-16, coefficients on the grid, (q,) or (q, k)."""
    fixed = fp.to_fixed(coefficients, COEFFICIENT_BITS, what="coefficients")
    used = np.flatnonzero(fixed if fixed.ndim == 1 else fixed.any(axis=1))
    if len(used) < len(fixed):
        x, fixed = x[:, used], fixed[used]
    return fp.from_fixed(fp.integer_dot(x, fixed, what="linear predictor"), X_BITS + COEFFICIENT_BITS)


def coarser(x: Integers) -> Integers:
    """Features at 2^-16 rounded to 2^-10, as second derivatives use them."""
    step = 1 << (X_BITS - HESSIAN_X_BITS)
    return np.asarray((x + step // 2) // step, dtype=np.int64)


def summed_products(a: Integers, b: Integers, *, what: str) -> Integers:
    """Exact sum over rows of a_i b_i', shape (k, m), from int64 (n, k) and (n, m). Raises TrainingFailed."""
    total = np.zeros((a.shape[1], b.shape[1]), dtype=np.int64)
    bound = _largest(a) * _largest(b)
    step = max(_LEAST_BLOCK, (_EXACT_IN_FLOAT - 1) // max(bound, 1))
    alone = _ONE_THREAD // max(1, total.size)
    step = min(step, alone) if alone >= _LEAST_BLOCK else step
    for at in range(0, len(a), step):
        total += fp.integer_dot(a[at : at + step].T, b[at : at + step], what=what)
        bound_site_total(total, what=what)
    return total


def summed_gram(x: Integers, weights: Integers | None = None, *, what: str = "second derivatives") -> Integers:
    """Exact sum over rows of weights_i x_i x_i' as its packed upper triangle, q(q + 1)/2 numbers."""
    left = x if weights is None else x * weights[:, None]
    return triangle(summed_products(left, x, what=what))


def bound_site_total(total: Integers, *, what: str) -> None:
    """Raise TrainingFailed when one site's sum is so large that those of 128 sites may not fit into int64."""
    if _largest(total) >= _SITE_LIMIT:
        raise TrainingFailed(f"{what}: a site's sum reaches 2^55, too large to be added exactly", code="overflow",
                             hint="scale the columns (cohort.scale = 'standard')")  # fmt: skip


def triangle(matrix: Integers) -> Integers:
    """The upper triangle of a square matrix, row by row, as one vector."""
    packed: Integers = matrix[np.triu_indices(len(matrix))]
    return packed


def unpacked(packed: Integers, q: int) -> Integers:
    """The symmetric (q, q) matrix of a packed upper triangle."""
    matrix = np.zeros((q, q), dtype=np.int64)
    rows, columns = np.triu_indices(q)
    matrix[rows, columns] = packed
    matrix[columns, rows] = packed
    return matrix


def linear_predictor(examples: Examples, coefficients: Floats) -> Floats:
    """x' b of unrounded features for prediction, (n,) or (n, k); the same bits for a row in any company."""
    refuse_unusable(examples)
    table = coefficients if coefficients.ndim == 2 else coefficients[:, None]
    used = np.flatnonzero(table.any(axis=1))
    found = np.zeros((len(examples), table.shape[1]))
    step = max(1, _PREDICT_BLOCK // max(1, len(used)))
    for at in range(0, len(examples), step):
        x = np.asarray(examples.x[at : at + step], dtype=np.float64)[:, used]
        for k in range(table.shape[1]):
            found[at : at + step, k] = fp.matvec(x, table[used, k])
    return found if coefficients.ndim == 2 else found[:, 0]


def _largest(values: Integers) -> int:
    return 0 if values.size == 0 else max(abs(int(values.min())), abs(int(values.max())))
