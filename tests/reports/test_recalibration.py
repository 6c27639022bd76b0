import numpy as np
import pytest
from scipy.special import expit
from sklearn.isotonic import IsotonicRegression
from sklearn.metrics import roc_curve

from cohortium.reports.calibration import brier, calibration_intercept, fit_logistic, logit
from cohortium.reports.observed import Observed
from cohortium.reports.recalibration import (
    CalibrationPart,
    Recalibration,
    choose_threshold,
    prevalence_shift,
    recalibrate,
)


def drawn(n, *, shift=0.0, slope=1.0, seed=1):
    rng = np.random.default_rng(seed)
    p = expit(1.3 * rng.normal(size=n))
    return (rng.random(n) < expit(shift + slope * logit(p))).astype(float), p


def part(n, **how):
    y, p = drawn(n, **how)
    return CalibrationPart(y=y, p=p)


def test_a_site_of_another_prevalence_is_repaired_on_patients_never_seen():
    fixed = recalibrate(part(90, shift=2.0))
    assert fixed.kind == "intercept"
    y, p = drawn(3000, shift=2.0, seed=2)
    assert brier(y, fixed.apply(p)) < brier(y, p) - 0.05
    assert abs(calibration_intercept(y, fixed.apply(p)).value) < 0.5


def test_intercept_slope_and_isotonic_by_size():
    assert recalibrate(part(90)).kind == "intercept"
    assert recalibrate(part(400)).kind == "slope"
    small = recalibrate(part(400), kind="isotonic")
    assert (small.kind, small.reason) == ("slope", "isotonic needs 1000 records, found 400")
    few = recalibrate(part(30, shift=-3.0, seed=3))
    assert few.kind == "prevalence"
    assert few.intercept < -1
    known = recalibrate(part(30, shift=-3.0, seed=3), prevalence=0.8, expected=0.5)
    assert known.intercept == pytest.approx(np.log(4))
    assert "fewer than 10" in few.reason


def test_slope_is_drawn_to_one_but_follows_many_records():
    few, many = part(60, slope=0.4, seed=4), part(6000, slope=0.4, seed=4)
    drawn_few, drawn_many = (recalibrate(x, kind="slope").slope for x in (few, many))
    assert drawn_many == pytest.approx(0.4, abs=0.06)
    assert fit_logistic(few.y, logit(few.p)).slope + 0.05 < drawn_few < 1


def test_isotonic_equals_scikit_learn():
    data = part(1500, slope=0.5)
    found = recalibrate(data, kind="isotonic")
    reference = IsotonicRegression(out_of_bounds="clip").fit(data.p, data.y)
    grid = np.linspace(0.02, 0.98, 97)
    assert found.apply(grid) == pytest.approx(reference.predict(grid), abs=1e-9)


def test_separated_predictions_leave_the_prevalence_shift_only():
    y = np.repeat([0.0, 1.0], 60)
    found = recalibrate(CalibrationPart(y=y, p=np.full(120, 0.5)), kind="slope")
    assert found.kind in ("prevalence", "slope")
    assert np.isfinite(found.apply(np.array([0.2]))).all()


def test_nothing_to_learn_from_changes_nothing():
    empty = recalibrate(CalibrationPart(y=np.array([np.nan]), p=np.array([0.3])))
    assert (empty.kind, empty.reason) == ("none", "no calibration record")
    p = np.array([0.1, 0.7])
    assert (empty.apply(p) == p).all()
    assert recalibrate(part(50), kind="none").kind == "none"


def test_a_model_that_knows_the_sites_prevalence_is_not_shifted_twice():
    """All of the 20 have a risk near 0.9, and 18 had the outcome: nothing to mend, whatever the swarm's share is."""
    found = recalibrate(CalibrationPart(y=np.repeat([1.0, 0.0], [18, 2]), p=np.full(20, 0.9)))
    assert found.kind == "prevalence"
    assert abs(found.intercept) < 0.25


def test_prevalence_shift_by_hand():
    assert prevalence_shift(0.8, 0.5) == pytest.approx(np.log(4))
    assert Recalibration(kind="prevalence", intercept=np.log(4)).apply(np.array([0.5]))[0] == pytest.approx(0.8)
    with pytest.raises(ValueError, match="prevalence must lie in"):
        prevalence_shift(0.0, 0.5)


def test_test_rows_cannot_reach_a_recalibration():
    observed = Observed(outcome="binary", site=np.array(["a"]), y=np.ones(1), patient=np.zeros(1, np.int64))
    with pytest.raises(TypeError, match="CalibrationPart only, got Observed"):
        recalibrate(observed)  # type: ignore[arg-type]
    with pytest.raises(TypeError, match="CalibrationPart only"):
        choose_threshold(observed, "youden")  # type: ignore[arg-type]


def test_unequal_lengths_are_refused():
    with pytest.raises(ValueError, match="1 outcomes, 2 predictions"):
        CalibrationPart(y=np.ones(1), p=np.ones(2))


def test_sensitivity_target_is_met_with_the_fewest_false_alarms():
    data = part(300)
    cut = choose_threshold(data, "sensitivity >= 0.90").value
    sensitivity = (data.p[data.y == 1] >= cut).mean()
    assert sensitivity >= 0.90
    higher = data.p[data.p >= cut].min() + 1e-9
    assert (data.p[data.y == 1] >= higher).mean() < 0.90


def test_youden_equals_scikit_learns_roc_curve():
    data = part(300, seed=5)
    false, true, _ = roc_curve(data.y, data.p, drop_intermediate=False)
    cut = choose_threshold(data, "youden").value
    gain = (data.p[data.y == 1] >= cut).mean() - (data.p[data.y == 0] >= cut).mean()
    assert gain == pytest.approx((true - false).max())


def test_net_benefit_rule_comes_near_its_odds_for_calibrated_risks():
    assert choose_threshold(part(20_000), "net benefit 0.20").value == pytest.approx(0.2, abs=0.08)


def test_a_fixed_number_stays_and_few_records_fall_back():
    assert choose_threshold(part(50), "0.3").value == 0.3
    few = choose_threshold(CalibrationPart(y=np.array([1.0, 0.0]), p=np.array([0.2, 0.1])), "youden")
    assert (few.value, few.reason) == (0.5, "fewer than 10 of a class: 0.5 taken")


@pytest.mark.parametrize("rule", ["", "best", "youden 0.5", "sensitivity >= 1.5", "sensitivity >=", "net benefit 0.0"])
def test_unknown_rules_are_refused_with_what_is_expected(rule):
    with pytest.raises(ValueError, match="threshold"):
        choose_threshold(part(50), rule)
