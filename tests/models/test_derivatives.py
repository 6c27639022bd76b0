import numpy as np
import pytest

from cohortium.core.parameters import Parameters
from cohortium.models.derivatives import (
    derivative_sums,
    first_precision,
    gradient_of,
    point_of,
    precision,
    second_derivatives,
)
from cohortium.models.families import FAMILIES


def state_at(theta, kind, events=0):
    return Parameters({"intercept": theta[:1], "coefficients": theta[1:]}) | precision(FAMILIES[kind], events=events)


def test_sums_of_a_logistic_model_by_hand(kit):
    examples = kit.table(np.array([[1.0], [-1.0], [2.0]]), np.array([1.0, 0.0, 1.0]), "binary")
    state = state_at(np.zeros(2), "binary")
    sums = derivative_sums(state, examples)
    assert sums["rows"].tolist() == [3, 0]
    assert sums["outcome"].tolist() == [2]
    assert sums["loss"][0] / 2**20 == pytest.approx(3 * np.log(2), abs=1e-5)
    assert gradient_of(state, sums).tolist() == [0.5, 2.0]  # sum of (y - 1/2) and of (y - 1/2) x
    assert second_derivatives(state, sums, 2).tolist() == [[0.75, 0.5], [0.5, 1.5]]  # x x' / 4
    assert point_of(state).tolist() == [0, 0]


def test_gradient_is_the_derivative_of_the_loss(kit):
    examples = kit.counts(100)
    theta = np.array([1.5, 0.25, -0.125, 0.5, 0.0])
    state = state_at(theta, "count", events=1000)
    gradient = gradient_of(state, derivative_sums(state, examples))
    for j in range(5):
        moved = [theta + np.eye(5)[j] * step for step in (2.0**-10, -(2.0**-10))]
        up, down = (derivative_sums(state_at(t, "count", events=1000), examples)["loss"][0] / 2**20 for t in moved)
        assert -(up - down) * 2**9 == pytest.approx(gradient[j], rel=1e-3, abs=0.1)


def test_rows_beyond_the_limit_are_counted_and_left_out(kit):
    examples = kit.table(np.array([[1.0], [100.0]]), np.array([1.0, 1.0]), "count")
    sums = derivative_sums(state_at(np.array([0.0, 1.0]), "count", events=2), examples)
    assert sums["rows"].tolist() == [2, 1]
    assert sums["outcome"].tolist() == [1]


def test_only_the_chosen_columns_have_second_derivatives(kit):
    examples = kit.binary(50)
    state = state_at(np.zeros(5), "binary")
    whole = second_derivatives(state, derivative_sums(state, examples), 5)
    part = derivative_sums(state, examples, columns=np.array([0, 2]))
    assert second_derivatives(state, part, 2).tolist() == whole[np.ix_([0, 2], [0, 2])].tolist()
    assert len(part["gradient"]) == 5


def test_large_counts_give_up_bits_and_bound_the_predictor():
    few, many = precision(FAMILIES["count"], events=1000), precision(FAMILIES["count"], events=10**8)
    assert few["precision"].tolist() == [20, 18]
    assert (many["precision"] < few["precision"]).all()
    assert few["limit"][0] == pytest.approx(np.log(2000))
    assert many["limit"][0] == 14
    assert precision(FAMILIES["binary"])["limit"][0] == np.inf


def test_bits_go_only_where_a_binary_outcome_has_more_rows_than_full_precision_can_hold():
    few, many = (precision(FAMILIES["binary"], rows=rows)["precision"].tolist() for rows in (2**18 - 1, 2**21))
    assert few == [20, 18]
    assert many == [16, 14]
    assert first_precision(FAMILIES["binary"])["precision"].tolist() == [1, 2]
    assert first_precision(FAMILIES["count"]) == precision(FAMILIES["count"])
