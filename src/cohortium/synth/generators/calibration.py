"""Logits moved until heads hit the published frequencies, and codes drawn from them.

A network's flags are right on average only as far as its training got; merged weights of several sites are further
off. The frequencies themselves are known exactly. One constant a flag, or a level, on the logits sets the mean
probability of the drawn patients to it and leaves the odds ratios between patients as the network has them.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

__all__ = ["drawn_codes", "moved_flags", "moved_levels"]

Floats = NDArray[np.float64]
Integers = NDArray[np.int64]

_TURNS = 40


def moved_flags(logits: Floats, frequency: Floats) -> Floats:
    """(n, flags) plus a constant a flag, found by bisection, so that the mean probability is the frequency."""
    low, high = np.full(logits.shape[1], -30.0), np.full(logits.shape[1], 30.0)
    for _ in range(_TURNS if logits.size else 0):
        middle = 0.5 * (low + high)
        below = _sigmoid(logits + middle).mean(axis=0) < frequency
        low, high = np.where(below, middle, low), np.where(below, high, middle)
    return np.asarray(logits + 0.5 * (low + high))


def moved_levels(logits: Floats, frequencies: Sequence[Floats]) -> Floats:
    """(n, blocks, most levels) plus a constant a level; by turns (iterative proportional fitting)."""
    n, k, most = logits.shape
    wanted = np.zeros((k, most))
    for at, one in enumerate(frequencies):
        wanted[at, : len(one)] = one
    moved = logits.copy()
    for _ in range(_TURNS if n and k else 0):
        found = _softmax(moved).mean(axis=0)
        moved = moved + np.where(wanted > 0, np.log((wanted + 1e-12) / (found + 1e-12)), 0.0)
    return moved


def drawn_codes(
    flags: Floats, levels: Floats, rng: np.random.Generator, *, forbidden: tuple[Integers, Integers] | None = None
) -> tuple[Integers, Integers]:
    """Codes (n, flags) and (n, blocks). forbidden: for each flag and each block a code that is not drawn, or -1."""
    chance = _sigmoid(flags)
    if forbidden is not None:
        chance = np.where(forbidden[0] == 1, 0.0, np.where(forbidden[0] == 0, 1.0, chance))
        barred = forbidden[1][:, None] == np.arange(levels.shape[2])
        levels = np.where(barred, -1e9, levels)
    edges = np.cumsum(_softmax(levels), axis=2)[:, :, :-1]
    chosen = (rng.random((*levels.shape[:2], 1)) >= edges).sum(axis=2)
    return (rng.random(flags.shape) < chance).astype(np.int64), chosen.astype(np.int64)


def _sigmoid(x: Floats) -> Floats:
    return np.asarray(1.0 / (1.0 + np.exp(-np.clip(x, -60.0, 60.0))))


def _softmax(x: Floats) -> Floats:
    raised = np.exp(x - x.max(axis=2, keepdims=True)) if x.shape[2] else x
    return np.asarray(raised / raised.sum(axis=2, keepdims=True)) if x.shape[2] else x
