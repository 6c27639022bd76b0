"""FedBN: normalisation layers stay each site's own, newcomers get the merged ones."""

import numpy as np

from cohortium.core.parameters import Parameters
from cohortium.core.update import Turn
from cohortium.strategies.fedbn import FedBN

START = Parameters({"trunk.w": np.float64([0.0]), "norm.mean": np.float64([0.0])})
STRATEGY = FedBN(private=("norm.*",))


def trained(fitted, w, mean):
    return fitted(Parameters({"trunk.w": np.float64([w]), "norm.mean": np.float64([mean])}))


def test_a_site_goes_on_from_its_own_normalisation(merged, fitted):
    model, _, updates = merged(STRATEGY, START, {"a": trained(fitted, 2.0, 10.0), "b": trained(fitted, 4.0, 30.0)})
    assert updates["a"].memory["norm.mean"].tolist() == [10.0]
    turn = Turn(round=1, sites=("a", "b"), start=model, site="a", memory=updates["a"].memory)
    (asked,) = STRATEGY.instruct(turn)
    assert asked.start["trunk.w"].tolist() == [3.0]
    assert asked.start["norm.mean"].tolist() == [10.0]


def test_a_newcomer_starts_from_the_merged_statistics(merged, fitted):
    model, _, _ = merged(STRATEGY, START, {"a": trained(fitted, 2.0, 10.0), "b": trained(fitted, 4.0, 30.0)})
    newcomer = Turn(round=1, sites=("a", "b", "c"), start=model, site="c")
    assert STRATEGY.personal(newcomer)["norm.mean"].tolist() == [20.0]
