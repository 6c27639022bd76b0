"""Coordinate median by hand."""

import pytest

from cohortium.errors import TrainingFailed
from cohortium.strategies.coordinate_median import CoordinateMedian


def test_odd_and_even_numbers_of_sites_by_hand(merged, fitted):
    three = {"a": fitted([1.0, 9.0]), "b": fitted([2.0, -5.0]), "c": fitted([100.0, 0.0])}
    assert merged(CoordinateMedian(), [0.0, 0.0], three)[0]["w"].tolist() == [2.0, 0.0]
    four = three | {"d": fitted([4.0, 2.0])}
    assert merged(CoordinateMedian(), [0.0, 0.0], four)[0]["w"].tolist() == [3.0, 1.0]


def test_size_of_a_site_does_not_count(merged, fitted):
    trained = {"a": fitted([1.0], n=1), "b": fitted([2.0], n=1), "c": fitted([100.0], n=10_000)}
    assert merged(CoordinateMedian(), [0.0], trained)[0]["w"].tolist() == [2.0]


def test_two_sites_have_no_median_worth_the_name(merged, fitted):
    with pytest.raises(TrainingFailed, match="at least 3 contributing sites, got 2"):
        merged(CoordinateMedian(), [0.0], {"a": fitted([1.0]), "b": fitted([2.0])})
