"""What most strategies share: instructions, differences, weights, the step."""

import numpy as np
import pytest

from cohortium.core.exact import weighted_sum
from cohortium.core.parameters import Parameters
from cohortium.core.update import MAX_WEIGHT, Fitted, Turn, Update
from cohortium.errors import FrameError, TrainingFailed
from cohortium.strategies.local_training import (
    ask,
    check_share,
    difference,
    enough_sites,
    mean_difference,
    moved,
    weight_of,
)

START = Parameters({"w": np.float32([1.0]), "b": np.float64([2.0])})
TURN = Turn(round=0, sites=("a",), start=START, site="a")


def fitted(w=1.0, b=2.0, n=10):
    return Fitted(parameters=Parameters({"w": np.float32([w]), "b": np.float64([b])}), n_samples=n)


def test_sync_every_asks_for_exactly_so_many_batches():
    assert ask(local_epochs=3, sync_every=None).max_steps is None
    asked = ask(local_epochs=1, sync_every=7)
    assert (asked.max_steps, asked.local_epochs) == (7, 7)  # a pass has at least one batch


def test_difference_keeps_the_dtype_of_each_array():
    found = difference(TURN, fitted(1.5, 1.0))
    assert found["w"].dtype == np.float32
    assert (found["w"][0], found["b"][0]) == (0.5, -1.0)


def test_a_training_that_returns_other_arrays_failed():
    other = Fitted(parameters=Parameters({"w": np.zeros(3)}), n_samples=1)
    with pytest.raises(TrainingFailed, match="other arrays"):
        difference(TURN, other)


def test_weight_is_capped_at_two_to_the_29_and_never_zero():
    assert weight_of(TURN, fitted(n=1 << 40), "samples") == MAX_WEIGHT
    with pytest.raises(TrainingFailed, match="no training rows"):
        weight_of(TURN, fitted(n=0), "samples")


def test_an_array_nobody_sent_stays_as_it_is():
    sent = Update(site="a", parameters=Parameters({"w": np.float32([3.0])}), weight=2)
    step = mean_difference(TURN, weighted_sum([sent]))
    assert moved(START, step)["w"].tolist() == [4.0]
    assert moved(START, step)["b"].tolist() == [2.0]


def test_an_update_of_another_shape_than_the_model_is_refused():
    sent = Update(site="a", parameters=Parameters({"w": np.zeros((1, 1), np.float32)}), weight=1)
    with pytest.raises(FrameError, match="'w'"):
        mean_difference(TURN, weighted_sum([sent]))


def test_the_step_is_added_in_float64_and_rounded_once():
    start = Parameters({"w": np.float32([1.0])})
    step = 2.0**-24 + 2.0**-40  # rounded to float32 first and added then, it would vanish in a tie
    assert moved(start, {"w": np.float64([step])})["w"][0] == np.float32(1 + 2**-23)


def test_too_few_sites_end_the_merge_with_a_sentence():
    whole = weighted_sum([Update(site="a", parameters=Parameters(), weight=1)])
    with pytest.raises(TrainingFailed, match="'median' needs at least 3 contributing sites, got 1"):
        enough_sites("median", whole, least=3)
    enough_sites("median", whole, least=1)


def test_a_share_out_of_range_is_named():
    with pytest.raises(ValueError, match=r"beta must be at least 0 and below 0\.5, got 0\.5"):
        check_share("beta", 0.5, below=0.5)
