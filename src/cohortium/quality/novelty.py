"""How unlike the trusted records a record looks, and what that adds to a site's evidence. Pure formulas.

Two distances: inside the leading directions of the trusted records (a squared Mahalanobis distance) and outside of
them (the squared rest), each as a logarithm; for images a third, how little they are like the mean image of all sites
(their correlation with it, which neither brightness nor contrast changes: an inverted image lies within the spread of
the trusted, and is the mean image's opposite). Each minus the trusted median, over 1.4826 times the median absolute
deviation. Median and deviation come from a histogram, so that they are sums. Being new is a reason to look, not a
proof: novelty raises `unrelated` only. Design: harmful-data.md 5.3, steps 4 and 5.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

__all__ = [
    "CELLS",
    "DIRECTIONS",
    "LARGEST_NOVELTY",
    "LOWEST",
    "WIDTH",
    "Basis",
    "Spread",
    "basis_of",
    "cell_of",
    "distances",
    "record_oddity",
    "site_novelty",
    "site_oddity",
    "spread_of",
]

Floats = NDArray[np.float64]
Integers = NDArray[np.int64]

DIRECTIONS = 20
CELLS = 512
LOWEST, WIDTH = -14.0, 36.0 / CELLS
"""The histogram of logarithms begins at -14, below log(1e-6), and ends at 22."""

LARGEST_NOVELTY = 6.0
"""Nats, of a site."""

_TO_SD = 1.4826
_FLOOR = 1e-6
_LEAST_VARIANCE = 1e-9
_ALIKE = 0.998  # 4 artanh of it is 14, the end of the histogram
_RECORD = (-3.0, 8.0)
_START, _SLOPE, _FULL = 0.75, 2.0, 3


@dataclass(frozen=True, kw_only=True, eq=False)
class Basis:
    """Mean (d,), leading directions (d, k) and the variance along each (k,).

    scale: mean and sd (2, d) of raw values, of which records are multiples; of images, the mean image.
    """

    mean: Floats
    directions: Floats
    variance: Floats
    scale: Floats | None = None

    @property
    def has_rest(self) -> bool:
        """Whether enough dimensions are left over for a distance outside."""
        return len(self.mean) > len(self.variance) + 1


@dataclass(frozen=True)
class Spread:
    """Median and 1.4826 times the median absolute deviation of trusted records."""

    median: float
    sd: float


def basis_of(n: float, total: Floats, products: Floats, *, scale: Floats | None = None) -> Basis:
    """From the trusted records' number, sum (d,) and sum of products (d, d). k = min(20, d - 1), at least 1."""
    mean = total / n
    covariance = products / n - np.outer(mean, mean)
    values, vectors = np.linalg.eigh(0.5 * (covariance + covariance.T))
    k = max(1, min(DIRECTIONS, len(mean) - 1))
    return Basis(mean=mean, directions=vectors[:, ::-1][:, :k].copy(),
                 variance=np.maximum(values[::-1][:k], _LEAST_VARIANCE), scale=scale)  # fmt: skip


def distances(x: Floats, basis: Basis, *, images: bool = False) -> Floats:
    """(n, 2), or (n, 1) without enough dimensions: log distance inside, log(1e-6 + squared rest) outside.

    images: with enough dimensions (n, 3), the last -4 artanh of the correlation with the mean image.
    """
    centred = x - basis.mean
    inside = centred @ basis.directions
    near = np.log(np.maximum((inside * inside / basis.variance).sum(axis=1), _FLOOR))
    if not basis.has_rest:
        return np.column_stack([near])
    rest = np.maximum((centred * centred).sum(axis=1) - (inside * inside).sum(axis=1), 0.0)
    found = [near, np.log(_FLOOR + rest)]
    if images and basis.scale is not None:
        found.append(_unlikeness(x * basis.scale[1] + basis.scale[0], basis.scale[0]))
    return np.column_stack(found)


def _unlikeness(image: Floats, mean: Floats) -> Floats:
    """-4 artanh of the correlation of each image (n, d) with the mean one (d,); 0 for a blank one."""
    own, usual = image - image.mean(axis=1, keepdims=True), mean - mean.mean()
    length = np.sqrt((own * own).sum(axis=1) * (usual * usual).sum())
    correlation = (own * usual).sum(axis=1) / np.maximum(length, _FLOOR)
    return np.asarray(-4.0 * np.arctanh(np.clip(correlation, -_ALIKE, _ALIKE)), dtype=np.float64)


def cell_of(values: Floats, *, lowest: float = LOWEST, width: float = WIDTH) -> Integers:
    """The histogram cell of each value; those outside count in the outermost."""
    return np.clip(np.floor((values - lowest) / width), 0, CELLS - 1).astype(np.int64)


def spread_of(counts: Integers, *, lowest: float = LOWEST, width: float = WIDTH) -> Spread:
    """Median and spread of a histogram, linear inside its cells; never narrower than a cell. Zero counts: 0 and 1."""
    if counts.sum() <= 0:
        return Spread(0.0, 1.0)
    edges = lowest + width * np.arange(len(counts) + 1)
    below = np.concatenate([[0], np.cumsum(counts)])
    share = below / below[-1]
    median = _quantile(edges, share)
    reach = width * np.arange(len(counts) + 2)
    within = np.interp(median + reach, edges, share) - np.interp(median - reach, edges, share)
    return Spread(median, max(_TO_SD * _quantile(reach, within), width))


def _quantile(edges: NDArray[np.floating], share: NDArray[np.floating]) -> float:
    """Where a rising share reaches one half."""
    at = int(np.searchsorted(share, 0.5, side="left"))
    at = min(max(at, 1), len(edges) - 1)
    low, high = share[at - 1], share[at]
    part = 0.0 if high <= low else (0.5 - low) / (high - low)
    return float(edges[at - 1] + min(max(part, 0.0), 1.0) * (edges[at] - edges[at - 1]))


def record_oddity(found: Floats, spreads: tuple[Spread, ...]) -> Floats:
    """o_i: the larger of a record's standardised distances, cut to -3 .. 8, (n,)."""
    scaled = np.column_stack([(found[:, j] - s.median) / s.sd for j, s in enumerate(spreads)])
    return np.asarray(np.clip(scaled.max(axis=1), *_RECORD), dtype=np.float64)


def site_oddity(oddity: Floats, *, highest: float = _RECORD[1]) -> float:
    """Mean of max(o_i, -1); highest: 3 where the site's number gets noise."""
    return float(np.clip(oddity, -1.0, highest).mean()) if len(oddity) else 0.0


def site_novelty(oddity: float, *, usual: float, n: int) -> float:
    """nu_s = clip(2 (O_s - .75) min(1, n/3), 0, 6), in nats; O_s: `oddity` minus the `usual` one, the median site's."""
    return float(min(max(_SLOPE * (oddity - usual - _START) * min(1.0, n / _FULL), 0.0), LARGEST_NOVELTY))
