"""Canaries: improbable patients planted by coin, who show what a generator gives away of those it learned from.

    sites = [plant(rows, rng) for rows in training]              # twenty a site, each in by a coin
    state = fit([site.rows for site in sites])                   # the generator learns from patients and canaries
    judge_canaries(sites, synthetic, reference, epsilon=None)

The attacker knows all canaries and the generator's table, and has a table of the same generator without any canary. He
says `in` of those that came nearer. The coins make a lower bound on epsilon (`privacy.leakage.one_run`): a generator
that claims less than the bound is refuted. Sources: Carlini et al. 2019; Steinke, Nasr and Jagielski 2023.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from cohortium.privacy.leakage.one_run import Guesses, ceiling, guess
from cohortium.reports.measure import Measure
from cohortium.synth.facts import Fact
from cohortium.synth.rows import Rows
from cohortium.synth.validation.attacks import wilson
from cohortium.synth.validation.distances import Space, nearest

__all__ = ["N_CANARIES", "Canaries", "Planted", "judge_canaries", "plant"]

Floats = NDArray[np.float64]
Bools = NDArray[np.bool_]

N_CANARIES = 20
"""Of every site."""
_EXTREMES = (0.02, 0.98)


@dataclass(frozen=True, kw_only=True, eq=False)
class Planted:
    """One site. rows: its patients and the canaries that are in; canaries: all of them; inside: which are in."""

    rows: Rows
    canaries: Rows
    inside: Bools


@dataclass(frozen=True, kw_only=True)
class Canaries:
    """What was found. recall: share of the canaries inside that were named, guessing half of all.

    bound: the largest epsilon the guesses refute; most: what they could have refuted at best; epsilon: what the
    generator claims, None without a claim.
    """

    guesses: Guesses
    recall: Measure
    bound: float
    most: float
    epsilon: float | None

    def document(self) -> dict[str, Any]:
        """For `--json`."""
        return {
            "n": self.guesses.n_coins, "guessed": self.guesses.n_guessed, "right": self.guesses.n_right,
            "recall": self.recall.value, "epsilon_bound": self.bound, "epsilon_bound_at_most": self.most,
            "epsilon_accounted": self.epsilon, "intervals": {"recall": self.recall.interval},
        }  # fmt: skip


def plant(rows: Rows, rng: np.random.Generator, *, n: int = N_CANARIES) -> Planted:
    """n invented patients, each among the site's by a fair coin. Values lie inside what the site has seen."""
    columns = {fact.name: _improbable(rows[fact.name], fact, n, rng) for fact in rows.facts.columns}
    canaries = Rows(rows.facts, columns)
    inside = rng.random(n) < 0.5
    chosen = canaries.take(inside)
    both = Rows(rows.facts, {name: np.concatenate([rows[name], chosen[name]]) for name in rows})
    return Planted(rows=both, canaries=canaries, inside=inside)


def _improbable(values: Floats, fact: Fact, n: int, rng: np.random.Generator) -> Floats:
    """Ends of the range, and every level as likely as any other, whatever the rest of the record says."""
    there = values[~np.isnan(values)]
    if fact.is_number and len(there):
        ends = np.quantile(there, _EXTREMES, method="nearest")
        return np.asarray(rng.choice(ends, size=n), dtype=np.float64)
    return rng.integers(max(len(fact.levels), 2), size=n).astype(np.float64)


def judge_canaries(
    sites: Sequence[Planted], synthetic: Rows, reference: Rows, *, epsilon: float | None, delta: float = 0.0
) -> Canaries:
    """The guesses over all sites' canaries. reference: rows of the same generator, learned without any canary."""
    facts = synthetic.facts
    canaries = Rows(facts, {name: np.concatenate([site.canaries[name] for site in sites]) for name in facts.names})
    inside = np.concatenate([site.inside for site in sites])
    space = Space.of(reference)
    x = space.place(canaries)
    near, usual = (nearest(x, space.place(rows), 1)[0][:, 0] for rows in (synthetic, reference))
    score = usual - near
    guessed = guess(score, inside)
    named = np.zeros(len(score), dtype=bool)
    named[np.argsort(-score, kind="stable")[: len(score) // 2]] = True
    n_in = int(inside.sum())
    found = int((named & inside).sum())
    centre, half = wilson(found, n_in)
    recall = Measure(value=found / n_in if n_in else None, low=max(centre - half, 0.0), high=min(centre + half, 1.0),
                     n=n_in, method="Wilson")  # fmt: skip
    return Canaries(
        guesses=guessed,
        recall=recall,
        bound=guessed.bound(delta=delta),
        most=ceiling(guessed.n_guessed, delta=delta, n_coins=guessed.n_coins),
        epsilon=epsilon,
    )
