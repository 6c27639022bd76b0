import numpy as np
import pytest
from scipy.stats import ks_2samp

from cohortium.synth.validation.marginals import kolmogorov_smirnov, total_variation


def test_kolmogorov_smirnov_is_scipys():
    rng = np.random.default_rng(0)
    a, b = rng.normal(size=300), rng.normal(0.3, 1, 400)
    assert kolmogorov_smirnov(a, b) == pytest.approx(ks_2samp(a, b).statistic)


def test_missing_values_count_as_difference():
    a, b = np.ones(100), np.where(np.arange(100) < 30, np.nan, 1.0)
    assert kolmogorov_smirnov(a, b) == pytest.approx(0.3)
    assert total_variation(a, b) == pytest.approx(0.3)


def test_total_variation_by_hand():
    assert total_variation(np.array([0.0, 0, 1, 2]), np.array([0.0, 1, 1, 1])) == pytest.approx(0.5)
    assert total_variation(np.array([0.0]), np.array([1.0])) == 1.0
