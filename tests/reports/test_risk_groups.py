import numpy as np
import pytest

from cohortium.reports.observed import Observed
from cohortium.reports.risk_groups import MIN_AT_RISK, MIN_EVENTS, survival_by_risk


def patients(n, seed=1):
    rng = np.random.default_rng(seed)
    risk = rng.normal(size=n)
    time = rng.exponential(np.exp(-1.5 * risk))
    return risk, Observed(
        outcome="survival", site=np.full(n, "a"), time=time, event=rng.random(n) < 0.8, patient=np.arange(n)
    )


def test_higher_risk_dies_sooner():
    low, middle, high = survival_by_risk(*patients(300))
    assert [c.name for c in (low, middle, high)] == ["low risk", "middle risk", "high risk"]
    at = [np.interp(0.5, c.time, c.survival) for c in (low, middle, high)]
    assert at[0] > at[1] > at[2]


def test_no_single_death_and_no_small_group_can_be_read_off():
    risk, observed = patients(300)
    for curve, rows in zip(survival_by_risk(risk, observed), np.array_split(np.argsort(risk), 3), strict=True):
        time, event = observed.time[rows], observed.event[rows]
        edges = np.array([0.0, *curve.time])
        deaths = np.histogram(time[event], bins=np.nextafter(edges, np.inf))[0]
        assert (deaths >= MIN_EVENTS).all()
        assert min(curve.at_risk) >= MIN_AT_RISK


def test_small_groups_have_no_curve():
    assert survival_by_risk(*patients(50)) == ()
    assert [c.name for c in survival_by_risk(*patients(60), groups=2)] == ["lower risk", "higher risk"]
    assert len(survival_by_risk(*patients(200), groups=4)) == 4
    risk, observed = patients(60)
    nobody = Observed(
        outcome="survival", site=observed.site, time=observed.time, event=np.zeros(60, bool), patient=observed.patient
    )
    assert survival_by_risk(risk, nobody) == ()


def test_other_outcomes_have_no_survival_curve():
    observed = Observed(outcome="binary", site=np.array(["a"]), y=np.ones(1), patient=np.zeros(1, np.int64))
    with pytest.raises(ValueError, match="survival outcome, got 'binary'"):
        survival_by_risk(np.zeros(1), observed)
