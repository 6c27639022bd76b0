"""Trimmed mean by hand."""

import pytest

from cohortium.strategies.trimmed_mean import TrimmedMean


def test_the_extremes_of_each_coordinate_are_dropped(merged, fitted):
    trained = {s: fitted([v, -v]) for s, v in zip("abcde", (1.0, 2.0, 3.0, 4.0, 1000.0), strict=True)}
    assert merged(TrimmedMean(beta=0.2), [0.0, 0.0], trained)[0]["w"].tolist() == [3.0, -3.0]


def test_a_share_below_one_site_drops_nobody(merged, fitted):
    trained = {"a": fitted([1.0], n=90), "b": fitted([2.0]), "c": fitted([6.0])}
    assert merged(TrimmedMean(), [0.0], trained)[0]["w"].tolist() == [3.0]


@pytest.mark.parametrize("beta", [0.5, -0.1, 1.0])
def test_a_share_that_leaves_nobody_is_refused(beta):
    with pytest.raises(ValueError, match="beta"):
        TrimmedMean(beta=beta)
