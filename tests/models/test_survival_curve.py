import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from lifelines import AalenJohansenFitter, KaplanMeierFitter
from lifelines.utils import restricted_mean_survival_time

from cohortium.models.survival_curve import (
    Curve,
    cumulative_incidence,
    greenwood,
    log_log_bands,
    release,
    restricted_mean,
    survival_steps,
)


def counts(time, event, k=60):
    """Events per cause, censorings and patients at risk per unit of time."""
    causes = max(1, int(event.max(initial=1)))
    events = np.stack([np.bincount(time[event == c + 1], minlength=k) for c in range(causes)])
    censored = np.bincount(time[event == 0], minlength=k)
    return events, censored, np.array([(time >= t).sum() for t in range(k)])


def test_the_published_remission_times():
    time = np.array([6, 6, 6, 6, 7, 9, 10, 10, 11, 13, 16, 17, 19, 20, 22, 23, 25, 32, 32, 34, 35])
    event = np.array([1, 1, 1, 0, 1, 0, 1, 0, 0, 1, 1, 0, 0, 0, 1, 1, 0, 0, 0, 0, 0])
    events, _, at_risk = counts(time, event)
    survival = survival_steps(events[0], at_risk)
    # Kleinbaum and Klein, Survival Analysis, table 2.2 (6-MP group)
    published = {6: 0.8571, 7: 0.8067, 10: 0.7529, 13: 0.6902, 16: 0.6275, 22: 0.5378, 23: 0.4482}
    assert {t: round(float(survival[t]), 4) for t in published} == published
    errors = survival * np.sqrt(greenwood(events[0], at_risk))
    assert [round(float(errors[t]), 4) for t in (6, 10, 23)] == [0.0764, 0.0963, 0.1346]


@pytest.mark.parametrize("seed", range(3))
def test_curve_bands_and_restricted_mean_agree_with_lifelines(seed):
    rng = np.random.default_rng(seed)
    time, event = rng.integers(1, 50, 150), (rng.random(150) < 0.6).astype(int)
    events, _, at_risk = counts(time, event)
    oracle = KaplanMeierFitter().fit(time, event)
    survival = survival_steps(events[0], at_risk)
    assert np.allclose(survival[:50], oracle.survival_function_at_times(range(50)), atol=1e-12)
    lower, upper = log_log_bands(survival, greenwood(events[0], at_risk), z=1.959963984540054)
    bands = oracle.confidence_interval_.reindex(range(50), method="ffill").to_numpy()
    inner = (survival[:50] > 0) & (survival[:50] < 1)
    assert np.allclose(np.column_stack([lower, upper])[:50][inner], bands[inner], atol=1e-9)
    mean, _ = restricted_mean(events[0], at_risk, width=1.0, cells=30)
    assert mean == pytest.approx(restricted_mean_survival_time(oracle, t=30), abs=1e-9)


def test_without_censoring_the_restricted_mean_is_a_plain_mean():
    time = np.random.default_rng(0).integers(1, 50, 40)
    events, _, at_risk = counts(time, np.ones(40, int))
    held = np.minimum(time, 25)
    mean, variance = restricted_mean(events[0], at_risk, width=2.0, cells=25)
    assert mean == pytest.approx(2 * held.mean(), abs=1e-12)
    assert variance == pytest.approx(4 * held.var() / 40, abs=1e-12)


def test_incidences_and_survival_add_up_to_one_and_agree_with_lifelines():
    rng = np.random.default_rng(1)
    time, event = rng.permutation(np.arange(1, 201)), rng.integers(0, 3, 200)
    events, _, at_risk = counts(time, event, k=202)
    found = cumulative_incidence(events, at_risk)
    assert np.allclose(found.sum(axis=0) + survival_steps(events.sum(axis=0), at_risk), 1, atol=1e-12)
    oracle = AalenJohansenFitter(calculate_variance=False).fit(time, event, event_of_interest=1)
    assert np.allclose(oracle.cumulative_density_.iloc[:, 0], found[0][oracle.cumulative_density_.index.astype(int)])


@given(st.integers(0, 10_000), st.integers(1, 120), st.integers(1, 8), st.integers(1, 15))
def test_no_released_count_is_small_and_nothing_left_over_is(seed, n, min_cell, min_at_risk):
    rng = np.random.default_rng(seed)
    events, censored, at_risk = counts(rng.integers(0, 40, n), rng.integers(0, 3, n))
    found = release(events, censored, at_risk, min_cell=min_cell, min_at_risk=min_at_risk)
    released = np.concatenate([found.events.ravel(), found.censored])
    assert ((released == 0) | (released >= min_cell)).all()
    assert (found.at_risk >= min_at_risk).all()
    left = found.at_risk - found.events.sum(axis=0) - found.censored
    assert ((left == 0) | (left >= min_cell)).all()
    assert left[:-1].tolist() == found.at_risk[1:].tolist()
    assert (np.diff(found.edges) > 0).all()


def test_rules_of_one_release_every_cell_with_a_patient():
    time, event = np.array([1, 2, 2, 5]), np.array([1, 0, 1, 1])
    found = release(*counts(time, event), min_cell=1, min_at_risk=1)
    assert found.edges.tolist() == [1, 2, 5]
    assert found.events.tolist() == [[1, 1, 1]]
    assert found.at_risk.tolist() == [4, 3, 1]
    assert not found.spread.any()


def test_censorings_of_a_joined_cell_count_half():
    found = release(np.array([[2, 3]]), np.array([4, 2]), np.array([20, 14]), min_cell=5, min_at_risk=1)
    assert (found.edges.tolist(), found.spread.tolist(), found.exposed.tolist()) == ([1], [True], [17.0])
    assert survival_steps(found.events[0], found.exposed).tolist() == [1 - 5 / 17]


def test_late_entries_join_the_patients_at_risk_of_a_joined_cell():
    # 4 at risk, one leaves, then 3 more come in before the last event of the cell
    found = release(np.array([[1, 0, 2]]), np.array([1, 0, 0]), np.array([4, 2, 5]), min_cell=3, min_at_risk=1)
    assert found.edges.tolist() == []
    joined = release(np.array([[1, 0, 2]]), np.array([0, 0, 0]), np.array([4, 3, 6]), min_cell=3, min_at_risk=1)
    assert (joined.edges.tolist(), joined.at_risk.tolist(), joined.events.tolist()) == ([2], [7], [[3]])


def test_a_curve_is_read_as_steps_and_unknown_beyond_its_end():
    steps = np.array([0.75, 0.25])
    curve = Curve(times=np.array([2.0, 5.0]), until=6.0, survival=steps, lower=steps, upper=steps,
                  events=np.ones(2, int), censored=np.zeros(2, int), at_risk=np.array([4, 3]))  # fmt: skip
    assert curve.at(np.array([0.0, 2.0, 4.9, 5.0])).tolist() == [1, 0.75, 0.75, 0.25]
    assert np.isnan(curve.at(np.array([6.0, 99.0]))).all()
    assert curve.median == 5.0
