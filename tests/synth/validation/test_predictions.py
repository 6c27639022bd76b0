import numpy as np
import pytest

from cohortium.synth.validation.predictions import predictions


def test_every_pair_is_the_difference_of_its_halves(judged):
    found = judged.predictions
    for pair in (found.c_index, found.auc_two_years, found.brier):
        assert pair.difference.value == pytest.approx(pair.synthetic.value - pair.real.value)
        assert pair.difference.low < pair.difference.value < pair.difference.high
    assert 0.6 < found.c_index.real.value < 0.8
    assert 0.05 < found.brier.real.value < 0.3


def test_the_difference_is_surer_than_its_halves(judged):
    pair = judged.predictions.c_index
    assert pair.difference.high - pair.difference.low < pair.real.high - pair.real.low


def test_real_against_real_differs_by_nothing_and_noise_by_much(world):
    same = predictions(world.training, world.training, world.reserve, seed=0)
    assert same.c_index.difference.value == 0.0
    assert same.importances.value == pytest.approx(1.0)
    order = np.random.default_rng(0).permutation(len(world.training))
    blind = world.training.with_columns({"os_years": world.training["os_years"][order],
                                         "died": world.training["died"][order]})  # fmt: skip
    found = predictions(world.training, blind, world.reserve, seed=0)
    assert found.c_index.difference.high < 0
    assert found.brier.difference.low > 0
