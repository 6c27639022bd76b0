import numpy as np
import pytest
from scipy import stats

from cohortium.errors import UsageError
from cohortium.synth.pooling import pool, pool_filled


def test_the_hand_calculation():
    found = pool([[1.0], [3.0]], [[0.5], [0.7]], n_real=100, n_synthetic=200)
    assert found.estimate.tolist() == [2.0]
    assert found.error[0] ** 2 == pytest.approx(0.6 * (2.0 + 0.5))
    assert found.low[0] == pytest.approx(2.0 - 1.959964 * found.error[0], abs=1e-6)


def test_pooled_intervals_cover_and_those_of_one_table_do_not():
    rng = np.random.default_rng(0)
    n, m, covered, alone = 200, 5, 0, 0
    for _ in range(2000):
        real = rng.normal(size=n)
        tables = rng.normal(real.mean(), real.std(ddof=1), size=(m, n))
        q, u = tables.mean(axis=1)[:, None], (tables.var(axis=1, ddof=1) / n)[:, None]
        found = pool(q, u, n_real=n, n_synthetic=n)
        covered += bool(found.low[0] <= 0 <= found.high[0])
        alone += bool(abs(q[0, 0]) <= 1.96 * np.sqrt(u[0, 0]))
    assert 0.93 <= covered / 2000 <= 0.97
    assert 0.80 <= alone / 2000 <= 0.86  # the theorem says 0.834


def test_one_table_cannot_be_pooled():
    with pytest.raises(UsageError, match="at least two"):
        pool([[1.0]], [[1.0]], n_real=10, n_synthetic=10)


def test_filled_tables_by_hand():
    found = pool_filled([[1.0], [3.0]], [[0.5], [0.7]])
    total = 0.6 + 1.5 * 2.0  # u + (1 + 1/m) b
    freedom = (1 + 0.6 / 3.0) ** 2  # 1.44: t at 97.5 % is 7.04
    assert found.estimate.tolist() == [2.0]
    assert found.error[0] == pytest.approx(np.sqrt(total) * stats.t.ppf(0.975, freedom) / 1.959964, rel=1e-6)
    equal = pool_filled([[1.0], [1.0]], [[0.25], [0.25]])
    assert equal.error[0] == pytest.approx(0.5, rel=1e-6)


def test_intervals_of_filled_tables_cover_and_the_rule_for_synthetic_ones_would_not():
    rng = np.random.default_rng(1)
    n, known, m, right, wrong = 100, 50, 5, 0, 0
    for _ in range(2000):
        there = rng.normal(size=known)
        s2 = there.var(ddof=1) * (known - 1) / rng.chisquare(known - 1, size=m)  # gaps drawn anew with their parameters
        mean = rng.normal(there.mean(), np.sqrt(s2 / known))
        tables = np.hstack([np.tile(there, (m, 1)), rng.normal(mean[:, None], np.sqrt(s2)[:, None], (m, n - known))])
        q, u = tables.mean(axis=1)[:, None], (tables.var(axis=1, ddof=1) / n)[:, None]
        one, other = pool_filled(q, u), pool(q, u, n_real=n, n_synthetic=n)
        right += bool(one.low[0] <= 0 <= one.high[0])
        wrong += bool(other.low[0] <= 0 <= other.high[0])
    assert 0.93 <= right / 2000 <= 0.97
    assert wrong / 2000 < 0.91
