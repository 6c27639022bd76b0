"""Probes of all halves from two noisy sums over patients, and what they say of a record. Pure formulas.

    first    count, sums and squares of every column   -> mean and deviation
    second   products of all columns, pooled; label times columns, for each half  -> a linear probe for each half

A record enters on a public scale (-1 to 1), cut to a length, so each sum moves by a known step when one patient is
added or taken away; grid and noise are those of `privacy/dp`. Everything else is made of the noisy sums and costs
nothing: the probes (least squares with a ridge that covers the noise of the products), how steep and how strong each
is (from the noisy sums of the half it was not trained on), whether labels can be judged at all.

An image is seen by its lowest cosines, which are public, unlike principal components. Design: harmful-data.md 5 and 6;
docs/adr 25 tells what else was tried.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from cohortium.core.examples import Examples, Layout
from cohortium.privacy.dp.grid import Grid

__all__ = [
    "LEAST_CERTAIN",
    "MOST_COLUMNS",
    "NoisyProbes",
    "NoisyScale",
    "columns_seen",
    "first_grid",
    "first_terms",
    "label_sums",
    "product_sums",
    "read_probes",
    "read_scale",
    "second_grid",
    "seen",
]

Floats = NDArray[np.float64]
Integers = NDArray[np.int64]

MOST_COLUMNS = 32
"""Numbers of a record that a probe sees at most: the noise of their products grows with them."""

LEAST_CERTAIN = 2.0
"""Standard deviations of noise by which the probes must rank the other half rightly; below, labels are not judged."""

_COSINES = 4  # a side
_COSINE_UNIT = 3.0  # of orthonormal cosines per root of the pixels; with it pixels of -1 to 1 spread about as a column
_FIRST_LENGTH, _LENGTH = 0.5, 0.7  # of a record, per root of its numbers: raw, and standardised
_PRODUCTS = 0.5  # length of a record's products beside that of its labels, 1
_RIDGE, _RIDGE_OF_NOISE = 0.1, 0.6
_LEAST_VARIANCE = 0.25  # of the middle column's
_STRONGEST = 0.6  # squared correlation of labels and scores, at most
_LOGIT_CLIP = 6.0


def columns_seen(layout: Layout) -> int:
    """Numbers of a record that the probe sees."""
    if layout.image is None:
        return layout.n_features
    channels, height, width = layout.image
    return channels * min(_COSINES, height) * min(_COSINES, width)


def seen(examples: Examples) -> Floats:
    """Records as the probe sees them, (n, columns_seen). examples: on a public scale, -1 to 1, nothing missing."""
    x = np.asarray(examples.x, dtype=np.float64)
    if examples.layout.image is None:
        return x.reshape(len(x), -1)
    high, wide = (_cosines(size) for size in x.shape[2:])
    found = np.einsum("kh,nchw,lw->nckl", high, x, wide)
    order = np.hypot(np.arange(len(high))[:, None], np.arange(len(wide))[None, :])
    return np.asarray((found * (1.0 + order) * (_COSINE_UNIT / math.sqrt(x.shape[2] * x.shape[3]))).reshape(len(x), -1))


def _cosines(size: int) -> Floats:
    k, at = np.arange(min(_COSINES, size))[:, None], np.arange(size)[None, :] + 0.5
    return np.asarray(np.sqrt(np.where(k == 0, 1.0, 2.0) / size) * np.cos(math.pi * k * at / size))


# --- first exchange -----------------------------------------------------------------------------------------------


def first_grid(d: int) -> Grid:
    """Of the first sum: a record's values, their squares and its count have length 1 each at most."""
    return Grid(n=2 * d + 1, norm=math.sqrt(3.0))


def first_terms(x: Floats) -> Floats:
    """What records add to the first sum, (n, 2 d + 1), each of length root 3 at most. x: (n, d) as `seen`."""
    longest = _FIRST_LENGTH * math.sqrt(x.shape[1])
    held = _cut(x, longest)
    return np.column_stack([held / longest, held * held / longest**2, np.ones(len(x))])


@dataclass(frozen=True, kw_only=True, eq=False)
class NoisyScale:
    """What the first noisy sum says: mean and sd of every column, (d,), and how many records there are."""

    mean: Floats
    sd: Floats
    n: float

    def design(self, x: Floats) -> Floats:
        """A column of ones and standardised values, cut to their length, (n, 1 + d). x: as `seen`."""
        return np.column_stack([np.ones(len(x)), _cut((x - self.mean) / self.sd, self._length)])

    @property
    def _length(self) -> float:
        return _LENGTH * math.sqrt(len(self.mean))

    @property
    def bound(self) -> float:
        """Length of a row of `design` at most."""
        return math.hypot(1.0, self._length)


def read_scale(total: Integers) -> NoisyScale:
    """From the opened first sum, (2 d + 1,) in units of its grid."""
    d = (len(total) - 1) // 2
    told = np.asarray(total, dtype=np.float64) / first_grid(d).units
    n, longest = max(float(told[-1]), 1.0), _FIRST_LENGTH * math.sqrt(d)
    mean = np.clip(told[:d] * longest / n, -1.0, 1.0)
    variance = told[d : 2 * d] * longest**2 / n - mean * mean
    least = _LEAST_VARIANCE * float(np.median(np.maximum(variance, 1e-3)))
    return NoisyScale(mean=mean, sd=np.sqrt(np.maximum(variance, least)), n=n)


