"""Intervals by drawing patients again: 2,000 bootstrap draws, vectorised over draws.

A statistic gets a block of row weights (b, n) - how often each row's patient was drawn - and answers with b
numbers. Patients are drawn within their site, since the sites are given and not drawn. The generator is
passed in; weighted sums are taken without BLAS, so that the same stream gives the same interval.

Source: Efron, Tibshirani 1993, chapter 13 (percentile interval); draws of clusters: Davison, Hinkley 1997, 3.8.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping

import numpy as np
from numpy.typing import NDArray

__all__ = [
    "DRAWS",
    "Statistic",
    "bootstrap",
    "draws_of_patients",
    "percentile_interval",
    "weighted_means",
    "weighted_sums",
]

DRAWS = 2000
_BLOCK_CELLS = 4_000_000

Floats = NDArray[np.float64]
Statistic = Callable[[Floats], Floats]


def draws_of_patients(
    patient: NDArray[np.int64], site: NDArray[np.str_], *, rng: np.random.Generator, draws: int = DRAWS
) -> Iterator[Floats]:
    """Blocks of row weights (b, n); together `draws` rows. Each site draws as many patients as it has."""
    people, codes = np.unique(patient, return_inverse=True)
    codes = codes.reshape(-1)
    home = np.empty(len(people), dtype=site.dtype)
    home[codes] = site
    groups = [np.flatnonzero(home == name) for name in np.unique(home)]
    block = max(1, min(draws, _BLOCK_CELLS // max(len(patient), 1)))
    for start in range(0, draws, block):
        b = min(block, draws - start)
        counts = np.zeros((b, len(people)))
        for members in groups:
            k = len(members)
            picked = rng.integers(0, k, size=(b, k)) + np.arange(b)[:, None] * k
            counts[:, members] = np.bincount(picked.reshape(-1), minlength=b * k).reshape(b, k)
        yield counts[:, codes]


def bootstrap(
    statistics: Mapping[str, Statistic],
    patient: NDArray[np.int64],
    site: NDArray[np.str_],
    *,
    rng: np.random.Generator,
    draws: int = DRAWS,
) -> dict[str, Floats]:
    """Every statistic under the same draws of patients: name -> (draws,), NaN where a draw has no value."""
    found: dict[str, list[Floats]] = {name: [] for name in statistics}
    for weights in draws_of_patients(patient, site, rng=rng, draws=draws):
        for name, statistic in statistics.items():
            found[name].append(statistic(weights))
    return {name: np.concatenate(blocks) for name, blocks in found.items()}


def percentile_interval(values: Floats) -> tuple[float, float] | None:
    """2.5 and 97.5 % points; None where more than a tenth of the draws has no value."""
    finite = values[np.isfinite(values)]
    if len(finite) < 0.9 * len(values) or len(finite) == 0:
        return None
    low, high = np.percentile(finite, [2.5, 97.5])
    return float(low), float(high)


def weighted_sums(weights: Floats, terms: Floats) -> Floats:
    """Sum of weight x term over rows, (b, n) x (n,) -> (b,), in a fixed order."""
    return np.asarray(np.einsum("bn,n->b", weights, terms, optimize=False), dtype=np.float64)


def weighted_means(weights: Floats, terms: Floats) -> Floats:
    """Mean of the terms under each row of weights, (b, n) x (n,) -> (b,)."""
    return np.asarray(weighted_sums(weights, terms) / weights.sum(axis=1), dtype=np.float64)
