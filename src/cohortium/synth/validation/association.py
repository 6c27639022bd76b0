"""How columns go together: rank correlation, bias-corrected Cramer's V and phi, and how far two tables differ in them.

Numbers against numbers by Spearman over rows that have both; everything else by Cramer's V (Bergsma 2013), numbers in
five bins whose edges come from the real rows, a missing value being a level of its own. Pairs of flags by phi.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

from cohortium.synth.facts import Fact
from cohortium.synth.rows import Rows

__all__ = [
    "agreement",
    "bin_edges",
    "binned",
    "clinical_matrix",
    "correlations",
    "cramers_v",
    "cramers_v_of",
    "phi_matrix",
    "rank_with_numbers",
]

Floats = NDArray[np.float64]
Integers = NDArray[np.int64]

N_BINS = 5


def agreement(real: Floats, other: Floats) -> float:
    """max(0, 1 - |real - other| / |real|) in the Frobenius norm; NaN where the real one is all zero."""
    there = np.isfinite(real) & np.isfinite(other)
    size = float(np.sqrt((real[there] ** 2).sum()))
    if size == 0:
        return float("nan")
    return max(0.0, 1.0 - float(np.sqrt(((real[there] - other[there]) ** 2).sum())) / size)


def clinical_matrix(rows: Rows, facts: Sequence[Fact], edges: dict[str, Floats]) -> Floats:
    """Lower triangle (pairs,) of associations among these columns. edges: of the bins, from the real rows."""
    codes = {fact.name: binned(rows[fact.name], fact, edges.get(fact.name)) for fact in facts}
    ranks = {fact.name: _ranks(rows[fact.name]) for fact in facts if fact.is_number}
    found = []
    for i, a in enumerate(facts):
        for b in facts[:i]:
            if a.is_number and b.is_number:
                found.append(_correlation(ranks[a.name], ranks[b.name]))
            else:
                found.append(cramers_v(*codes[a.name], *codes[b.name]))
    return np.array(found)


def binned(values: Floats, fact: Fact, edges: Floats | None) -> tuple[Integers, int]:
    """(codes, number of levels); a missing value is the last level."""
    missing = np.isnan(values)
    if fact.is_number:
        inner = np.zeros(0) if edges is None else edges
        codes, size = np.searchsorted(inner, values, side="right"), len(inner) + 1
    else:
        size = len(fact.levels) or 2
        codes = np.where(missing, 0, values)
    return np.where(missing, size, codes).astype(np.int64), size + 1


def bin_edges(real: Rows, facts: Sequence[Fact]) -> dict[str, Floats]:
    """Inner edges of five bins of equal share of the real rows, by numeric column."""
    shares = np.arange(1, N_BINS) / N_BINS
    found = {}
    for fact in facts:
        if fact.is_number:
            there = real[fact.name][~np.isnan(real[fact.name])]
            found[fact.name] = np.unique(np.quantile(there, shares)) if len(there) else np.zeros(0)
    return found


def cramers_v(a: Integers, n_a: int, b: Integers, n_b: int) -> float:
    """Bias-corrected Cramer's V of two coded columns, 0 to 1."""
    return cramers_v_of(np.bincount(a * n_b + b, minlength=n_a * n_b).reshape(n_a, n_b).astype(np.float64))


def cramers_v_of(table: Floats) -> float:
    """The same from the counts of a two-way table."""
    table = table[table.sum(axis=1) > 0][:, table.sum(axis=0) > 0]
    n, (r, k) = float(table.sum()), table.shape
    if n < 2 or r < 2 or k < 2:
        return 0.0
    expected = table.sum(axis=1, keepdims=True) * table.sum(axis=0) / n
    phi2 = max(0.0, float(((table - expected) ** 2 / expected).sum()) / n - (r - 1) * (k - 1) / (n - 1))
    smaller = min(r - (r - 1) ** 2 / (n - 1), k - (k - 1) ** 2 / (n - 1)) - 1
    return float(np.sqrt(phi2 / smaller)) if smaller > 0 else 0.0


def phi_matrix(flags: Floats) -> Floats:
    """Lower triangle (pairs,) of the correlations of 0/1 columns, over rows that have both; 0 for a constant one."""
    full = _pairwise(flags, flags)
    return full[np.tril_indices(flags.shape[1], -1)]


def rank_with_numbers(flags: Floats, numbers: Floats) -> Floats:
    """Correlations of flags with the ranks of numbers, (flags x numbers,)."""
    ranked = np.column_stack([_ranks(numbers[:, j]) for j in range(numbers.shape[1])])
    return _pairwise(flags, ranked).ravel()


def _pairwise(x: Floats, y: Floats) -> Floats:
    """Correlation of every column of x with every one of y, each over the rows that have both."""
    mx, my = (~np.isnan(x)).astype(np.float64), (~np.isnan(y)).astype(np.float64)
    x0, y0 = np.nan_to_num(x), np.nan_to_num(y)
    return correlations(mx.T @ my, x0.T @ my, mx.T @ y0, (x0**2).T @ my, mx.T @ y0**2, x0.T @ y0)


def correlations(n: Floats, sx: Floats, sy: Floats, sxx: Floats, syy: Floats, sxy: Floats) -> Floats:
    """Correlations from sums over the rows that have both columns; 0 for a constant one."""
    n = np.maximum(n, 1.0)
    cov = sxy - sx * sy / n
    vx, vy = sxx - sx**2 / n, syy - sy**2 / n
    spread = np.sqrt(np.maximum(vx, 0) * np.maximum(vy, 0))
    return np.where(spread > 1e-9, cov / np.where(spread > 1e-9, spread, 1.0), 0.0)


def _ranks(values: Floats) -> Floats:
    """Mid-ranks; NaN stays."""
    found = np.full(len(values), np.nan)
    there = ~np.isnan(values)
    kept = values[there]
    ordered = np.sort(kept)
    found[there] = 0.5 * (np.searchsorted(ordered, kept, "left") + np.searchsorted(ordered, kept, "right"))
    return found


def _correlation(a: Floats, b: Floats) -> float:
    return float(_pairwise(a[:, None], b[:, None])[0, 0])
