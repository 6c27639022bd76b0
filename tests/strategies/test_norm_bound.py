"""Norm bound by hand: N = 5, an outlier of 1e6."""

import pytest

from cohortium.strategies.norm_bound import NormBound


def test_five_sites_with_a_liar_by_hand(merged, fitted):
    trained = {site: fitted([1.0, 0.0]) for site in "abcd"} | {"liar": fitted([0.0, 1e6])}
    model, _, updates = merged(NormBound(norm=2.0), [0.0, 0.0], trained)
    assert updates["liar"].parameters["w"].tolist() == [0.0, 2.0]
    assert model["w"].tolist() == pytest.approx([0.8, 0.4], abs=1e-15)  # the mean is at 200,000


def test_short_changes_merge_to_the_plain_weighted_mean(merged, fitted):
    trained = {"a": fitted([1.0], n=30), "b": fitted([-1.0], n=10)}
    assert merged(NormBound(norm=5.0), [0.0], trained)[0]["w"].tolist() == [0.5]


@pytest.mark.parametrize("norm", [0.0, -1.0, float("inf"), float("nan")])
def test_a_bound_out_of_range_is_refused(norm):
    with pytest.raises(ValueError, match="norm must be positive and finite"):
        NormBound(norm=norm)
