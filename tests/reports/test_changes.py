"""After minus before: the difference of two figures, and an interval that knows both saw the same patients."""

import numpy as np
import pytest

from cohortium.reports.changes import CHANGES, changes
from cohortium.reports.observed import Observed
from cohortium.reports.panel import measure_values


def patients(n=120, seed=0):
    rng = np.random.default_rng(seed)
    y = (np.arange(n) % 2).astype(float)
    signal = 1.5 * (y - 0.5)
    before, after = (1 / (1 + np.exp(-(signal * k + rng.normal(size=n)))) for k in (0.4, 1.6))
    site = np.repeat(["a", "b", "c"], n // 3)
    return y, before, after, Observed(outcome="binary", y=y, site=site, patient=np.arange(n))


def test_the_value_is_the_difference_of_the_two_figures():
    _, before, after, seen = patients()
    found = changes(before, after, seen, rng=np.random.default_rng(1), draws=200)
    one, two = measure_values(before, seen), measure_values(after, seen)
    assert set(found) == set(CHANGES)
    for name, measure in found.items():
        assert measure.value == pytest.approx(two[name] - one[name])
        assert measure.low <= measure.value <= measure.high
    assert found["auroc"].low > 0 > found["brier"].high


def test_the_same_model_twice_changes_nothing_for_sure():
    _, before, _, seen = patients()
    for measure in changes(before, before, seen, rng=np.random.default_rng(1), draws=200).values():
        assert (measure.value, measure.low, measure.high) == (0.0, 0.0, 0.0)


def test_few_patients_of_a_class_have_no_interval():
    y, before, after, seen = patients()
    few = np.flatnonzero((y == 0) | (np.cumsum(y) <= 4))
    found = changes(before[few], after[few], seen.take(few), rng=np.random.default_rng(1), draws=50)
    assert all(one.interval is None for one in found.values())
