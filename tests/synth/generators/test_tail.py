import numpy as np
import pytest
from scipy.stats import spearmanr

from cohortium.synth.generators.design import Design
from cohortium.synth.generators.normal_scores import Scores, coarse_counts, fine_counts, fine_grid, step_counts
from cohortium.synth.generators.tail import RIDGE, Tail, gram_counts, repaired

DESIGN = Design(sizes=(2,), reference=(0,), n_scores=2)


def rows(n=3000, seed=0):
    rng = np.random.default_rng(seed)
    codes = rng.integers(0, 2, (n, 1))
    first = 0.8 * codes[:, 0] - 0.4 + rng.normal(0, 0.9, n)
    second = 0.5 * first - 0.3 * codes[:, 0] + rng.normal(0, 0.7, n)
    return codes, np.column_stack([first, second])


def test_regressions_are_ridge_regressions_by_another_route():
    codes, z = rows()
    found = Tail.solved(DESIGN, gram_counts(DESIGN, codes, z))
    x = np.column_stack([np.ones(len(z)), codes[:, 0], z[:, 0]])
    expected = np.linalg.solve(x.T @ x + np.diag([1e-6, RIDGE, RIDGE]), x.T @ z[:, 1])
    assert np.allclose(found.coefficients[1, :3], expected, atol=1e-3)
    assert found.sd[1] == pytest.approx(0.7, abs=0.03)


def test_drawn_scores_have_the_correlation_of_the_data():
    codes, z = rows()
    tail = Tail.solved(DESIGN, gram_counts(DESIGN, codes, z))
    drawn = tail.sample(codes, np.zeros(z.shape, bool), np.random.default_rng(1))
    assert np.corrcoef(drawn.T)[0, 1] == pytest.approx(np.corrcoef(z.T)[0, 1], abs=0.05)


def test_the_joint_distribution_is_that_of_the_steps():
    codes, z = rows()
    tail = Tail.solved(DESIGN, gram_counts(DESIGN, codes, z))
    mean, covariance = tail.joint(np.array([[1]]))
    drawn = tail.sample(np.ones((60_000, 1), dtype=int), np.zeros((60_000, 2), bool), np.random.default_rng(2))
    assert np.allclose(drawn.mean(axis=0), mean[0], atol=0.02)
    assert np.allclose(np.cov(drawn.T), covariance, atol=0.02)


def test_patients_without_the_target_do_not_count_and_missing_scores_stay_missing():
    codes, z = rows()
    z[::2, 1] = np.nan
    grams = gram_counts(DESIGN, codes, z)
    assert grams[0, 0, 0] == len(z)
    assert grams[1, 0, 0] == len(z) // 2
    missing = np.column_stack([np.zeros(len(z), bool), np.ones(len(z), bool)])
    drawn = Tail.solved(DESIGN, grams).sample(codes, missing, np.random.default_rng(0))
    assert np.isnan(drawn[:, 1]).all()


def test_gram_matrices_add_up():
    codes, z = rows(n=500)
    parts = gram_counts(DESIGN, codes[:200], z[:200]) + gram_counts(DESIGN, codes[200:], z[200:])
    assert np.array_equal(parts, gram_counts(DESIGN, codes, z))


def test_repair_keeps_the_ranks_and_gives_the_published_distribution():
    values = np.round(np.random.default_rng(3).exponential(5, 4000))
    whole = step_counts(values)
    grid = fine_grid(coarse_counts(values), whole, low=None, high=None)
    table = Scores.joined(grid, fine_counts(values, grid), whole=whole, min_cell=10)
    z = np.random.default_rng(4).normal(size=2000)
    found = repaired(z, table, np.random.default_rng(5))
    assert spearmanr(z, found).statistic > 0.99  # but for ties and rounding
    assert abs(np.median(found) - np.median(values)) <= 1


def test_a_matrix_that_rounding_has_broken_is_solved_with_more_ridge():
    """Half of 20 patients rounded: more of them have the level than there are; no rows have such a matrix."""
    design = Design((2,), (0,), 1)
    one = 1 << 24  # a score of 1, squared
    broken = np.array([[[10, 12, 0], [12, 10, 4096], [0, 4096, 10 * one]]], dtype=np.int64)
    tail = Tail.solved(design, broken)
    assert np.isfinite(tail.coefficients).all()
    assert 0 < tail.sd[0] < 2
    whole = np.array([[[10, 4, 0], [4, 4, 4096], [0, 4096, 10 * one]]], dtype=np.int64)
    b = Tail.solved(design, whole).coefficients[0, :2]
    assert b == pytest.approx(np.linalg.solve([[10 + 1e-6, 4], [4, 5]], [0, 1]), rel=1e-9)


def test_residuals_are_as_wide_as_those_of_patients_the_regression_never_saw():
    """Forty flags for 120 patients: divided by the number of patients the residuals would be a fifth too narrow."""
    design = Design(sizes=(2,) * 40, reference=(0,) * 40, n_scores=1)
    own, fresh = [], []
    for seed in range(40):
        rng = np.random.default_rng(seed)
        codes, z = rng.integers(0, 2, (120, 40)), rng.normal(size=(120, 1))
        tail = Tail.solved(design, gram_counts(design, codes, z))
        own.append(float(np.mean((z[:, 0] - tail.joint(codes)[0][:, 0]) ** 2)))
        fresh.append(tail.sd[0] ** 2)
    assert np.mean(fresh) == pytest.approx(1.0, abs=0.06)
    assert np.mean(own) < 0.75


def test_degrees_of_freedom_are_the_trace_of_the_hat_matrix():
    codes, z = rows(n=30)
    found = Tail.solved(DESIGN, gram_counts(DESIGN, codes, z))
    x = np.column_stack([np.ones(len(z)), codes[:, 0], z[:, 0]])
    hat = x @ np.linalg.solve(x.T @ x + np.diag([1e-6, RIDGE, RIDGE]), x.T)
    left = ((z[:, 1] - hat @ z[:, 1]) ** 2).sum()
    assert found.sd[1] == pytest.approx(np.sqrt(left / (30 - np.trace(hat))), rel=1e-3)