def _cut(x: Floats, longest: float) -> Floats:
    length = np.sqrt((x * x).sum(axis=1, keepdims=True))
    return np.asarray(x * np.minimum(1.0, longest / np.maximum(length, 1e-12)))


# --- second exchange ----------------------------------------------------------------------------------------------


def second_grid(d: int, *, halves: int) -> Grid:
    """Of the second sum: products of length 1/2 at most, labels times columns of length 1 over all halves."""
    width = 1 + d
    return Grid(n=width * (width + 1) // 2 + halves * width, norm=math.hypot(_PRODUCTS, 1.0))


def product_sums(design: Floats, *, bound: float) -> Floats:
    """Sum of the products of these rows, packed by rows; off the diagonal times root 2, so that lengths are kept."""
    rows, columns = np.triu_indices(design.shape[1])
    packed = (design.T @ design)[rows, columns] * np.where(rows == columns, 1.0, math.sqrt(2.0))
    return np.asarray(packed * (_PRODUCTS / bound**2))


def label_sums(design: Floats, y: Floats, member: NDArray[np.bool_], *, bound: float) -> Floats:
    """Sum of label (-1, 1) times row, in the slots of the halves that these rows belong to, (halves, 1 + d).

    member: (halves,), of their site; a site is in one half of each bisection.
    """
    added = ((2.0 * y - 1.0)[:, None] * design).sum(axis=0)
    return np.asarray(np.where(member[:, None], added, 0.0) / (bound * math.sqrt(len(member) / 2)))


@dataclass(frozen=True, kw_only=True, eq=False)
class NoisyProbes:
    """One linear probe for each half, (halves, 1 + d), calibrated: a score is a log-odds about an average patient.

    strength: distance of both classes' scores in standard deviations within a class, the mean over probes. certain: by
    how many standard deviations of its noise a probe ranks the half it has not seen rightly, the mean over probes.
    """

    weights: Floats
    strength: float
    certain: float

    def scores(self, design: Floats, member: NDArray[np.bool_]) -> Floats:
        """z of these rows, (n,): the mean cut log-odds of the probes that have not seen their site."""
        unseen = self.weights[~member]
        return np.asarray(np.clip(design @ unseen.T, -_LOGIT_CLIP, _LOGIT_CLIP).mean(axis=1))


def read_probes(sums: Mapping[str, Integers], scale: NoisyScale, *, multiplier: float) -> NoisyProbes:
    """From the opened second sum: `products` (packed,) and `labels` (halves, 1 + d), in units of its grid.

    multiplier: of its noise, the largest that may have been in it. Public: every site finds the same.
    """
    d, halves, n, bound = len(scale.mean), len(sums["labels"]), scale.n, scale.bound
    grid = second_grid(d, halves=halves)
    noise = multiplier * grid.sensitivity / grid.units
    labels = np.asarray(sums["labels"], dtype=np.float64) / grid.units * (bound * math.sqrt(halves / 2))
    square = _unpacked(np.asarray(sums["products"], dtype=np.float64) / grid.units * (bound**2 / _PRODUCTS))
    values, vectors = np.linalg.eigh(square)
    of_products = noise * bound**2 / _PRODUCTS / math.sqrt(2.0)
    values = np.maximum(values, 0.0) + _RIDGE * n + _RIDGE_OF_NOISE * of_products * math.sqrt(1 + d)
    held = (vectors * values) @ vectors.T
    found = ((vectors / values) @ vectors.T @ (2.0 * labels).T).T
    of_labels = noise * bound * math.sqrt(halves / 2)
    told = [
        _calibrated(found[h], square, held, labels[h ^ 1] / (n / 2), n=n, noise=of_labels / (n / 2))
        for h in range(halves)
    ]
    return NoisyProbes(
        weights=np.array([one for one, _, _ in told]),
        strength=float(np.mean([strength for _, strength, _ in told])),
        certain=float(np.mean([certain for _, _, certain in told])),
    )


def _calibrated(
    weights: Floats, square: Floats, held: Floats, other: Floats, *, n: float, noise: float
) -> tuple[Floats, float, float]:
    """(the probe as log-odds, its strength, how certain it is), by the other half's label sums per record.

    square, held: sums of products as they came, and with the ridge. noise: sd of each number of `other`.
    """
    centre = float(weights @ square[0]) / n
    share = float(np.clip(other[0], -0.8, 0.8))
    spread, least = (float(weights @ one @ weights) / n - centre**2 for one in (square, held))
    spread = max(spread, 0.2 * least, 1e-9)
    common = float(weights @ other) - share * centre
    of_labels = 1.0 - share**2
    r2 = min(max(common, 0.0) ** 2 / (spread * of_labels), _STRONGEST)
    strength = 2.0 * math.sqrt(r2 / (of_labels * (1.0 - r2)))
    slope = strength / math.sqrt(spread * (1.0 - r2))
    log_odds = slope * weights
    log_odds[0] -= slope * centre
    return log_odds, strength, common / max(noise * float(np.sqrt(weights @ weights)), 1e-12)


def _unpacked(packed: Floats) -> Floats:
    width = (math.isqrt(8 * len(packed) + 1) - 1) // 2
    rows, columns = np.triu_indices(width)
    square = np.zeros((width, width))
    square[rows, columns] = square[columns, rows] = packed / np.where(rows == columns, 1.0, math.sqrt(2.0))
    return square
