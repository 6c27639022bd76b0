import time

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from sklearn.linear_model import Lasso as Oracle

from cohortium.models.coordinate_descent import minimise, violations


def test_one_coordinate_by_hand():
    # minimise -3 d + d^2 + 1 |d|: soft(3, 1) / 2 = 1
    w = minimise(np.array([-3.0]), np.array([[2.0]]), np.zeros(1), l1=np.ones(1), l2=np.zeros(1), tolerance=1e-12)
    assert w.tolist() == [1.0]
    w = minimise(np.array([-3.0]), np.array([[2.0]]), np.zeros(1), l1=np.ones(1), l2=np.full(1, 2.0), tolerance=1e-12)
    assert w.tolist() == [0.5]


def test_a_start_inside_the_penalty_stays_zero():
    g, zero = np.array([0.5, -0.9]), np.zeros(2)
    assert minimise(g, np.eye(2), zero, l1=np.ones(2), l2=zero, tolerance=1e-9).tolist() == [0, 0]
    assert violations(g, zero, l1=np.ones(2), l2=zero).tolist() == [0, 0]


def test_violations_look_at_both_kinds_of_coordinate():
    slope, w = np.array([-1.5, 0.2, -1.0]), np.array([0.0, 2.0, -1.0])
    assert violations(slope, w, l1=np.ones(3), l2=np.zeros(3)).tolist() == [0.5, 1.2, 2.0]


@settings(max_examples=15, deadline=None)
@given(seed=st.integers(0, 10_000), n=st.integers(3, 40), p=st.integers(1, 60))
def test_minimum_of_least_squares_is_that_of_scikit_learn(seed, n, p):
    rng = np.random.default_rng(seed)
    x, y = rng.normal(size=(n, p)), rng.normal(size=n)
    w = minimise(-x.T @ y / n, x.T @ x / n, np.zeros(p), l1=np.full(p, 0.1), l2=np.zeros(p), tolerance=1e-9)
    oracle = Oracle(alpha=0.1, fit_intercept=False, tol=1e-12, max_iter=200_000).fit(x, y)

    def loss(v):
        return np.sum((y - x @ v) ** 2) / (2 * n) + 0.1 * np.abs(v).sum()

    assert loss(w) == pytest.approx(loss(oracle.coef_), abs=1e-8)


def test_unpenalised_coordinates_and_empty_columns_are_handled():
    h = np.array([[2.0, 0.0, 1.0], [0.0, 0.0, 0.0], [1.0, 0.0, 2.0]])
    g = np.array([-1.0, 0.0, 1.0])
    w = minimise(g, h, np.zeros(3), l1=np.zeros(3), l2=np.zeros(3), tolerance=1e-10)
    assert np.allclose(w, [1.0, 0.0, -1.0], atol=1e-9)


@pytest.mark.slow
def test_sums_that_no_patients_can_have_keep_no_site_busy():
    """Every site minimises what all sites said; one that lies must not cost the others hours."""
    zero, rng = np.zeros(40), np.random.default_rng(0)
    began = time.process_time()
    with pytest.raises(ArithmeticError, match="no minimum"):
        minimise(np.ones(40), 3.0 - 2.0 * np.eye(40), zero, l1=np.full(40, 0.01), l2=zero, tolerance=1e-9)
    flat = np.full((40, 40), 2.0**40) + np.diag(rng.random(40))
    minimise(rng.normal(size=40) * 2.0**40, flat, zero, l1=zero, l2=np.full(40, 0.01), tolerance=1e-9)
    assert time.process_time() - began < 60
