"""The clip by hand."""

import numpy as np
import pytest

from cohortium.core.parameters import Parameters
from cohortium.core.update import Aggregate, Turn
from cohortium.strategies.clipped import bounded_mean, shortened

LIKE = Parameters({"w": np.zeros(1), "b": np.zeros(1, dtype=np.float32)})


def test_a_long_arrow_is_shortened_over_all_arrays():
    made = shortened({"w": np.array([3.0]), "b": np.array([4.0])}, norm=2.5, like=LIKE)
    assert (made["w"][0], made["b"][0]) == (1.5, 2.0)
    assert made["b"].dtype == np.float32


def test_a_short_arrow_keeps_its_bits():
    made = shortened({"w": np.array([0.1]), "b": np.array([0.2])}, norm=1.0, like=LIKE)
    assert made["w"][0] == 0.1
    assert made["b"][0] == pytest.approx(0.2, abs=1e-8)


def test_an_arrow_of_no_length_stays():
    assert shortened({"w": np.zeros(1), "b": np.zeros(1)}, norm=1.0, like=LIKE)["w"][0] == 0


def summed(total, weight, groups=()):
    return Aggregate(total=Parameters({"w": np.array(total)}), weight=weight, contributors=("a",), groups=groups)


def test_neither_half_moves_the_mean_further_than_the_bound():
    turn = Turn(round=0, sites=("a",), start=Parameters({"w": np.zeros(2)}), state=Parameters())
    honest, lied_to = summed([4.0, 0.0], 4), summed([0.0, 4e6], 4)
    whole = summed([4.0, 4e6], 8, groups=(honest, lied_to))
    assert bounded_mean(turn, whole, norm=2.0)["w"].tolist() == [0.5, 1.0]
    assert bounded_mean(turn, summed([4.0, 4e6], 8), norm=2.0)["w"].tolist() == [0.5, 5e5], "one sum is as it is"
    assert bounded_mean(turn, summed([6.0, 0.0], 8, groups=(honest, summed([2.0, 0.0], 4))), norm=2.0)["w"][0] == 0.75
