import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from lifelines import KaplanMeierFitter
from lifelines.utils import concordance_index

from cohortium.reports import survival_measures as s
from cohortium.reports.discrimination import auroc

ROWS = st.lists(st.tuples(st.integers(0, 9), st.booleans(), st.integers(0, 5)), min_size=2, max_size=40)


def simulated(n, *, beta=1.0, censored=0.7, seed=1):
    rng = np.random.default_rng(seed)
    risk = rng.normal(size=n)
    died = rng.exponential(np.exp(-beta * risk))
    left = rng.exponential(1 / censored, size=n)
    return np.minimum(died, left), died <= left, risk


@given(ROWS)
def test_c_index_equals_lifelines_with_all_kinds_of_ties(rows):
    time, event, risk = (np.array(column) for column in zip(*rows, strict=True))
    time, event, risk = time.astype(float), event.astype(bool), risk.astype(float)
    if s.comparable_pairs(time, event):
        assert s.c_index(time, event, risk) == pytest.approx(concordance_index(time, -risk, event), abs=1e-12)
    else:
        assert np.isnan(s.c_index(time, event, risk))


def test_c_index_of_a_hundred_thousand_patients_equals_lifelines():
    time, event, risk = simulated(100_000)
    time = np.ceil(time * 50) / 50
    assert s.c_index(time, event, risk) == pytest.approx(concordance_index(time, -risk, event), abs=1e-12)


def test_draws_equal_repeated_patients_and_within_sites():
    time, event, risk = simulated(40, seed=2)
    time, risk = np.round(time, 1), np.round(risk, 1)
    site = np.repeat(["a", "b"], 20)
    weights = np.random.default_rng(3).integers(0, 3, size=(3, 40))
    (all_pairs,) = s.c_draws(time, event, [risk], 1.0 * weights)
    (inside,) = s.c_draws(time, event, [risk], 1.0 * weights, site=site)
    for i, w in enumerate(weights):
        again = [np.repeat(column, w) for column in (time, event, risk)]
        assert all_pairs[i] == pytest.approx(s.c_index(*again))
        people = np.arange(len(again[0]))
        assert inside[i] == pytest.approx(s.c_index_within(*again, people, np.repeat(site, w)).value)


def test_within_site_c_is_weighted_by_comparable_pairs():
    time, event, risk = simulated(90, seed=4)
    site = np.repeat(["a", "b"], [30, 60])
    parts = [
        (s.c_index(*args), s.comparable_pairs(*args[:2]))
        for args in ((time[site == n], event[site == n], risk[site == n]) for n in "ab")
    ]
    expected = sum(c * k for c, k in parts) / sum(k for _, k in parts)
    assert s.c_index_within(time, event, risk, np.arange(90), site).value == pytest.approx(expected)


def test_linearised_interval_agrees_with_the_bootstrap():
    time, event, risk = simulated(300, seed=5)
    site, people = np.full(300, "a"), np.arange(300)
    rng = np.random.default_rng(6)
    weights = 1.0 * rng.multinomial(300, np.full(300, 1 / 300), size=1000)
    (drawn,) = s.c_draws(time, event, [risk], weights)
    measure = s.c_index_measure(time, event, risk, people, site)
    assert measure.value == pytest.approx(s.c_index(time, event, risk))
    assert (measure.high - measure.low) / 3.92 == pytest.approx(drawn.std(), rel=0.08)


def test_repeated_rows_of_a_patient_do_not_narrow_the_interval():
    time, event, risk = simulated(120, seed=7)
    once = s.c_index_measure(time, event, risk, np.arange(120), np.full(120, "a"))
    twice = s.c_index_measure(
        *(np.repeat(v, 2) for v in (time, event, risk)), np.repeat(np.arange(120), 2), np.full(240, "a")
    )
    assert twice.high - twice.low == pytest.approx(once.high - once.low, rel=0.02)


def test_few_events_and_no_pair_have_reasons():
    time, risk = np.arange(7.0), np.arange(7.0)
    few = s.c_index_measure(time, time < 3, risk, np.arange(7), np.full(7, "a"))
    assert few.value == 0.0
    assert few.interval is None
    none = s.c_index_within(time, np.zeros(7, bool), risk, np.arange(7), np.full(7, "a"))
    assert none.reason == "not available: n = 7, no comparable pair"
    perfect = s.c_index_measure(time, np.ones(7, bool), -risk, np.arange(7), np.full(7, "a"))
    assert (perfect.value, perfect.interval) == (1.0, None)


