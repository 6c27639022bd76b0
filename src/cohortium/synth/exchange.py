"""Fitting a generator by sums in a plain loop: what the swarm does, without ledger and messages. References only.

state = fit_by_sums(generator, [rows_a, rows_b])     # pooled: one element; the swarm's own fit is `sim.synthesis`
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np

from cohortium.core.parameters import Parameters
from cohortium.errors import DataError
from cohortium.synth.rows import Rows

__all__ = ["fit_by_sums"]


def fit_by_sums(generator: Any, sites: Sequence[Rows]) -> Parameters:
    """The finished state over all sites' rows. Raises DataError without a single patient."""
    if sum(len(rows) for rows in sites) == 0:
        raise DataError("no patient to learn from")
    state: Parameters = generator.initial(None, rng=None)
    while not generator.finished(state):
        answers = [generator.answer(state, rows) for rows in sites]
        total = {name: np.zeros_like(array) for name, array in answers[0].items()}
        for answer in answers:
            for name, array in answer.items():
                total[name] = total[name] + array
        state = generator.advance(state, Parameters(total))
    return state
