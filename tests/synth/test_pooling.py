import numpy as np
import pytest

from cohortium.errors import UsageError
from cohortium.synth.pooling import pool


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
