"""Fitting a generator in a plain loop: what the swarm does, without ledger and messages. References only.

state = fit_by_sums(generator, [rows_a, rows_b])     # pooled: one element; the swarm's own fit is `sim.synthesis`
state = fit_network(generator, [rows_a, rows_b], rng=rng)     # a network: it sees all rows at once
state = fit_privately(generator, [rows_a, rows_b], epsilon=4.0, delta=1e-5, entropy=os.urandom)     # `marginal_dp`
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from typing import Any

import numpy as np

from cohortium.core.parameters import Parameters
from cohortium.core.private import PrivateSteps
from cohortium.errors import DataError
from cohortium.privacy.dp.terms import generator_noise
from cohortium.synth.generators.network_training import warmed
from cohortium.synth.rows import Rows

__all__ = ["fit_by_sums", "fit_network", "fit_privately"]


def fit_by_sums(generator: Any, sites: Sequence[Rows]) -> Parameters:
    """The finished state over all sites' rows. Raises DataError without a single patient."""
    if sum(len(rows) for rows in sites) == 0:
        raise DataError("no patient to learn from")
    return _looped(generator, lambda state, rows, told: generator.answer(state, rows), sites)


def fit_privately(
    generator: Any, sites: Sequence[Rows], *, epsilon: float, delta: float, entropy: Callable[[int], bytes]
) -> Parameters:
    """The finished state with noise for this epsilon in every sum, shared out over the sites as under masks.

    entropy: n secret bytes; of a seed, the noise protects nobody. Raises DataError, MissingExtra.
    """
    if sum(len(rows) for rows in sites) == 0:
        raise DataError("no patient to learn from")
    sums, _ = generator_noise(epsilon, delta)
    asked = iter(sums)

    def terms() -> PrivateSteps:
        own = next(asked) / math.sqrt(len(sites))
        return PrivateSteps(sample_rate=1.0, steps=1, clipping_norm=1.0, noise_multiplier=own, entropy=entropy)

    return _looped(generator, lambda state, rows, steps: generator.answer(state, rows, steps=steps), sites, terms)


def _looped(
    generator: Any, answer: Callable[..., Parameters], sites: Sequence[Rows], each: Callable[[], Any] = lambda: None
) -> Parameters:
    """each: what all sites are told in an exchange."""
    state: Parameters = generator.initial(None, rng=None)
    while not generator.finished(state):
        told = each()
        answers = [answer(state, rows, told) for rows in sites]
        total = {name: np.zeros_like(array) for name, array in answers[0].items()}
        for one in answers:
            for name, array in one.items():
                total[name] = total[name] + array
        state = generator.advance(state, Parameters(total))
    return state


def fit_network(
    generator: Any, sites: Sequence[Rows], *, rng: np.random.Generator, foundation: Parameters | None = None
) -> Parameters:
    """The finished state of a network trained on all rows in one place: central, or isolated with a single site.

    foundation: what it stands on, where that is not learned here.
    """
    foundation = fit_by_sums(generator.foundation(), sites) if foundation is None else foundation
    weights = generator.begin(foundation, rng=rng)
    weights = warmed(generator, weights, foundation, budget=generator.budget(foundation).warm, rng=rng)
    facts = sites[0].facts
    rows = Rows(facts, {name: np.concatenate([site[name] for site in sites]) for name in facts.names})
    weights = generator.train(weights, foundation, rows, budget=generator.budget(foundation).whole, rng=rng).weights
    learner = generator.closing(weights, foundation)
    closed = Parameters() if learner is None else fit_by_sums(learner, sites)
    state: Parameters = generator.assembled(foundation, weights, closed)
    return state
