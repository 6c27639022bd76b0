"""The smallest value over sites by hand."""

from cohortium.strategies.minimum import Minimum


def test_the_smallest_trained_value_of_each_coordinate_wins(merged, fitted):
    trained = {"a": fitted([1.0, 3.0]), "b": fitted([7.0, -8.0], n=1000), "c": fitted([2.0, 0.0])}
    assert merged(Minimum(), [2.0, 2.0], trained)[0]["w"].tolist() == [1.0, -8.0]
