"""FedAdam by hand: moments without bias correction."""

from math import sqrt

import pytest

from cohortium.strategies.fedadam import FedAdam


def test_one_merge_by_hand(merged, fitted):
    model, state, _ = merged(FedAdam(), [1.0], {"a": fitted([1.5], n=1), "b": fitted([0.5], n=3)})
    d = -0.25
    m, v = 0.1 * d, 0.99e-6 + 0.01 * d * d
    assert state["m/w"][0] == pytest.approx(m, abs=1e-16)
    assert state["v/w"][0] == pytest.approx(v, abs=1e-16)
    assert model["w"][0] == pytest.approx(1.0 + 0.02 * m / (sqrt(v) + 1e-3), abs=1e-15)


def test_moments_of_the_last_leader_are_taken_over(merged, fitted):
    _, state, _ = merged(FedAdam(), [0.0], {"a": fitted([1.0])})
    _, after, _ = merged(FedAdam(), [0.0], {"a": fitted([1.0])}, state=state)
    assert after["m/w"][0] == pytest.approx(0.19, abs=1e-15)


@pytest.mark.parametrize("options", [{"beta_1": 1.0}, {"beta_2": 1.0}, {"tau": 0.0}, {"rate": -1.0}, {"v_start": 0.0}])
def test_options_out_of_range_are_refused(options):
    with pytest.raises(ValueError, match=next(iter(options))):
        FedAdam(**options)
