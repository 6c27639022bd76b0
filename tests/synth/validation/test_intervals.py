import numpy as np
import pytest
from scipy import stats

from cohortium.synth.validation.intervals import jackknifed, p_value_measure, quantile_measure


def test_the_jackknife_of_a_mean_is_its_standard_error():
    values = np.random.default_rng(0).normal(3.0, 2.0, 1000)
    (found,) = jackknifed(lambda rows: [values[rows[0]].mean()], [1000], seed=0)
    half = (found.high - found.low) / 2
    assert found.value == pytest.approx(values.mean())
    assert half == pytest.approx(1.96 * values.std(ddof=1) / np.sqrt(1000), rel=0.6)


def test_two_tables_add_their_variances_and_figures_stay_inside_their_range():
    a, b = np.random.default_rng(1).normal(0, 1, 500), np.random.default_rng(2).normal(0, 1, 500)
    one, both = (
        jackknifed(lambda rows, s=s: [s(rows)], [500, 500], seed=0)[0]
        for s in (lambda rows: a[rows[0]].mean(), lambda rows: a[rows[0]].mean() - b[rows[1]].mean())
    )
    assert both.high - both.low > one.high - one.low
    (kept,) = jackknifed(lambda rows: [abs(a[rows[0]].mean())], [500], seed=0, lowest=0.0, highest=0.01)
    assert 0.0 <= kept.low <= kept.high <= 0.01


def test_the_interval_of_a_median_by_hand():
    found = quantile_measure(np.arange(1.0, 101.0), 0.5)
    assert found.value == 50.5
    assert (found.low, found.high) == (40.0, 61.0), "the known places for n = 100"
    assert quantile_measure(np.zeros(0), 0.5).value is None


def test_the_interval_of_a_median_covers_it():
    rng = np.random.default_rng(3)
    hits = sum(one.low <= 0.0 <= one.high for one in (quantile_measure(rng.normal(size=60), 0.5) for _ in range(400)))
    assert 0.93 <= hits / 400 <= 0.99


def test_a_p_value_on_the_border_could_have_been_nearly_anything():
    found = p_value_measure(0.05, n=100)
    assert found.low == pytest.approx(2 * stats.norm.sf(2 * 1.96), rel=1e-3)
    assert found.high == pytest.approx(1.0, abs=1e-3)
    assert p_value_measure(float("nan"), n=3).value is None
