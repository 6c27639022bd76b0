import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from sklearn.metrics import average_precision_score, roc_auc_score

from cohortium.reports import discrimination as d

ROWS = st.lists(st.tuples(st.integers(0, 1), st.integers(0, 6)), min_size=2, max_size=40)


def alone(n):
    return np.arange(n)


@given(ROWS)
def test_auroc_and_average_precision_equal_scikit_learn_with_ties(rows):
    y, score = np.array([r[0] for r in rows], float), np.array([r[1] for r in rows], float)
    if 0 < y.sum() < len(y):
        assert d.auroc(y, score) == pytest.approx(roc_auc_score(y, score), abs=1e-12)
    if y.sum():
        assert d.auprc(y, score) == pytest.approx(average_precision_score(y, score), abs=1e-12)


def test_one_class_has_no_auroc_and_no_positive_no_precision():
    assert np.isnan(d.auroc(np.ones(3), np.arange(3.0)))
    assert np.isnan(d.auprc(np.zeros(3), np.arange(3.0)))
    assert d.auroc_measure(np.ones(7), np.arange(7.0), alone(7)).reason == "not available: n = 7, one class"


def by_definition(y, a, b):
    """DeLong's covariance straight from the paper: kernels of all pairs, no ranks."""

    def kernels(score):
        psi = np.sign(score[y == 1][:, None] - score[y == 0][None, :]) / 2 + 0.5
        return psi.mean(axis=1), psi.mean(axis=0)

    (a10, a01), (b10, b01) = kernels(a), kernels(b)
    return np.cov(a10, b10) / len(a10) + np.cov(a01, b01) / len(a01)


def test_delong_equals_its_definition_by_all_pairs():
    rng = np.random.default_rng(1)
    y = (rng.random(60) < 0.4).astype(float)
    a, b = np.round(rng.normal(y), 1), np.round(rng.normal(0.5 * y), 1)
    cov = by_definition(y, a, b)
    measure = d.auroc_measure(y, a, alone(60))
    assert measure.high - measure.low == pytest.approx(2 * d.Z95 * np.sqrt(cov[0, 0]), abs=1e-12)
    tested = d.auroc_difference(y, a, b, alone(60))
    assert tested.standard_error == pytest.approx(np.sqrt(cov[0, 0] + cov[1, 1] - 2 * cov[0, 1]), abs=1e-12)


def test_delong_golden_numbers_by_hand():
    """Positives 0.9 0.8 0.4, negatives 0.5 0.3 0.2 0.1: AUROC 11/12, V10 = 1 1 .75, V01 = 2/3 1 1 1.

    var = (1/48)/3 + (1/36)/4 = 1/72 (sample variances of V10 and V01 over their numbers).
    """
    y, score = np.array([1, 1, 1, 0, 0, 0, 0.0]), np.array([0.9, 0.8, 0.4, 0.5, 0.3, 0.2, 0.1])
    values, cov, smaller = d._components([score], y, alone(7))
    assert values[0] == pytest.approx(11 / 12)
    assert cov[0, 0] == pytest.approx(1 / 144 + 1 / 144)
    assert smaller == 3


def test_doubling_every_row_of_a_patient_does_not_narrow_the_interval():
    rng = np.random.default_rng(2)
    y = (rng.random(80) < 0.5).astype(float)
    score = rng.normal(y)
    once = d.auroc_measure(y, score, alone(80))
    twice = d.auroc_measure(np.repeat(y, 2), np.repeat(score, 2), np.repeat(alone(80), 2))
    cheated = d.auroc_measure(np.repeat(y, 2), np.repeat(score, 2), alone(160))
    assert twice.high - twice.low == pytest.approx(once.high - once.low, rel=1e-9)
    assert cheated.high - cheated.low < 0.75 * (once.high - once.low)


def test_paired_difference_of_a_score_with_itself_is_nothing():
    y = np.array([0.0, 1.0] * 10)
    same = d.auroc_difference(y, np.arange(20.0), np.arange(20.0), alone(20))
    assert (same.difference, same.p) == (0.0, 1.0)


def test_fewer_than_five_of_a_class_give_a_value_and_no_interval():
    y = np.array([1, 1, 1, 1, 0, 0, 0.0])
    measure = d.auroc_measure(y, np.arange(7.0), alone(7))
    assert measure.value == 0.0
    assert measure.interval is None
    assert measure.reason.startswith("not available: n = 7")
    assert d.auroc_difference(y, np.arange(7.0), np.ones(7), alone(7)) is None


def test_a_perfect_order_claims_no_interval():
    y = np.repeat([0.0, 1.0], 6)
    measure = d.auroc_measure(y, np.arange(12.0), alone(12))
    assert measure.value == 1.0
    assert measure.interval is None


def test_within_site_auroc_does_not_profit_from_different_outcome_shares():
    rng = np.random.default_rng(3)
    site = np.repeat(["a", "b"], 500)
    y = np.concatenate([rng.random(500) < 0.1, rng.random(500) < 0.9]).astype(float)
    score = (site == "b") + 0.001 * rng.normal(size=1000)
    assert d.auroc(y, score) > 0.85
    within = d.auroc_within(y, score, site, alone(1000))
    assert within.low < 0.5 < within.high


def test_within_site_auroc_is_the_mean_weighted_by_pairs():
    y = np.array([1, 0, 0, 1, 0.0])
    score = np.array([1, 2, 3, 2, 1.0])
    site = np.array(["a", "a", "a", "b", "b"])
    assert d.auroc_within(y, score, site, alone(5)).value == pytest.approx((2 * 0.0 + 1 * 1.0) / 3)
    assert d.auroc_within(np.ones(5), score, site, alone(5)).value is None


def test_draws_with_whole_weights_equal_repeated_rows():
    rng = np.random.default_rng(4)
    y, score = (rng.random(30) < 0.5).astype(float), np.round(rng.random(30), 1)
    weights = rng.integers(0, 3, size=(4, 30))
    for w, area, precision in zip(
        weights, d.auroc_draws(y, score, 1.0 * weights), d.auprc_draws(y, score, 1.0 * weights), strict=True
    ):
        assert area == pytest.approx(d.auroc(np.repeat(y, w), np.repeat(score, w)))
        assert precision == pytest.approx(d.auprc(np.repeat(y, w), np.repeat(score, w)))


def covered(runs, n=100, seed=5):
    """Share of DeLong intervals that hold the true AUROC Phi(1.2 / sqrt 2)."""
    rng, truth, hits = np.random.default_rng(seed), float(d.ndtr(1.2 / np.sqrt(2))), 0
    y = np.repeat([0.0, 1.0], n // 2)
    for _ in range(runs):
        measure = d.auroc_measure(y, rng.normal(1.2 * y), alone(n))
        hits += measure.low <= truth <= measure.high
    return hits / runs


def test_delong_intervals_cover():
    assert 0.91 <= covered(300) <= 0.98


@pytest.mark.slow
def test_delong_intervals_cover_95_percent_in_2000_simulations():
    assert 0.93 <= covered(2000) <= 0.97
