"""The plain mean: every site counts the same."""

import numpy as np

from cohortium.core.exact import weighted_sum
from cohortium.core.parameters import Parameters
from cohortium.core.update import Fitted, Turn
from cohortium.strategies.mean import Mean


def test_sites_count_the_same_whatever_their_size():
    start = Parameters({"w": np.float32([1.0])})
    updates = [
        Mean().conclude(
            Turn(round=0, sites=("a", "b", "c"), start=start, site=site),
            (Fitted(parameters=Parameters({"w": np.float32([value])}), n_samples=n),),
        )
        for site, value, n in (("a", 2.0, 1000), ("b", 4.0, 1), ("c", 6.0, 5))
    ]
    model, state = Mean().merge(Turn(round=0, sites=("a", "b", "c"), start=start), weighted_sum(updates))
    assert model["w"].tolist() == [4.0]
    assert model["w"].dtype == np.float32
    assert len(state) == 0
