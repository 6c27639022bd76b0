"""Loss, gradient and second derivatives of a one-predictor GLM as exact sums over rows, for `glm` and `penalised`.

`derivative_sums` is a site's answer at the state's point; the other functions read the merged totals.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from cohortium.core import fixed_point as fp
from cohortium.core.examples import Examples
from cohortium.core.parameters import Parameters
from cohortium.models.families import FAMILIES, Family, outcome_of
from cohortium.models.row_sums import (
    HESSIAN_WEIGHT_BITS,
    HESSIAN_X_BITS,
    LOSS_BITS,
    RESIDUAL_BITS,
    X_BITS,
    bound_site_total,
    coarser,
    fixed_features,
    predictor,
    summed_gram,
    summed_products,
    unpacked,
)

__all__ = ["derivative_sums", "first_precision", "gradient_of", "point_of", "precision", "second_derivatives"]

Floats = NDArray[np.float64]
Integers = NDArray[np.int64]

_ROOMY_COUNT = 13  # 2^13 events leave full precision, and room for 16 times as many in a step too far
_ROOMY_ROWS = 18
_COARSE = 12


def first_precision(family: Family) -> Parameters:
    """The `precision` of the first exchange, in which all coefficients are 0 and nobody knows how many rows there are.

    A binary outcome then has residuals of one half and weights of one quarter: few bits hold them exactly.
    """
    if family.outcome != "binary":
        return precision(family)
    return precision(family) | Parameters({"precision": np.array([1, 2], dtype=np.int64)})


def precision(family: Family, *, events: int = 0, rows: int = 0) -> Parameters:
    """`precision`: fractional bits of residuals and weights; `limit`: the largest predictor that is summed.

    Counts may be large: at the optimum the means add up to the `events` counted in the first exchange, so a
    row beyond twice that sum is a step too far, and bits are given up where that sum needs them. That first
    exchange is used for the number of events only and is coarse. Beyond 2^18 rows of a binary outcome a bit goes
    for every doubling, so that a site may hold millions.
    """
    known = family.outcome != "count" or events > 0
    spare = max(0, events.bit_length() - _ROOMY_COUNT) if known else _COARSE
    if family.outcome == "binary":
        spare = max(0, rows.bit_length() - _ROOMY_ROWS)
    limit = min(family.limit, float(fp.log(2.0 * events))) if events else family.limit
    bits = np.array([RESIDUAL_BITS - spare, HESSIAN_WEIGHT_BITS - spare], dtype=np.int64)
    return Parameters({"precision": bits, "limit": [limit]})


def point_of(state: Parameters) -> Floats:
    """Intercept and coefficients behind one another, (1 + p,)."""
    return np.concatenate([state["intercept"], state["coefficients"]]).astype(np.float64)


def derivative_sums(state: Parameters, examples: Examples, *, columns: Integers | None = None) -> Parameters:
    """Rounded terms of one site's rows at the state's point, added up.

    `rows` (all, refused), `outcome`, `loss`, `gradient` of the log-likelihood (1 + p,), `hessian` of the loss
    (packed; of the design's `columns` only, where given: 0 is the intercept). Rows whose predictor is beyond
    the limit are counted and left out.
    """
    family = FAMILIES[examples.layout.outcome]
    residual_bits, weight_bits = (int(v) for v in state["precision"])
    x, y = fixed_features(examples), outcome_of(examples)
    eta = predictor(x, point_of(state))
    summable = eta <= float(state["limit"][0])
    x, y, eta = x[summable], y[summable], eta[summable]
    mean = family.mean(eta)
    residual = fp.to_fixed(y - mean, residual_bits, what="residuals")
    weight = fp.to_fixed(family.curvature(mean), weight_bits, what="weights")
    sums = {
        "rows": np.array([len(examples), len(examples) - len(x)], dtype=np.int64),
        "outcome": fp.to_fixed(y, 0).sum(keepdims=True),
        "loss": fp.to_fixed(family.loss(eta, y), LOSS_BITS, what="loss").sum(keepdims=True),
        "gradient": summed_products(x, residual[:, None], what="gradient")[:, 0],
        "hessian": summed_gram(coarser(x if columns is None else x[:, columns]), weight),
    }
    bound_site_total(sums["loss"], what="loss")
    return Parameters(sums)


def gradient_of(state: Parameters, total: Parameters) -> Floats:
    """The merged gradient of the log-likelihood, (1 + p,)."""
    return fp.from_fixed(total["gradient"], int(state["precision"][0]) + X_BITS)


def second_derivatives(state: Parameters, total: Parameters, q: int) -> Floats:
    """The merged second derivatives of the loss as a symmetric (q, q) matrix."""
    bits = int(state["precision"][1]) + 2 * HESSIAN_X_BITS
    return fp.from_fixed(unpacked(np.asarray(total["hessian"]), q), bits)
