import numpy as np
import pytest
from sklearn import metrics

from cohortium.reports import continuous as c

RNG = np.random.default_rng(1)
Y = 100 + RNG.normal(size=60)
P = Y + RNG.normal(size=60) * 0.5


def test_values_equal_scikit_learn():
    assert c.rmse(Y, P) == pytest.approx(metrics.root_mean_squared_error(Y, P))
    assert c.mae(Y, P) == pytest.approx(metrics.mean_absolute_error(Y, P))
    assert c.r2(Y, P) == pytest.approx(metrics.r2_score(Y, P))


def test_draws_equal_repeated_rows():
    weights = RNG.integers(0, 3, size=(3, 60))
    for w, first, second in zip(
        weights, c.rmse_draws(Y, P, 1.0 * weights), c.r2_draws(Y, P, 1.0 * weights), strict=True
    ):
        assert first == pytest.approx(c.rmse(np.repeat(Y, w), np.repeat(P, w)))
        assert second == pytest.approx(c.r2(np.repeat(Y, w), np.repeat(P, w)))


def test_undefined_values_are_nan():
    assert np.isnan(c.rmse(np.zeros(0), np.zeros(0)))
    assert np.isnan(c.mae(np.zeros(0), np.zeros(0)))
    assert np.isnan(c.r2(np.ones(4), np.ones(4)))
    assert np.isnan(c.r2_draws(np.ones(4), np.ones(4), np.ones((1, 4)))[0])
