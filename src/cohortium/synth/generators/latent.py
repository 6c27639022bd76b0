"""Correlations of the normal variables behind columns, from counts and sums of scores alone.

A column is a normal variable that was cut: a flag once, a category at every level, a number at every cell of its table.
Cuts are known from the margins; what is left is one correlation a pair. Two flags: the one under which both are 1 as
often as counted (tetrachoric, Pearson 1900; 0.5 added to each cell), solved to 2^-20. All others: the correlation of
mid-rank scores, divided by what cutting takes from it (exact where one of the two is uncut and the pair is normal).
Sums over the patients who have both. All of it is + - x / sqrt and our own exp and log, equal on every processor;
`lifted`, which a draw needs, is not part of a state.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from cohortium.core import fixed_point as fp
from cohortium.synth.generators.normal_scores import normal_quantile

__all__ = ["kept_by_cutting", "level_scores", "lifted", "tetrachoric"]

Floats = NDArray[np.float64]
Integers = NDArray[np.int64]

_LARGEST = 0.995
_HALVINGS = 20
_LEAST_EIGENVALUE = 1e-3
_ROOT_TWO_PI = 2.5066282746310002


def level_scores(counts: Integers) -> Floats:
    """Normal score of every level's mid-rank; 0 for all where nobody is."""
    n = int(counts.sum())
    if n == 0:
        return np.zeros(len(counts))
    below = np.concatenate([[0], np.add.accumulate(counts)[:-1]])
    return np.clip(normal_quantile((below + 0.5 * counts) / n), -4.0, 4.0)


def kept_by_cutting(counts: Integers, z: Floats) -> float:
    """Correlation of a normal variable with the scores z of its levels; 0 for a constant."""
    n = int(counts.sum())
    if n == 0:
        return 0.0
    edges = np.add.accumulate(counts)[:-1] / n
    inner = (edges > 0) & (edges < 1)
    cuts = normal_quantile(np.where(inner, edges, 0.5))
    height = np.where(inner, fp.exp(-0.5 * cuts * cuts) / _ROOT_TWO_PI, 0.0)
    share = counts / n
    with_normal = fp.ordered_sum(z * (np.concatenate([[0.0], height]) - np.concatenate([height, [0.0]])))
    mean = fp.ordered_sum(share * z)
    variance = fp.ordered_sum(share * (z - mean) ** 2)
    return float(with_normal / np.sqrt(variance)) if variance > 1e-12 else 0.0


def tetrachoric(both: Floats, first: Floats, second: Floats, n: Floats) -> Floats:
    """Correlations of pairs of flags. both: patients with both; first, second: with either; n: whose two are known."""
    total = np.maximum(n, 0.0) + 2.0  # 0.5 in each of four cells
    p, q, joint = (first + 1.0) / total, (second + 1.0) / total, (both + 0.5) / total
    h, k = -normal_quantile(p), -normal_quantile(q)
    low, high = np.full(len(p), -_LARGEST), np.full(len(p), _LARGEST)
    for _ in range(_HALVINGS):
        middle = 0.5 * (low + high)
        less = p * q + _excess(h, k, middle) < joint
        low, high = np.where(less, middle, low), np.where(less, high, middle)
    return np.where(n > 0, 0.5 * (low + high), 0.0)


def lifted(correlations: Floats) -> Floats:
    """The nearest thing to it that normal variables can have: eigenvalues of at least 1e-3, ones on the diagonal."""
    if not len(correlations):
        return correlations
    values, vectors = np.linalg.eigh(0.5 * (correlations + correlations.T))
    whole = (vectors * np.maximum(values, _LEAST_EIGENVALUE)) @ vectors.T
    root = np.sqrt(np.diag(whole))
    return np.asarray(whole / root[:, None] / root)


def _excess(h: Floats, k: Floats, r: Floats) -> Floats:
    """P(X > h, Y > k) at correlation r less that at 0: the density integrated over the correlation, 24 Gauss points."""
    found = np.zeros(len(h))
    for place, weight in zip(_POINTS, _WEIGHTS, strict=True):
        t = r * place
        left = 1.0 - t * t
        found = found + weight * fp.exp(-0.5 * (h * h - 2 * t * h * k + k * k) / left) / np.sqrt(left)
    return found * r / (2 * np.pi)


_NODES, _NODE_WEIGHTS = np.polynomial.legendre.leggauss(24)
_POINTS = np.round(0.5 * (_NODES + 1.0), 15)
_WEIGHTS = np.round(0.5 * _NODE_WEIGHTS, 15)
