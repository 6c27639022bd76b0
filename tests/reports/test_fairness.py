import numpy as np
import pytest
from scipy.special import expit

from cohortium.reports.classification import wilson
from cohortium.reports.fairness import gaps, subgroups, worst
from cohortium.reports.observed import Observed


def made(n=600, seed=1):
    rng = np.random.default_rng(seed)
    x = 1.5 * rng.normal(size=n)
    y = (rng.random(n) < expit(x)).astype(float)
    group = rng.integers(0, 2, size=n)
    p = expit(np.where(group == 1, x, 0.2 * x + 2))  # the model is blunt and too high for group 0
    return p, Observed(outcome="binary", site=np.full(n, "a"), y=y, patient=np.arange(n)), group


def test_a_badly_served_group_is_found_and_named():
    p, observed, group = made()
    found = subgroups(p, observed, {"sex": (("women", "men"), group)})
    assert worst(found, "specificity").level == "women"
    (gap,) = [g for g in gaps(found) if g.measure == "specificity"]
    assert (gap.higher, gap.lower) == ("men", "women")
    assert gap.difference.low > 0.3


def test_equal_groups_have_a_gap_whose_interval_holds_zero():
    p, observed, _ = made()
    at_random = np.random.default_rng(2).integers(0, 2, size=600)
    found = subgroups(p, observed, {"x": (("u", "v"), at_random)})
    assert all(g.difference.low < 0 for g in gaps(found))


def test_gap_interval_is_newcombes():
    """Method 10 for 56/70 against 48/80: 0.20 (0.0524 to 0.3339), Newcombe 1998, table II."""
    y = np.ones(150)
    called = np.concatenate([np.repeat([1, 0], [56, 14]), np.repeat([1, 0], [48, 32])]).astype(float)
    y = np.concatenate([y, np.zeros(40)])
    p = np.concatenate([called, np.tile([0.0, 1.0], 20)])
    codes = np.concatenate([np.repeat([0, 1], [70, 80]), np.repeat([0, 1], 20)])
    observed = Observed(outcome="binary", site=np.full(190, "a"), y=y, patient=np.arange(190))
    (gap,) = [g for g in gaps(subgroups(p, observed, {"g": (("a", "b"), codes)})) if g.measure == "sensitivity"]
    assert wilson(56, 70) == pytest.approx((0.6919, 0.8770), abs=2e-3)
    assert gap.difference.text(4) == "0.2000 (0.0524 to 0.3339)"


def test_groups_below_ten_of_a_class_are_not_judged():
    p, observed, _ = made(40)
    codes = (np.arange(40) < 12).astype(int)
    found = subgroups(p, observed, {"x": (("many", "few"), codes)}, threshold=np.full(40, 0.5))
    few = found[1]
    assert few.n == 12
    assert few.measures["auroc"].reason == "not available: n = 12, fewer than 10 of a class"
    assert gaps(found) == ()


def test_gain_over_own_models_is_paired():
    p, observed, group = made()
    better = np.where(observed.y == 1, 0.9, 0.1)
    found = subgroups(better, observed, {"sex": (("women", "men"), group)}, own=p)
    assert all(g.gain.low > 0 for g in found)
    assert subgroups(p, observed, {"sex": (("women", "men"), group)})[0].gain.value is None
    few = observed.take(np.arange(600) < 12)
    assert "fewer than 10" in subgroups(p[:12], few, {"s": (("w",), np.zeros(12, int))}, own=p[:12])[0].gain.reason


def test_only_binary_outcomes_and_unknown_codes_are_left_out():
    p, observed, _ = made(40)
    assert subgroups(p, observed, {"x": (("u",), np.full(40, -1))})[0].n == 0
    assert worst(subgroups(p, observed, {"x": (("u",), np.full(40, -1))})) is None
    number = Observed(outcome="number", site=observed.site, y=observed.y, patient=observed.patient)
    with pytest.raises(ValueError, match="binary outcome, got 'number'"):
        subgroups(p, number, {})


def test_error_rates_are_those_of_the_repaired_risks_and_their_threshold():
    y = np.array([0.0, 1.0] * 30)
    observed = Observed(outcome="binary", site=np.full(60, "a"), y=y, patient=np.arange(60))
    p = np.where(y > 0.5, 0.4, 0.1) + np.linspace(0, 0.05, 60)
    codes = np.zeros(60, dtype=np.int8)
    (raw,) = subgroups(p, observed, {"x": (("all",), codes)}, threshold=0.6)
    (found,) = subgroups(p, observed, {"x": (("all",), codes)}, repaired=p + 0.4, threshold=0.6)
    assert (raw.measures["sensitivity"].value, found.measures["sensitivity"].value) == (0.0, 1.0)
    assert found.measures["auroc"].value == raw.measures["auroc"].value
