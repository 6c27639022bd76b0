"""Fixtures for tests of `data`: learning by sums without a swarm."""

from __future__ import annotations

from collections.abc import Callable, Sequence

import numpy as np
import pytest

from cohortium.core.examples import Examples
from cohortium.core.parameters import Parameters
from cohortium.core.seams import Learner
from cohortium.core.update import Instructions


def learn_by_sums(learner: Learner, parts: Sequence[Examples]) -> Parameters:
    """The state after all exchanges over these sites, checked on the way for what exact sums need."""
    state = learner.initial(parts[0].layout, rng=np.random.default_rng(0))
    for _ in range(100):
        if learner.finished(state):
            return state
        answers = [
            learner.fit(state, part, instructions=Instructions(), rng=np.random.default_rng(0)) for part in parts
        ]
        assert [a.n_samples for a in answers] == [len(part) for part in parts]
        first = answers[0].parameters
        assert all(answer.parameters.like(first) for answer in answers), "sites answered with other shapes"
        assert all(array.dtype == np.int64 for array in first.values()), "sums must be int64"
        total = Parameters({name: sum(a.parameters[name] for a in answers) for name in first})
        state = learner.advance(state, total)
    raise AssertionError("the learner does not finish")


@pytest.fixture(scope="session")  # hypothesis refuses function-scoped fixtures
def learn() -> Callable[[Learner, Sequence[Examples]], Parameters]:
    return learn_by_sums
