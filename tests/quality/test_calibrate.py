"""Calibration by five sums, and when nothing may be said about labels."""

import numpy as np
import pytest
from scipy.optimize import minimize

from cohortium.quality.calibrate import (
    ROUNDS,
    calibration_step,
    calibration_terms,
    clipped_mean,
    margin,
    must_be_silent,
    weighted_auroc,
)


def fitted(z, y, q):
    a, b, settled, exchanges = 0.0, 0.0, False, 0
    while not settled and exchanges < ROUNDS:
        a, b, settled = calibration_step(calibration_terms(z, y, q, a, b), a, b)
        exchanges += 1
    return a, b, exchanges


@pytest.fixture
def scored():
    rng = np.random.default_rng(3)
    z = rng.normal(size=500)
    return z, (rng.random(500) < 1 / (1 + np.exp(-(1.7 * z - 0.6)))).astype(float), rng.random(500)


def test_newton_on_five_sums_finds_the_weighted_fit(scored):
    z, y, q = scored

    def loss(at):
        u = at[0] * z + at[1]
        return float((q * (np.logaddexp(0, u) - y * u)).sum() + at[0] ** 2 / 200)

    a, b, _ = fitted(z, y, q)
    assert (a, b) == pytest.approx(tuple(minimize(loss, [0, 0], tol=1e-10).x), abs=1e-4)


def test_sums_of_any_partition_are_the_same_integers(scored):
    z, y, q = scored
    whole = calibration_terms(z, y, q, 0.5, 0.1)
    parts = sum(calibration_terms(z[p], y[p], q[p], 0.5, 0.1) for p in (slice(0, 7), slice(7, 300), slice(300, None)))
    assert (whole == parts).all()


def test_reversed_labels_give_a_negative_slope_and_that_is_silenced(scored):
    z, y, q = scored
    a, _, _ = fitted(z, 1 - y, q)
    assert a < -1
    assert must_be_silent(a, 0.8)


def test_separable_scores_do_not_run_away():
    z = np.repeat([-6.0, 6.0], 50)
    a, b, n = fitted(z, (z > 0).astype(float), np.ones(100))
    assert 0.5 < a < 10
    assert abs(b) < 0.1
    assert n <= ROUNDS


def test_one_site_with_huge_logits_cannot_flatten_the_slope(scored):
    z, y, q = scored
    logits = np.column_stack([np.concatenate([z, np.full(50, -500.0)]), np.concatenate([z, np.full(50, -500.0)])])
    labels, weights = np.concatenate([y, np.ones(50)]), np.concatenate([q, np.ones(50)])
    held = clipped_mean(logits, np.ones(logits.shape, dtype=bool))
    assert held.min() == -6.0
    raw_slope = fitted(np.concatenate([z, np.full(50, -500.0)]), labels, weights)[0]
    assert abs(raw_slope) < 0.02 < 0.1 < abs(fitted(held, labels, weights)[0])


def test_a_score_is_the_mean_over_models_that_never_saw_the_site():
    logits = np.array([[1.0, 3.0, 100.0], [1.0, 3.0, 100.0]])
    unseen = np.array([[True, True, False], [False, False, True]])
    assert clipped_mean(logits, unseen).tolist() == [2.0, 6.0]


def test_margins_turn_with_the_label():
    assert margin(np.array([1.0, 1.0]), np.array([1.0, 0.0]), 2.0, 0.5).tolist() == [2.5, -2.5]


def test_auroc_of_weighted_histograms_agrees_with_a_hand_calculation():
    assert weighted_auroc(np.array([0, 1, 1]), np.array([1, 1, 0])) == pytest.approx(3.5 / 4)
    assert weighted_auroc(np.array([0, 0, 3]), np.array([0, 0, 0])) == 0.5


def test_silence_begins_below_a_slope_of_three_tenths_or_an_auroc_of_six_tenths():
    assert not must_be_silent(0.3, 0.60)
    assert must_be_silent(0.29, 0.8)
    assert must_be_silent(1.0, 0.599)
    assert must_be_silent(1.0, 0.649, attempt=1)
    assert not must_be_silent(1.0, 0.65, attempt=1)
    assert must_be_silent(float("nan"), 0.8)
