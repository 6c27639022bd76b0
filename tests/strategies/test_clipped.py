"""The clip by hand."""

import numpy as np
import pytest

from cohortium.core.parameters import Parameters
from cohortium.strategies.clipped import shortened

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
