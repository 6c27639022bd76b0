"""Centred clipping by hand: two rounds of five sites, one of them at 1e6."""

import pytest

from cohortium.strategies.centred_clipping import CentredClipping


def test_two_rounds_by_hand(merged, fitted):
    """Round 1, v = 0, tau = 2: (1 + 1 + 1 + 1 + 2)/5 = 1.2. Round 2 clips around 1.2: the same sites give 1 - 1.2 = -.2

    four times and the liar 2: v = 1.2 + (4 x -.2 + 2)/5 = 1.44.
    """
    strategy = CentredClipping(tau=2.0)
    trained = {site: fitted([1.0]) for site in "abcd"} | {"liar": fitted([1e6])}
    model, state, _ = merged(strategy, [0.0], trained)
    assert model["w"][0] == pytest.approx(1.2, abs=1e-15)
    assert state["v/w"][0] == pytest.approx(1.2, abs=1e-15)
    start = model["w"][0]
    again = {site: fitted([start + 1.0]) for site in "abcd"} | {"liar": fitted([1e6])}
    model, state, _ = merged(strategy, [start], again, state=state, round=1)
    assert state["v/w"][0] == pytest.approx(1.44, abs=1e-12)
    assert model["w"][0] == pytest.approx(1.2 + 1.44, abs=1e-12)


def test_sites_that_agree_are_not_held_back_for_ever(merged, fitted):
    """All want to go 10 a round with tau = 1: what all did last round is free, so the step grows by 1 a round."""
    strategy, at, state, steps = CentredClipping(tau=1.0), 0.0, None, []
    for number in range(12):
        model, state, _ = merged(
            strategy, [at], {site: fitted([at + 10.0]) for site in "abc"}, state=state, round=number
        )
        steps.append(model["w"][0] - at)
        at = model["w"][0]
    assert steps[:3] == pytest.approx([1, 2, 3])
    assert steps[-1] == pytest.approx(10)


def test_a_wide_bound_is_the_plain_mean(merged, fitted):
    trained = {"a": fitted([1.0], n=30), "b": fitted([-3.0], n=10)}
    assert merged(CentredClipping(tau=100.0), [0.0], trained)[0]["w"].tolist() == [-1.0]
    assert merged(CentredClipping(tau=100.0, weights="samples"), [0.0], trained)[0]["w"].tolist() == [0.0]


@pytest.mark.parametrize("tau", [0.0, -1.0, float("nan")])
def test_a_bound_out_of_range_is_refused(tau):
    with pytest.raises(ValueError, match="tau must be positive and finite"):
        CentredClipping(tau=tau)
