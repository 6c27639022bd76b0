"""A private network fitted in a plain loop, for benchmarks: what the swarm does, without ledger, masks and messages."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any, Literal

import numpy as np

from cohortium.core.parameters import Parameters
from cohortium.core.private import Clip, PrivacyTerms
from cohortium.errors import DataError
from cohortium.privacy.dp.terms import generator_noise
from cohortium.synth.federate.private_network import PrivateNetwork, finished_private
from cohortium.synth.rows import Rows

__all__ = ["fit_network_privately"]


def fit_network_privately(
    generator: Any,
    sites: Sequence[Rows],
    *,
    epsilon: float,
    delta: float,
    entropy: Callable[[int], bytes],
    rng: np.random.Generator,
    mode: Literal["local", "distributed"] = "distributed",
    sample_rate: float = 0.1,
    clipping_norm: float = 1.0,
    clip: Clip = "fixed",
    rounds: int = 5,
) -> Parameters:
    """The finished state; nobody colludes and nobody is lost. entropy: of a seed, the noise protects nobody.

    Raises DataError without a site, MissingExtra without the accountant.
    """
    if not sites:
        raise DataError("no patient to learn from")
    total = generator.private_steps
    a_round = -(-total // rounds) if mode == "local" else 1
    steps = a_round * -(-total // a_round)
    sums, sigma = generator_noise(epsilon, delta, sample_rate=sample_rate, steps=steps)
    terms = PrivacyTerms(epsilon=epsilon, delta=delta, noise_multiplier=sigma, steps=steps, steps_a_round=a_round,
                         sample_rate=sample_rate, clipping_norm=clipping_norm, clip=clip, mode=mode, n_sites=len(sites),
                         sums=sums)  # fmt: skip
    learner = PrivateNetwork(generator=generator, terms=terms)
    state, exchange = learner.initial(None, rng=rng), 0
    while not learner.finished(state):
        asked = terms.asked(exchange, clipping_norm=clipping_norm, entropy=entropy)
        found: dict[str, Any] = {}
        for rows in sites:
            answer, _ = learner.answer(state, rows, np.arange(len(rows)), steps=asked, rng=rng)
            for name, array in answer.items():
                found[name] = found.get(name, 0) + np.asarray(array)
        state, exchange = learner.advance(state, Parameters(found)), exchange + 1
    return finished_private(generator, terms, state)
