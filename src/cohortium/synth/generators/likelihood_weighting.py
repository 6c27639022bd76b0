"""All gaps of a patient drawn together, and one of many such draws kept: where a chain begins, and how it moves on.

Gibbs sampling changes one cell at a time. Where two cells settle each other (no mutation, hence no share of mutated
reads) it never leaves the pair it began with, so the pair itself must be drawn by what is known. Every draw goes along
the arrows, children after parents, known cells as they are; its weight is the probability of the known cells and of
the outcome given the draw, and one draw is kept with a chance in proportion. Draws do not look at known children, so a
rare pair is seldom among them: the chain draws again in every sweep, with its present state among the draws, which
leaves what it tends to as it is. Sources: Fung and Chang 1990, Shachter and Peot 1990 (likelihood weighting); Andrieu,
Lee and Vihola 2018 (iterated sampling importance resampling).
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from cohortium.synth.generators.climb import family_codes
from cohortium.synth.generators.network import Network
from cohortium.synth.generators.tail import Tail

__all__ = ["AT_ONCE", "MORE", "TRIES", "Gaps", "weighted_draw"]

Floats = NDArray[np.float64]
Integers = NDArray[np.int64]
Bools = NDArray[np.bool_]

TRIES, MORE = 64, 16
"""Draws of which one is kept, at the beginning and in every sweep."""
AT_ONCE = 512
"""Patients whose tries all stay in memory."""


@dataclass(frozen=True, eq=False)
class Gaps:
    """Patients as they stand. free: by variable, whether its level is to be drawn, (n, variables);
    levels: how many of its levels may be drawn; unknown: whether a score is, (n, scores)."""

    codes: Integers
    free: Bools
    levels: tuple[int, ...]
    z: Floats
    unknown: Bools

    def take(self, rows: Integers) -> Gaps:
        """Some patients, or the same ones several times."""
        return Gaps(self.codes[rows], self.free[rows], self.levels, self.z[rows], self.unknown[rows])


def weighted_draw(
    network: Network,
    tail: Tail,
    gaps: Gaps,
    *,
    unmeasured: Callable[[Integers], Bools],
    log_outcome: Callable[[Integers, Integers, Floats, Bools], Floats],
    rng: np.random.Generator,
    tries: int = TRIES,
    among: bool = False,
) -> tuple[Integers, Floats, Bools]:
    """(codes, scores, where there are scores) of every patient, gaps drawn together; `AT_ONCE` patients fit in memory.

    unmeasured: which numbers have no score, by codes. log_outcome: of patients (by place), their codes, scores and
    where there are any, (n,). among: whether one of the draws is the patient as he stands.
    """
    places = np.repeat(np.arange(len(gaps.codes)), tries)
    held, stays = gaps.take(places), among & (np.arange(len(places)) % tries == 0)
    codes, weight = _levels(network, held, stays, rng)
    scored = ~unmeasured(codes)
    z, more = _scores(tail, held, stays, codes, scored, rng)
    weight = weight + more + log_outcome(places, codes, z, scored)
    noisy = weight - np.log(-np.log(rng.random(len(weight))))
    best = np.arange(0, len(places), tries) + noisy.reshape(-1, tries).argmax(axis=1)
    return codes[best], z[best], scored[best]


def _levels(network: Network, gaps: Gaps, stays: Bools, rng: np.random.Generator) -> tuple[Integers, Floats]:
    """Free levels drawn along the arrows, and the log probability of those that are known."""
    codes, weight = gaps.codes.copy(), np.zeros(len(gaps.codes))
    for child in network.order:
        row = family_codes(codes, network.families[child].parents, network.sizes)
        free, p = gaps.free[:, child], network.probabilities[child]
        if free.any():
            edges = np.cumsum(p[: gaps.levels[child]], axis=0)[:, row[free]]
            weight[free] += np.log(edges[-1])
            drawn = (rng.random(edges.shape[1]) * edges[-1] >= edges[:-1]).sum(axis=0)
            codes[free, child] = np.where(stays[free], codes[free, child], drawn)
        weight[~free] += np.log(p[codes[~free, child], row[~free]])
    return codes, weight


def _scores(
    tail: Tail, gaps: Gaps, stays: Bools, codes: Integers, scored: Bools, rng: np.random.Generator
) -> tuple[Floats, Floats]:
    """Unknown scores drawn in the order of the regressions, and the log density of those that are known."""
    design, z = tail.design, np.zeros(gaps.z.shape)
    levels = design.levels(codes) @ tail.coefficients[:, : design.n_levels].T
    onto, weight = tail.coefficients[:, design.n_levels :], np.zeros(len(codes))
    for j in range(design.n_scores):
        mean = levels[:, j] + z[:, :j] @ onto[j, :j]
        unknown = gaps.unknown[:, j]
        value = np.where(unknown & ~stays, mean + tail.sd[j] * rng.normal(size=len(codes)), gaps.z[:, j])
        z[:, j] = np.where(scored[:, j], value, 0.0)
        weight -= np.where(scored[:, j] & ~unknown, 0.5 * ((value - mean) / tail.sd[j]) ** 2, 0.0)
    return z, weight
