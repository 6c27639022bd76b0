"""SCAFFOLD by hand: control variates at the sites and for all."""

import numpy as np
import pytest

from cohortium.core.parameters import Parameters
from cohortium.core.update import Turn
from cohortium.errors import TrainingFailed
from cohortium.strategies.scaffold import Scaffold


def test_one_merge_by_hand(merged, fitted):
    """Two steps at rate 0.1 moved the model by -1 (a) and 3 (b): c_a' = 5, c_b' = -15."""
    trained = {"a": fitted([1.0], n=30, steps=2), "b": fitted([5.0], n=10, steps=2)}
    model, state, updates = merged(Scaffold(), [2.0], trained)
    assert updates["a"].memory["w"].tolist() == [5.0]
    assert updates["b"].memory["w"].tolist() == [-15.0]
    assert state["w"].tolist() == [(30 * 5 - 10 * 15) / 40]
    assert model["w"].tolist() == [2.0 + (-30 + 30) / 40]


def test_gradients_are_corrected_by_the_difference_of_the_variates():
    turn = Turn(
        round=1,
        sites=("a", "b"),
        start=Parameters({"w": np.zeros(1)}),
        state=Parameters({"w": [0.5]}),
        memory=Parameters({"w": [2.0]}),
        site="a",
    )
    (asked,) = Scaffold().instruct(turn)
    assert asked.correction["w"].tolist() == [-1.5]
    assert asked.plain_sgd


def test_sites_that_joined_but_did_not_contribute_hold_the_shared_variate_back(merged, fitted):
    trained = {"a": fitted([1.0], n=30, steps=2)}
    _, state, _ = merged(Scaffold(), [2.0], trained, sites=("a", "b", "c", "d"))
    assert state["w"].tolist() == [5.0 / 4]


def test_a_site_left_out_of_a_merge_keeps_its_variate(merged, fitted):
    """Its update holds the new variate, but it is committed by the caller only when the merge lists the site."""
    memory = {"b": Parameters({"w": [7.0]})}
    _, _, updates = merged(Scaffold(), [2.0], {"b": fitted([5.0], steps=2)}, memory=memory)
    assert updates["b"].memory["w"].tolist() == [7.0 - 15.0]
    assert memory["b"]["w"].tolist() == [7.0]


def test_mean_of_the_sites_variates_stays_the_shared_one_in_float32(merged, fitted):
    rng = np.random.default_rng(0)
    start, memory, state = Parameters({"w": np.zeros(50, np.float32)}), {}, None
    for number in range(5):
        trained = {s: fitted(Parameters({"w": rng.normal(size=50).astype(np.float32)}), n=1, steps=3) for s in "abc"}
        _, state, updates = merged(Scaffold(), start, trained, state=state, memory=memory, round=number)
        memory = {s: u.memory for s, u in updates.items()}
    np.testing.assert_allclose(sum(m["w"] for m in memory.values()) / 3, state["w"], atol=1e-13)


@pytest.mark.parametrize("wrong", [{"rate": 0.0}, {"steps": 0}])
def test_a_learner_that_did_not_use_plain_sgd_is_refused(merged, fitted, wrong):
    with pytest.raises(TrainingFailed, match="'scaffold' needs plain SGD"):
        merged(Scaffold(), [0.0], {"a": fitted([1.0], **wrong)})


def test_rate_of_the_merge_must_be_positive():
    with pytest.raises(ValueError, match="rate"):
        Scaffold(rate=0.0)
