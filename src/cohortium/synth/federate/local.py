"""One site's own generator, from its own rows and those it received; networks go on where the last round ended."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np

from cohortium.core.parameters import Parameters
from cohortium.synth.exchange import fit_by_sums
from cohortium.synth.federate.weighting import fit_by_weighted_sums
from cohortium.synth.generators.network_training import warmed
from cohortium.synth.rows import Rows, joined

__all__ = ["MOST_RECEIVED", "fit_with_received", "least_of", "none_too_large", "train_further"]

MOST_RECEIVED = 4
"""Received rows a site learns from, at most, for each own one."""
_OWN, _RECEIVED, _UNIT = 2, 1, 2


def fit_with_received(generator: Any, own: Rows, received: Rows | None, rng: np.random.Generator) -> Parameters:
    """A generator by sums from own counts and half of the counts of received rows, of at most so many."""
    parts = [(own, _OWN)]
    if received is not None:
        parts.append((least_of(received, MOST_RECEIVED * len(own), rng), _RECEIVED))
    return fit_by_weighted_sums(generator, parts, unit=_UNIT)


def train_further(
    generator: Any, memory: Parameters, own: Rows, received: Rows | None, *, effort: float, rng: np.random.Generator
) -> tuple[Parameters, Parameters]:
    """(finished state, memory) of a network after one round more. memory: empty before the first."""
    foundation, weights = memory.under("foundation"), memory.under("weights")
    moments = memory.under("moments") or None
    if not len(weights):
        foundation = fit_by_sums(generator.foundation(), [own])
        first = generator.begin(foundation, rng=rng)
        weights = warmed(generator, first, foundation, budget=generator.budget(foundation).warm, rng=rng)
    rows = own if received is None else joined([own, least_of(received, MOST_RECEIVED * len(own), rng)])
    budget = generator.budget(foundation).share(effort)
    trained = generator.train(weights, foundation, rows, budget=budget, rng=rng, moments=moments)
    learner = generator.closing(trained.weights, foundation)
    closed = Parameters() if learner is None else fit_by_sums(learner, [own])
    kept = foundation.prefixed("foundation") | trained.weights.prefixed("weights")
    if trained.moments is not None:
        kept |= trained.moments.prefixed("moments")
    state: Parameters = generator.assembled(foundation, trained.weights, closed)
    return state, kept


def least_of(rows: Rows, most: int, rng: np.random.Generator) -> Rows:
    """The rows, or so many of them by chance."""
    return rows if len(rows) <= most else rows.take(rng.permutation(len(rows))[:most])


def none_too_large(tables: Mapping[int, Rows]) -> list[Rows]:
    """Shared tables by place of the site, each cut to `MOST_RECEIVED` times the median size of the others.

    A site says itself how many patients it has; what is left of one that claims very many does not drown the others.
    Drawn rows have no order, so the first ones stay; every node finds the same.
    """
    found = []
    for place, rows in sorted(tables.items()):
        others = [len(one) for other, one in tables.items() if other != place and len(one)]
        most = MOST_RECEIVED * int(np.median(others)) if others else len(rows)
        found.append(rows if len(rows) <= most else rows.take(np.arange(most)))
    return found
