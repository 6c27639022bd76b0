"""FedPer: the last layer never leaves the site."""

import numpy as np

from cohortium.core.parameters import Parameters
from cohortium.core.update import Turn
from cohortium.strategies.fedper import FedPer

START = Parameters({"trunk.w": np.float64([0.0]), "head.w": np.float64([0.5])})
STRATEGY = FedPer(private=("head.*",))


def trained(fitted, w, head):
    return fitted(Parameters({"trunk.w": np.float64([w]), "head.w": np.float64([head])}))


def test_the_private_part_is_not_in_the_update_and_the_shared_model_keeps_its_first(merged, fitted):
    model, _, updates = merged(STRATEGY, START, {"a": trained(fitted, 2.0, 9.0), "b": trained(fitted, 4.0, -9.0)})
    assert list(updates["a"].parameters) == ["trunk.w"]
    assert model["trunk.w"].tolist() == [3.0]
    assert model["head.w"].tolist() == [0.5]


def test_a_site_trains_and_predicts_with_its_own_head(merged, fitted):
    model, _, updates = merged(STRATEGY, START, {"a": trained(fitted, 2.0, 9.0)})
    turn = Turn(round=1, sites=("a",), start=model, site="a", memory=updates["a"].memory)
    assert STRATEGY.personal(turn)["head.w"].tolist() == [9.0]
    assert STRATEGY.instruct(turn)[0].start["head.w"].tolist() == [9.0]
