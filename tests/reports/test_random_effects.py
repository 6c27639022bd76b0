import numpy as np
import pytest
from scipy import stats

from cohortium.reports.random_effects import random_effects


def test_two_unequal_sites_by_hand():
    """d = 0, 1; v = 0.1, 0.1: Q = 5, tau2 = (5 - 1) / (20 - 10) = 0.4, mean 0.5, SE = sqrt(0.5 / 2) = 0.5."""
    found = random_effects(np.array([0.0, 1.0]), np.array([0.1, 0.1]))
    assert (found.mean, found.tau2, found.i2) == pytest.approx((0.5, 0.4, 0.8))
    assert found.high - found.mean == pytest.approx(1.959964 * 0.5, abs=1e-6)
    assert found.new_low is None


def test_equal_sites_have_no_spread_and_the_fixed_mean():
    found = random_effects(np.array([0.2, 0.2, 0.2]), np.array([0.01, 0.04, 0.01]))
    assert found.tau2 == 0
    assert found.mean == pytest.approx(0.2)
    assert found.new_high - found.mean == pytest.approx(stats.t.ppf(0.975, 1) * np.sqrt(1 / 225))


def test_prediction_interval_covers_new_sites():
    """The method is known to fall a little short for few sites (Partlett, Riley 2017: 91-94 % at 10)."""
    rng, hits, runs = np.random.default_rng(1), 0, 600
    for _ in range(runs):
        truth = rng.normal(0.05, 0.1, size=13)
        variance = rng.uniform(0.001, 0.01, size=12)
        found = random_effects(rng.normal(truth[:12], np.sqrt(variance)), variance)
        hits += found.new_low <= truth[12] <= found.new_high
    assert 0.90 <= hits / runs <= 0.97


def test_one_site_is_no_consortium_and_variance_must_be_positive():
    assert random_effects(np.array([0.1]), np.array([0.1])) is None
    with pytest.raises(ValueError, match="1 of 2 are not positive"):
        random_effects(np.zeros(2), np.array([0.1, 0.0]))
