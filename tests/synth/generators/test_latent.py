"""Correlations found again from counts alone, against draws of known correlation and scipy's bivariate normal."""

import numpy as np
import pytest
from scipy.stats import multivariate_normal, norm

from cohortium.synth.generators.latent import kept_by_cutting, level_scores, lifted, tetrachoric


@pytest.mark.parametrize("r", [-0.9, -0.4, 0.0, 0.3, 0.8])
@pytest.mark.parametrize(("p", "q"), [(0.5, 0.5), (0.1, 0.3), (0.02, 0.05)])
def test_the_correlation_behind_a_table_is_found_to_a_thousandth(r, p, q):
    h, k = norm.ppf(p), norm.ppf(q)
    joint = multivariate_normal(cov=[[1, r], [r, 1]]).cdf([h, k])
    n = 1e9  # so many that 0.5 a cell is nothing
    found = tetrachoric(np.array([joint * n]), np.array([p * n]), np.array([q * n]), np.array([n]))
    if joint * n > 1e3:
        assert found[0] == pytest.approx(r, abs=2e-3)
    else:  # so rare together that half a patient a cell is most of what is seen
        assert found[0] < -0.7


def test_the_cosine_rule_is_off_where_margins_are_small():
    joint = multivariate_normal(cov=[[1, 0.5], [0.5, 1]]).cdf([norm.ppf(0.02), norm.ppf(0.05)])
    cells = np.array([joint, 0.02 - joint, 0.05 - joint, 0.93 + joint])
    rule = np.cos(np.pi / (1 + np.sqrt(cells[0] * cells[3] / (cells[1] * cells[2]))))
    assert abs(rule - 0.5) > 0.1


def test_a_pair_nobody_has_is_uncorrelated():
    zero = np.zeros(1)
    assert tetrachoric(zero, zero, zero, zero)[0] == 0.0


def test_cutting_takes_what_a_draw_shows_it_takes():
    x = np.random.default_rng(0).normal(size=200_000)
    codes = np.searchsorted([-1.0, 0.5], x)
    counts = np.bincount(codes).astype(np.int64)
    z = level_scores(counts)
    assert kept_by_cutting(counts, z) == pytest.approx(np.corrcoef(x, z[codes])[0, 1], abs=0.003)
    assert kept_by_cutting(np.array([10, 0], dtype=np.int64), np.zeros(2)) == 0.0


def test_lifting_leaves_a_good_matrix_and_mends_a_bad_one():
    good = np.array([[1.0, 0.3], [0.3, 1.0]])
    assert lifted(good) == pytest.approx(good)
    bad = np.array([[1.0, 0.9, -0.9], [0.9, 1.0, 0.9], [-0.9, 0.9, 1.0]])
    assert np.linalg.eigvalsh(bad).min() < 0
    mended = lifted(bad)
    assert np.linalg.eigvalsh(mended).min() > 0
    assert np.diag(mended) == pytest.approx(np.ones(3))
