"""Ditto: a shared model for all and a leashed one for each."""

import numpy as np
import pytest

from cohortium.core.parameters import Parameters
from cohortium.core.update import Turn
from cohortium.strategies.ditto import Ditto


def test_the_own_model_is_remembered_and_never_sent(merged, fitted):
    trained = {"a": (fitted([2.0]), fitted([50.0])), "b": (fitted([4.0]), fitted([-50.0]))}
    model, _, updates = merged(Ditto(), [0.0], trained)
    assert model["w"].tolist() == [3.0]
    assert list(updates["a"].parameters) == ["w"]
    assert updates["a"].parameters["w"].tolist() == [2.0]
    assert updates["a"].memory["w"].tolist() == [50.0]


def test_the_second_training_starts_at_the_own_model_leashed_to_the_shared_one():
    turn = Turn(
        round=3,
        sites=("a",),
        start=Parameters({"w": np.zeros(1)}),
        site="a",
        memory=Parameters({"w": np.float64([7.0])}),
    )
    shared, own = Ditto(leash=0.4).instruct(turn)
    assert (shared.start, shared.proximal) == (None, 0.0)
    assert own.start["w"].tolist() == [7.0]
    assert own.proximal == 0.4
    assert own.anchor is turn.start  # not the own model it starts from
    assert Ditto().personal(turn)["w"].tolist() == [7.0]


def test_a_negative_leash_is_refused():
    with pytest.raises(ValueError, match="leash"):
        Ditto(leash=-1.0)
