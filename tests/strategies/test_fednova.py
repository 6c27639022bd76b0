"""FedNova: unequal numbers of steps, equal say."""

import pytest

from cohortium.errors import TrainingFailed
from cohortium.strategies.fednova import FedNova


def test_one_merge_by_hand(merged, fitted):
    """D = 6 in 3 steps of 10 rows, D = -1 in 1 step of 30: (30 + 30)/40 x (10 x 2 + 30 x -1)/40."""
    model, _, updates = merged(FedNova(), [1.0], {"a": fitted([7.0], n=10, steps=3), "b": fitted([0.0], n=30, steps=1)})
    assert updates["a"].parameters["w"].tolist() == [2.0]
    assert model["w"][0] == 1.0 + 1.5 * (20 - 30) / 40


def test_equal_steps_are_plain_averaging(merged, fitted):
    model, _, _ = merged(FedNova(), [0.0], {"a": fitted([4.0], n=10, steps=4), "b": fitted([8.0], n=30, steps=4)})
    assert model["w"].tolist() == [7.0]


def test_a_training_without_a_step_has_nothing_to_say(merged, fitted):
    with pytest.raises(TrainingFailed, match="took no step"):
        merged(FedNova(), [0.0], {"a": fitted([0.0], steps=0)})
