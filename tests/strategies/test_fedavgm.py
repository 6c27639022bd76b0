"""FedAvgM: the change keeps its momentum over rounds."""

import pytest

from cohortium.strategies.fedavgm import FedAvgM


def test_two_rounds_by_hand(merged, fitted):
    """Changes of 1 and then 1: m = 1, then 1.9; the model moves by 0.3 m."""
    model, state, _ = merged(FedAvgM(), [0.0], {"a": fitted([1.0])})
    assert model["w"][0] == pytest.approx(0.3, abs=1e-15)
    model, state, _ = merged(FedAvgM(), [0.3], {"a": fitted([1.3])}, state=state)
    assert state["m/w"][0] == pytest.approx(1.9, abs=1e-15)
    assert model["w"][0] == pytest.approx(0.3 + 0.3 * 1.9, abs=1e-15)


def test_without_momentum_at_full_rate_it_is_averaging(merged, fitted):
    model, _, _ = merged(FedAvgM(beta=0.0, rate=1.0), [1.0], {"a": fitted([4.0], n=1), "b": fitted([0.0], n=3)})
    assert model["w"].tolist() == [1.0]


@pytest.mark.parametrize("options", [{"beta": 1.0}, {"beta": -0.1}, {"rate": 0.0}, {"rate": float("nan")}])
def test_options_out_of_range_are_refused(options):
    with pytest.raises(ValueError, match=next(iter(options))):
        FedAvgM(**options)
