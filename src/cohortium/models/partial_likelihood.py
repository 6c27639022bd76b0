"""The sums of Cox's partial likelihood over time cells, and what follows from them: terms, gradient, information.

Site half: `weight_sums` (exchange A) and `slope_sums` (exchange B), every patient's term rounded before it is
added. Leader half: `tied_terms` and `gradient_and_information`, element-wise and in fixed order. The formulas
and letters are those of `cox`.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

import numpy as np
from numpy.typing import NDArray

from cohortium.core import fixed_point as fp
from cohortium.core.parameters import Parameters
from cohortium.models.risk_sets import Spans, at_risk_sums, cell_sums
from cohortium.models.row_sums import (
    HESSIAN_WEIGHT_BITS,
    HESSIAN_X_BITS,
    LOSS_BITS,
    RESIDUAL_BITS,
    X_BITS,
    bound_site_total,
    coarser,
    summed_gram,
    summed_products,
    unpacked,
)

__all__ = [
    "LARGEST_ETA",
    "RISK_BITS",
    "TiedTerms",
    "gradient_and_information",
    "slope_sums",
    "tied_terms",
    "weight_sums",
]

Floats = NDArray[np.float64]
Integers = NDArray[np.int64]

LARGEST_ETA = 14.0
"""A log risk above this (a million times the mean patient's) is refused before summing; the step is then halved."""

RISK_BITS = 25
_SLOPE_BITS = 24

_MOST_TIED = 1 << 24
"""Cells times most events in one: 128 MiB for each table by cell and place in the order of ties."""


@dataclass(frozen=True, kw_only=True, eq=False)
class TiedTerms:
    """Per cell: a = sum 1/q, b = sum r/q, a2 = sum 1/q^2, ab = sum r/q^2, b2 = sum r^2/q^2, all (k,); log_q: total."""

    a: Floats
    b: Floats
    a2: Floats
    ab: Floats
    b2: Floats
    log_q: float


def weight_sums(rows: Spans, eta: Floats) -> Parameters:
    """Exchange A of one site: `s0`, `d0` (k,), `e0` (1,) and how many rows were `refused` (1,)."""
    used = rows.start < rows.stop
    too_large = used & (eta > LARGEST_ETA)
    risk = fp.exp(np.where(used & ~too_large, eta, -np.inf))
    weights = fp.to_fixed(risk, RISK_BITS, what="risk weights")
    of_events = fp.to_fixed(np.where(rows.event & ~too_large, eta, 0.0), LOSS_BITS, what="log risks")
    sums = {
        "s0": at_risk_sums(rows, weights, what="risk weights"),
        "d0": cell_sums(rows, weights, rows.event, what="risk weights of events"),
        "e0": of_events.sum(keepdims=True),
        "refused": np.array([np.count_nonzero(too_large)], dtype=np.int64),
    }
    for name, total in sums.items():
        bound_site_total(total, what=f"risk weights ({name})")
    return Parameters(sums)


def tied_terms(s0: Floats, d0: Floats, events: Integers, *, ties: Literal["efron", "breslow"]) -> TiedTerms:
    """What each cell contributes, from merged weights and the number of events per cell.

    Raises ValueError for more events than can be: the number is a sum of what sites said, and memory goes by it.
    """
    most = int(events.max(initial=0))
    if most * len(events) > _MOST_TIED:
        raise ValueError(f"{len(events)} cells with up to {most} events at once; their product is at most {_MOST_TIED}")
    order = np.arange(most, dtype=np.float64)
    there = order < events[:, None]
    r = np.where(there, order / np.maximum(events, 1)[:, None], 0.0) if ties == "efron" else np.zeros(there.shape)
    q = np.where(there, s0[:, None] - r * d0[:, None], 1.0)
    inverse = np.where(there, 1.0 / q, 0.0)
    scaled = r * inverse
    return TiedTerms(
        a=fp.ordered_sum(inverse, axis=1),
        b=fp.ordered_sum(scaled, axis=1),
        a2=fp.ordered_sum(inverse * inverse, axis=1),
        ab=fp.ordered_sum(inverse * scaled, axis=1),
        b2=fp.ordered_sum(scaled * scaled, axis=1),
        log_q=float(fp.ordered_sum(fp.ordered_sum(fp.log(q), axis=1))),
    )


def slope_sums(rows: Spans, x: Integers, eta: Floats, terms: TiedTerms) -> Parameters:
    """Exchange B of one site: `gradient` (p,), `s1`, `d1` (k, p) and `h1` (packed); x at 2^-16.

    The gradient takes the full x. All parts of the information take the same coarser x: it then is the exact
    information of nearly the same columns, whereas mixing the two lost 2 % in columns with few carriers.
    """
    used = rows.start < rows.stop
    risk = fp.exp(np.where(used, np.minimum(eta, LARGEST_ETA), -np.inf))
    before = np.concatenate([[0.0], fp.cumulative(terms.a)])
    tied = np.where(rows.event, np.concatenate([terms.b, [0.0]])[np.where(rows.event, rows.stop - 1, rows.k)], 0.0)
    expected = risk * (before[rows.stop] - before[rows.start] - tied)
    residual = fp.to_fixed(rows.event - expected, RESIDUAL_BITS, what="martingale residuals")
    coarse = coarser(x)
    weighted = fp.to_fixed(risk[:, None] * fp.from_fixed(coarse, HESSIAN_X_BITS), _SLOPE_BITS, what="weighted columns")
    sums = {
        "gradient": summed_products(x, residual[:, None], what="gradient")[:, 0],
        "s1": at_risk_sums(rows, weighted, what="weighted columns"),
        "d1": cell_sums(rows, weighted, rows.event, what="weighted columns of events"),
        "h1": summed_gram(coarse, fp.to_fixed(expected, HESSIAN_WEIGHT_BITS, what="cumulative risks")),
    }
    for name, total in sums.items():
        bound_site_total(total, what=f"weighted columns ({name})")
    return Parameters(sums)


def gradient_and_information(total: Parameters, terms: TiedTerms) -> tuple[Floats, Floats]:
    """g (p,) and I (p, p) of the log partial likelihood from merged sums of exchange B.

    Per cell, sum over l of m m' is quadratic in (S1, D1) with a 2 x 2 matrix of terms; its Cholesky factor
    turns it into two outer products instead of d_c.
    """
    s1 = fp.from_fixed(total["s1"], _SLOPE_BITS)
    d1 = fp.from_fixed(total["d1"], _SLOPE_BITS)
    first = np.sqrt(terms.a2)
    second = np.divide(-terms.ab, first, out=np.zeros_like(first), where=first > 0)
    third = np.sqrt(np.maximum(terms.b2 - second * second, 0.0))
    rows = first[:, None] * s1 + second[:, None] * d1
    tied = third[:, None] * d1
    found = fp.from_fixed(unpacked(np.asarray(total["h1"]), s1.shape[1]), HESSIAN_WEIGHT_BITS + 2 * HESSIAN_X_BITS)
    for one in (*rows, *tied[third > 0]):
        found -= one[:, None] * one
    return fp.from_fixed(total["gradient"], RESIDUAL_BITS + X_BITS), found