@pytest.mark.filterwarnings("ignore")
def test_kaplan_meier_equals_lifelines_with_its_bands():
    time, event, _ = simulated(80, seed=8)
    time = np.ceil(time * 5) / 5
    curve, reference = s.kaplan_meier(time, event), KaplanMeierFitter().fit(time, event)
    assert curve.survival == pytest.approx(reference.survival_function_at_times(curve.time).to_numpy())
    bands = reference.confidence_interval_survival_function_.loc[curve.time].to_numpy()
    inside = (curve.survival > 0) & (curve.survival < 1)
    assert np.column_stack([curve.low, curve.high])[inside] == pytest.approx(bands[inside], abs=1e-9)


def test_kaplan_meier_by_hand():
    """Deaths at 1 and 3 of four, one censored at 2: 3/4, then 3/4 x 1/2."""
    curve = s.kaplan_meier(np.array([1.0, 2.0, 3.0, 4.0]), np.array([True, False, True, False]))
    assert list(curve.survival) == pytest.approx([0.75, 0.375])
    assert list(curve.at_risk) == [4, 2]
    assert list(curve.at(np.array([0.5, 1.0, 3.0]))) == pytest.approx([1.0, 0.75, 0.375])
    assert list(curve.before(np.array([1.0, 3.0]))) == pytest.approx([1.0, 0.75])


def test_auroc_at_a_time_without_censoring_is_the_plain_auroc():
    time, _, risk = simulated(200, seed=9)
    assert s.auroc_at(time, np.ones(200, bool), risk, at=0.8) == pytest.approx(auroc((time <= 0.8).astype(float), risk))
    assert np.isnan(s.auroc_at(time, np.zeros(200, bool), risk, at=0.8))


def test_censoring_weights_undo_the_censoring():
    time, event, risk = simulated(20_000, censored=1.2, seed=10)
    rng = np.random.default_rng(10)
    risk_ = rng.normal(size=20_000)
    uncensored = rng.exponential(np.exp(-risk_))
    truth = auroc((uncensored <= 0.5).astype(float), risk_)
    assert s.auroc_at(time, event, risk, at=0.5) == pytest.approx(truth, abs=0.02)


def test_integrated_brier_by_hand_without_censoring():
    """Two patients, times 1 and 3; predicted survival 0.5 at 2 and 4: scores 0.25 and 0.25."""
    time, event = np.array([1.0, 3.0]), np.array([True, True])
    survival = np.full((2, 2), 0.5)
    assert s.brier_at(time, event, survival[:, 0], at=2.0) == pytest.approx(0.25)
    assert s.integrated_brier(time, event, survival, times=np.array([2.0, 4.0])) == pytest.approx(0.25)
    with pytest.raises(ValueError, match="times must rise"):
        s.integrated_brier(time, event, survival, times=np.array([4.0, 2.0]))


def test_brier_under_censoring_estimates_the_uncensored_one():
    time, event, risk = simulated(20_000, censored=1.2, seed=11)
    right, flat = np.exp(-0.5 * np.exp(risk)), np.full(20_000, 0.5)
    truth = float((right * (1 - right)).mean())
    assert s.brier_at(time, event, right, at=0.5) == pytest.approx(truth, abs=0.006)
    assert s.brier_at(time, event, flat, at=0.5) > truth + 0.03


def test_observed_over_expected_at_a_time():
    time, event, risk = simulated(20_000, seed=12)
    right = np.exp(-0.5 * np.exp(risk))
    assert s.observed_expected_at(time, event, right, at=0.5) == pytest.approx(1.0, abs=0.02)
    assert s.observed_expected_at(time, event, np.sqrt(right), at=0.5) > 1.3


def covered(runs, n=150, seed=13):
    """Share of linearised intervals that hold the C-index of the population."""
    big = simulated(200_000, seed=99)
    truth, hits = s.c_index(*big), 0
    for i in range(runs):
        m = s.c_index_measure(*simulated(n, seed=seed + i), np.arange(n), np.full(n, "a"))
        hits += m.low <= truth <= m.high
    return hits / runs


def test_c_index_intervals_cover():
    assert 0.91 <= covered(300) <= 0.98


@pytest.mark.slow
def test_c_index_intervals_cover_95_percent_in_2000_simulations():
    assert 0.93 <= covered(2000) <= 0.97
