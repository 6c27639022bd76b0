import numpy as np
from scipy.special import expit

from cohortium.reports.observed import Observed
from cohortium.reports.recalibration import CalibrationPart
from cohortium.reports.site_calibration import SHOWN, calibrate_site


def drawn(n, shift, seed):
    rng = np.random.default_rng(seed)
    x = 1.5 * rng.normal(size=n)
    return (rng.random(n) < expit(x + shift)).astype(float), expit(x)


def repaired(shift, rule="sensitivity >= 0.90"):
    y, p = drawn(200, shift, 5)
    truth, raw = drawn(800, shift, 2)
    observed = Observed(outcome="binary", site=np.full(800, "a"), y=truth, patient=np.arange(800))
    return calibrate_site(CalibrationPart(y=y, p=p), raw, observed, rng=np.random.default_rng(3), rule=rule, draws=100)


def test_a_site_of_another_prevalence_is_better_after_its_repair():
    found = repaired(2.0)
    assert found.after["brier"].value < found.before["brier"].value - 0.03
    assert abs(found.after["calibration_intercept"].value) < 0.5 < found.before["calibration_intercept"].value
    assert found.after["ece"].value < found.before["ece"].value
    assert set(found.after) == set(found.before) == set(SHOWN)


def test_the_threshold_meets_its_target_on_patients_it_has_not_seen():
    found = repaired(0.0)
    assert found.after["sensitivity"].low < 0.90 < found.after["sensitivity"].high


def test_a_site_that_needs_no_repair_keeps_its_figures():
    found = repaired(0.0, rule="0.5")
    assert abs(found.after["brier"].value - found.before["brier"].value) < 0.01
    assert len(found.bins_before) == len(found.bins_after) == 10
