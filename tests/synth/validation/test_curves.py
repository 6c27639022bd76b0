import numpy as np
import pytest
from lifelines import KaplanMeierFitter
from lifelines.statistics import logrank_test

from cohortium.synth.validation.curves import kaplan_meier, km_gap, log_rank_p, optimism, restricted_mean


def patients(n=300, scale=5.0, seed=0):
    rng = np.random.default_rng(seed)
    time, out = rng.exponential(scale, n), rng.uniform(0, 12, n)
    return np.round(np.minimum(time, out), 2), (time <= out).astype(float)


def test_the_curve_is_that_of_lifelines():
    time, event = patients()
    theirs = KaplanMeierFitter().fit(time, event)
    at = np.linspace(0.1, 8, 40)
    assert np.allclose(kaplan_meier(time, event).at(at), theirs.survival_function_at_times(at).to_numpy())


def test_log_rank_is_that_of_lifelines():
    a, b = patients(), patients(scale=7.0, seed=1)
    assert log_rank_p(a, b) == pytest.approx(logrank_test(a[0], b[0], a[1], b[1]).p_value, rel=1e-6)


def test_restricted_mean_is_the_area_under_the_curve_and_its_error_that_of_a_plain_mean_without_censoring():
    time, event = patients()
    grid = (np.arange(60_000) + 0.5) * 6.0 / 60_000
    assert restricted_mean(time, event, 6.0)[0] == pytest.approx(
        6.0 * kaplan_meier(time, event).at(grid).mean(), rel=1e-4
    )
    everybody = np.ones(len(time))
    mean, error = restricted_mean(time, everybody, 6.0)
    cut = np.minimum(time, 6.0)
    assert mean == pytest.approx(cut.mean(), rel=1e-9)
    assert error == pytest.approx(cut.std() / np.sqrt(len(time)), rel=0.02)


def test_a_table_has_no_gap_to_itself_and_a_longer_life_is_optimism():
    a, b = patients(), patients(scale=9.0, seed=2)
    assert km_gap(a, a, 6.0) == 0.0
    assert optimism(a, b, 6.0) == pytest.approx(km_gap(a, b, 6.0), abs=0.01)
    assert optimism(b, a, 6.0) < -0.05


def test_without_an_event_there_is_no_test():
    a = (np.array([1.0, 2.0]), np.zeros(2))
    assert np.isnan(log_rank_p(a, a))
