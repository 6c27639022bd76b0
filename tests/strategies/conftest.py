"""One round by hand: `merged` takes what each site's training gave and returns what a leader makes of it."""

from collections.abc import Mapping

import numpy as np
import pytest

from cohortium.core.exact import weighted_sum
from cohortium.core.parameters import Parameters
from cohortium.core.update import Fitted, Turn


def _fitted(values, n=10, steps=1, rate=0.1, loss=1.0):
    return Fitted(
        parameters=values if isinstance(values, Parameters) else Parameters({"w": np.float64(values)}),
        n_samples=n,
        steps=steps,
        learning_rate=rate,
        loss=loss,
    )


def _merged(strategy, start, trained: Mapping[str, Fitted], *, state=None, memory=None, round=0, sites=None):
    """(model, state, updates by site) after one round from `start` (a list for one array `w`, or Parameters)."""
    start = start if isinstance(start, Parameters) else Parameters({"w": np.float64(start)})
    sites = tuple(sorted(sites or trained))
    state = strategy.init(start) if state is None else state
    updates = {}
    for site, one in trained.items():
        mine = (memory or {}).get(site, Parameters())
        turn = Turn(round=round, sites=sites, start=start, state=state, site=site, memory=mine, draw=3)
        given = one if isinstance(one, tuple) else (one,)
        updates[site] = strategy.conclude(turn, given)
    leader = Turn(round=round, sites=sites, start=start, state=state, draw=3)
    model, state = strategy.merge(leader, weighted_sum(list(updates.values())))
    return model, state, updates


@pytest.fixture
def fitted():
    """fitted(values, n=, steps=, rate=, loss=): what one training gave."""
    return _fitted


@pytest.fixture
def merged():
    """merged(strategy, start, {site: fitted}): one whole round."""
    return _merged
