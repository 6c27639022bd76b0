import numpy as np
import pytest
from scipy.special import expit
from sklearn import metrics
from sklearn.linear_model import LogisticRegression

from cohortium.reports import calibration as c


def simulated(n, *, intercept=0.0, slope=1.0, seed=1):
    """Outcomes drawn from expit(intercept + slope logit p)."""
    rng = np.random.default_rng(seed)
    p = expit(1.5 * rng.normal(size=n))
    y = (rng.random(n) < expit(intercept + slope * c.logit(p))).astype(float)
    return y, p


def test_brier_and_log_loss_equal_scikit_learn():
    y, p = simulated(300)
    assert c.brier(y, p) == pytest.approx(metrics.brier_score_loss(y, p))
    assert c.log_loss(y, p) == pytest.approx(metrics.log_loss(y, p))


def test_losses_of_classes_equal_scikit_learn():
    rng = np.random.default_rng(2)
    p = rng.dirichlet([1, 1, 1], size=50)
    y = rng.integers(0, 3, size=50).astype(float)
    assert c.log_loss(y, p) == pytest.approx(metrics.log_loss(y, p))
    assert c.brier(y, p) == pytest.approx(((p - np.eye(3)[y.astype(int)]) ** 2).sum(axis=1).mean())


def test_slope_equals_unpenalised_logistic_regression():
    y, p = simulated(400, intercept=0.3, slope=0.7)
    reference = LogisticRegression(C=np.inf, tol=1e-10).fit(c.logit(p)[:, None], y)
    fit = c.fit_logistic(y, c.logit(p))
    assert fit.slope == pytest.approx(reference.coef_[0, 0], abs=1e-5)
    assert fit.intercept == pytest.approx(reference.intercept_[0], abs=1e-5)


def test_standard_errors_are_those_of_the_inverse_information():
    y, p = simulated(400)
    x = np.column_stack([np.ones(400), c.logit(p)])
    fit = c.fit_logistic(y, c.logit(p))
    fitted = expit(x @ [fit.intercept, fit.slope])
    errors = np.sqrt(np.diag(np.linalg.inv(x.T @ (x * (fitted * (1 - fitted))[:, None]))))
    assert (fit.intercept_error, fit.slope_error) == pytest.approx(tuple(errors), rel=1e-6)


@pytest.mark.parametrize(("intercept", "slope"), [(0.0, 1.0), (0.8, 1.0), (0.0, 0.5)])
def test_intervals_hold_the_truth_and_reject_another(intercept, slope):
    y, p = simulated(4000, intercept=intercept, slope=slope, seed=3)
    measure = c.calibration_slope(y, p)
    assert measure.low < slope < measure.high
    assert not measure.low < slope + 0.25 < measure.high
    if slope == 1:
        large = c.calibration_intercept(y, p)
        assert large.low < intercept < large.high
        assert not large.low < intercept + 0.4 < large.high


def test_mean_of_predictions_meets_the_outcomes_after_the_intercept():
    y, p = simulated(500, intercept=-1.0)
    shift = c.calibration_intercept(y, p).value
    assert expit(c.logit(p) + shift).sum() == pytest.approx(y.sum())


def test_separated_and_constant_predictions_have_no_slope():
    y = np.repeat([0.0, 1.0], 10)
    assert c.calibration_slope(y, np.repeat([0.1, 0.9], 10)).value is None
    assert c.calibration_slope(y, np.full(20, 0.5)).value is None
    assert c.fit_logistic(np.zeros(0), np.zeros(0)) is None


def test_fewer_than_five_of_a_class_are_not_calibrated():
    y = np.array([1.0] * 4 + [0.0] * 3)
    assert c.calibration_slope(y, np.linspace(0.1, 0.9, 7)).reason.startswith("not available: n = 7")
    few = c.observed_expected(y, np.full(7, 0.5))
    assert (few.value, few.interval) == (pytest.approx(4 / 3.5), None)
    assert c.observed_expected(np.zeros(0), np.zeros(0)).value is None


def test_observed_over_expected_by_hand():
    """100 patients, 20 events, 25 predicted: 0.8 x/÷ exp(1.96 sqrt(.8 / 20))."""
    y = np.repeat([1.0, 0.0], [20, 80])
    measure = c.observed_expected(y, np.full(100, 0.25))
    assert measure.value == pytest.approx(0.8)
    assert measure.high == pytest.approx(0.8 * np.exp(1.959964 * 0.2), rel=1e-6)


def test_bins_are_of_equal_mass_and_never_below_ten():
    y, p = simulated(155)
    bins = c.calibration_bins(y, p)
    assert len(bins) == 10
    assert {b.n for b in bins} <= {15, 16}
    assert sum(b.n * b.observed for b in bins) == pytest.approx(y.sum())
    assert [b.n for b in c.calibration_bins(y[:25], p[:25])] == [12, 13]
    assert c.calibration_bins(y[:9], p[:9]) == ()
    assert np.isnan(c.expected_calibration_error(y[:9], p[:9]))


def test_bins_do_not_depend_on_the_order_of_rows_even_with_ties():
    y, p = simulated(200)
    p = np.round(p, 1)
    order = np.random.default_rng(4).permutation(200)
    first, second = c.calibration_bins(y, p), c.calibration_bins(y[order], p[order])
    assert [b.n for b in first] == [b.n for b in second]
    assert [b.observed for b in first] == pytest.approx([b.observed for b in second])


def test_calibration_error_by_hand():
    """20 patients at 0.2 of whom 6 had it, 20 at 0.8 of whom 16: (0.1 + 0) / 2."""
    p = np.repeat([0.2, 0.8], 20)
    y = np.concatenate([np.repeat([1.0, 0.0], [6, 14]), np.repeat([1.0, 0.0], [16, 4])])
    assert c.expected_calibration_error(y, p) == pytest.approx(0.05)
