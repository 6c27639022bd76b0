from dataclasses import replace

import numpy as np
import pytest
from sklearn.linear_model import LinearRegression, Ridge

from cohortium.core.update import Instructions
from cohortium.errors import DataError
from cohortium.models.least_squares import Linear, moment_sums, moments


@pytest.mark.parametrize("unit", [1e-6, 1.0, 1e6])
@pytest.mark.parametrize("l2", [0.0, 0.2])
def test_one_exchange_agrees_with_scikit_learn_in_any_unit(kit, unit, l2):
    examples = kit.numbers(200, unit=unit)
    state, rounds = kit.learn(Linear(l2=l2), kit.split(examples, 3))
    oracle = (Ridge(alpha=l2 * 200) if l2 else LinearRegression()).fit(examples.x, examples.y)
    assert rounds == 1
    assert np.abs(oracle.coef_ - state["coefficients"]).max() < 2e-5 * unit
    assert abs(oracle.intercept_ - state["intercept"][0]) < 2e-5 * unit
    assert np.abs(oracle.predict(examples.x) - Linear().predict(state, examples)).max() < 1e-4 * unit


def test_standard_errors_and_residual_variance_by_the_textbook(kit):
    examples = kit.numbers(120)
    state, _ = kit.learn(Linear(), [examples])
    design = np.column_stack([np.ones(120), examples.x])
    residual = examples.y - design @ np.linalg.lstsq(design, examples.y, rcond=None)[0]
    variance = residual @ residual / (120 - 5)
    errors = np.sqrt(variance * np.diagonal(np.linalg.inv(design.T @ design)))
    assert state["residual_variance"][0] == pytest.approx(variance, rel=1e-4)
    assert np.allclose(state["standard_errors"], errors, rtol=1e-4)


def test_an_outcome_far_from_zero_keeps_its_digits(kit):
    examples = kit.numbers(100)
    moved = replace(examples, y=examples.y + 1e9)
    near, _ = kit.learn(Linear(), [examples])
    far, _ = kit.learn(Linear(), [moved])
    assert np.abs(near["coefficients"] - far["coefficients"]).max() < 1e-6


def test_repeated_and_constant_columns_are_left_out(kit):
    examples = kit.numbers(80)
    x = np.column_stack([examples.x, examples.x[:, 1], np.full(80, 2.0)])
    found, _ = kit.learn(Linear(), [kit.table(x, examples.y, "number")])
    plain, _ = kit.learn(Linear(), [examples])
    assert found["coefficients"][4:].tolist() == [0, 0]
    assert np.abs(found["coefficients"][:4] - plain["coefficients"]).max() < 1e-6


def test_moments_by_hand(kit):
    examples = kit.table(np.array([[1.0], [3.0]]), np.array([2.0, 8.0]), "number")
    found = moments(moment_sums(examples), 1)
    assert (found.n, found.x_mean.tolist(), found.y_mean) == (2, [2.0], 5.0)
    assert (found.xx.tolist(), found.xy.tolist(), found.yy) == ([[2.0]], [6.0], 18.0)


def test_no_rows_and_too_few_rows_give_zeros_and_no_nan(kit):
    empty = kit.numbers(5).take(np.zeros(0, dtype=int))
    state, _ = kit.learn(Linear(), [empty])
    assert not state.vector().any()
    few, _ = kit.learn(Linear(), [kit.numbers(3)])
    assert np.isfinite(few.vector()).all()
    assert few["residual_variance"].tolist() == [0]


def test_by_weights_it_descends_to_the_same_solution(kit):
    examples = kit.numbers(100)
    model = Linear(learn="weights", learning_rate=0.3)
    start = model.initial(examples.layout, rng=None)
    done = model.fit(start, examples, instructions=Instructions(local_epochs=200), rng=np.random.default_rng(0))
    solved, _ = kit.learn(Linear(), [examples])
    assert np.abs(done.parameters["coefficients"] - solved["coefficients"]).max() < 1e-4
    assert list(done.parameters) == ["coefficients", "intercept"]


def test_a_missing_outcome_is_counted(kit):
    examples = kit.numbers(10)
    y = examples.y.copy()
    y[[2, 5]] = np.nan
    with pytest.raises(DataError, match="outcome is missing or not finite in 2 of 10 rows"):
        kit.learn(Linear(), [replace(examples, y=y)])
    with pytest.raises(DataError, match="the outcome is missing in all rows"):
        kit.learn(Linear(), [replace(examples, y=None)])
