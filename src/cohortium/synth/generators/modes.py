"""Modes of a number: a mixture of normal distributions fitted to its published histogram.

Mode-specific normalisation (Xu et al. 2019): a value becomes the mode it may have come from, and how far from that
mode's mean it lies, in units of four sd. The histogram is the merged one all sites know, so the modes are those of the
pooled patients and cost no exchange. EM starts at the quantiles (k - 1/2)/K with sd = IQR/K. Design:
synthetic-data.md 4, mode-specific normalisation.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from cohortium.synth.generators.normal_scores import Scores

__all__ = ["LEAST_SD", "LEAST_WEIGHT", "N_MODES", "TOLERANCE", "Modes", "start_of"]

Floats = NDArray[np.float64]
Integers = NDArray[np.int64]

N_MODES = 10
LEAST_WEIGHT = 0.005
EDGE = 0.99
_WIDTHS = 4.0
TOLERANCE = 1e-4
LEAST_SD = 1e-3
"""Of the spread."""
_TURNS = 100


@dataclass(frozen=True, eq=False)
class Modes:
    """weights, means, sds: of the modes kept, (k,)."""

    weights: Floats
    means: Floats
    sds: Floats

    @classmethod
    def of(cls, table: Scores) -> Modes:
        """Of a published histogram; a single mode where there is hardly a spread."""
        found, spread = start_of(table)
        if spread <= 0:
            return found
        x = _points(table)
        before = -np.inf
        for _ in range(_TURNS):
            shares, score = found._shares(x)
            if score - before < TOLERANCE:
                break
            found, before = found._moved(x, shares, least=LEAST_SD * spread), score
        kept = found.weights >= LEAST_WEIGHT
        return cls(found.weights[kept] / found.weights[kept].sum(), found.means[kept], found.sds[kept])

    def __len__(self) -> int:
        return len(self.weights)

    def encode(self, values: Floats, rng: np.random.Generator) -> tuple[Integers, Floats]:
        """A mode drawn by its responsibility, and the distance from its mean, within +-0.99; NaN gives mode 0 and 0."""
        there = ~np.isnan(values)
        mode, place = np.zeros(len(values), dtype=np.int64), np.zeros(len(values))
        shares, _ = self._shares(values[there])
        edges = np.cumsum(shares, axis=1)[:, :-1]
        mode[there] = (rng.random((len(edges), 1)) >= edges).sum(axis=1)
        own = mode[there]
        place[there] = np.clip((values[there] - self.means[own]) / (_WIDTHS * self.sds[own]), -EDGE, EDGE)
        return mode, place

    def decode(self, mode: Integers, place: Floats) -> Floats:
        """Values of modes and distances."""
        return np.asarray(self.means[mode] + _WIDTHS * self.sds[mode] * place)

    def _shares(self, x: Floats) -> tuple[Floats, float]:
        """Responsibilities (n, k) and the mean log density."""
        log = np.log(self.weights + 1e-300) - np.log(self.sds) - 0.5 * ((x[:, None] - self.means) / self.sds) ** 2
        top = log.max(axis=1, initial=-np.inf, keepdims=True)
        raised = np.exp(log - top)
        total = raised.sum(axis=1, keepdims=True)
        return raised / total, float((top + np.log(total)).mean()) if len(x) else 0.0

    def _moved(self, x: Floats, shares: Floats, *, least: float) -> Modes:
        n = shares.sum(axis=0) + 1e-9
        means = shares.T @ x / n
        apart = (x[:, None] - means) ** 2
        return Modes(n / n.sum(), means, np.maximum(np.sqrt((shares * apart).sum(axis=0) / n), least))


def start_of(table: Scores) -> tuple[Modes, float]:
    """(where EM starts, the spread); a single mode and 0 where there is hardly a spread."""
    if int(table.counts.sum()) == 0:
        return Modes(np.ones(1), np.zeros(1), np.ones(1)), 0.0
    x = _points(table)
    low, high = np.quantile(x, [0.25, 0.75])
    spread = float(high - low) or float(np.std(x))
    if spread <= 0:
        return Modes(np.ones(1), x[:1].copy(), np.ones(1)), 0.0
    means = np.quantile(x, (np.arange(N_MODES) + 0.5) / N_MODES)
    return Modes(np.full(N_MODES, 1.0 / N_MODES), means, np.full(N_MODES, spread / N_MODES)), spread


def _points(table: Scores) -> Floats:
    """Values that stand for the table's patients: they lie evenly within a cell."""
    points = 4 * len(table.counts)
    return table.value((np.arange(points) + 0.5) / points)
