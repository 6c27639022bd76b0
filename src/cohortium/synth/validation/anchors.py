"""Every score between a floor and a ceiling, all three measured on the same held-out patients.

Floor: the training rows with every column shuffled. Ceiling: training rows themselves. The candidate stands between
them: skill = (score - floor) / (ceiling - floor), never clipped. All draw as many rows as there are held-out patients,
several times over. Scored on the training rows instead, a plain copy would beat the ceiling.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from cohortium.synth.rows import Rows
from cohortium.synth.validation.fidelity import clinical_parts, edges_and_tau, genomic_parts, mean_of

__all__ = ["Scored", "interval", "score_all", "shuffled"]
Floats = NDArray[np.float64]

_Z = 1.96


@dataclass(frozen=True, kw_only=True, eq=False)
class Scored:
    """One score by draw, (draws,). parts: by name, of the candidate; floor_parts, ceiling_parts likewise."""

    score: Floats
    floor: Floats
    ceiling: Floats
    parts: Mapping[str, Floats]
    floor_parts: Mapping[str, Floats]
    ceiling_parts: Mapping[str, Floats]

    @property
    def skill(self) -> Floats:
        """By draw; NaN where floor and ceiling meet."""
        room = self.ceiling - self.floor
        return np.where(room > 1e-9, (self.score - self.floor) / np.where(room > 1e-9, room, 1.0), np.nan)


def interval(values: Floats) -> tuple[float, float, float]:
    """(mean, low, high): 95 % of single draws lie between low and high, if they are normal."""
    there = values[np.isfinite(values)]
    if not len(there):
        return float("nan"), float("nan"), float("nan")
    mean, spread = float(there.mean()), float(there.std(ddof=1)) if len(there) > 1 else 0.0
    return mean, mean - _Z * spread, mean + _Z * spread


def shuffled(rows: Rows, rng: np.random.Generator) -> Rows:
    """The same columns, each in an order of its own; time and event stay together, as an outcome is one thing."""
    order = rng.permutation(len(rows))
    kept = (rows.facts.time, rows.facts.event)
    return Rows(
        rows.facts,
        {name: rows[name][order] if name in kept else rows[name][rng.permutation(len(rows))] for name in rows},
    )


def score_all(
    real: Rows, reserve: Rows, candidates: Mapping[str, Rows], *, draws: int, seed: int
) -> dict[str, dict[str, Scored]]:
    """{"csf": ..., "gsf": ...} by candidate. Floor and ceiling are drawn once and shared by all candidates."""
    edges, tau = edges_and_tau(real)
    scorers: dict[str, Callable[[Rows, int], Mapping[str, float]]] = {
        "csf": lambda rows, at: clinical_parts(reserve, rows, edges=edges, tau=tau, seed=seed + at),
        "gsf": lambda rows, at: genomic_parts(reserve, rows),
    }
    found: dict[str, dict[str, Scored]] = {name: {} for name in candidates}
    held: dict[str, dict[str, list[Mapping[str, float]]]] = {
        who: {key: [] for key in scorers} for who in ("floor", "ceiling", *candidates)
    }
    for at in range(draws):
        rng = np.random.default_rng([seed, at])
        sources = {"floor": shuffled(real, rng), "ceiling": real, **candidates}
        for who, rows in sources.items():  # each by the same stream, so that equal tables get equal scores
            drawn = rows.take(np.random.default_rng([seed, at, 1]).permutation(len(rows))[: len(reserve)])
            for key, scorer in scorers.items():
                held[who][key].append(scorer(drawn, at))
    for name in candidates:
        for key in scorers:
            floor, ceiling, own = (held[who][key] for who in ("floor", "ceiling", name))
            found[name][key] = Scored(
                score=_means(own), floor=_means(floor), ceiling=_means(ceiling), parts=_columns(own),
                floor_parts=_columns(floor), ceiling_parts=_columns(ceiling),
            )  # fmt: skip
    return found


def _means(draws: list[Mapping[str, float]]) -> Floats:
    return np.array([mean_of(parts) for parts in draws])


def _columns(draws: list[Mapping[str, float]]) -> dict[str, Floats]:
    return {part: np.array([one[part] for one in draws]) for part in draws[0]}
