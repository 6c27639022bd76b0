import numpy as np
import pytest

from cohortium.core.examples import Examples, Layout
from cohortium.reports.observed import Observed

LAYOUT = Layout(features=("a",), outcome="binary", classes=("0", "1"))


def part(y, patient=None):
    patient = np.arange(len(y)) if patient is None else np.array(patient)
    return Examples(layout=LAYOUT, x=np.zeros((len(y), 1)), y=np.array(y, float), patient=patient.astype(np.int64))


def test_sites_are_sorted_and_predictions_follow():
    observed = Observed.of({"porto": part([1, 0]), "bonn": part([0])})
    assert list(observed.site) == ["bonn", "porto", "porto"]
    assert list(observed.stack({"porto": [0.8, 0.1], "bonn": [0.3]})) == [0.3, 0.8, 0.1]


def test_patient_numbers_of_two_sites_are_different_patients():
    observed = Observed.of({"a": part([1, 0], [0, 0]), "b": part([1], [0])})
    assert list(observed.patient) == [0, 0, 1]


def test_unknown_outcomes_are_known_to_be_unknown():
    assert list(Observed.of({"a": part([1, np.nan, 0])}).known()) == [True, False, True]


def test_competing_events_end_the_observation_without_counting():
    layout = Layout(features=("a",), outcome="survival", resolution=1.0, horizon=10.0)
    rows = Examples(
        layout=layout, x=np.zeros((3, 1)), time=np.array([1.0, 2.0, 3.0]), event=np.array([0, 1, 2], np.int8)
    )
    assert list(Observed.of({"a": rows}).event) == [False, True, False]


def test_wrong_number_of_predictions_is_refused():
    with pytest.raises(ValueError, match="predictions have 1 rows, outcomes have 2"):
        Observed.of({"a": part([1, 0])}).stack({"a": [0.5]})


def test_no_site_and_missing_columns_are_refused():
    with pytest.raises(ValueError, match="at least one"):
        Observed.of({})
    rows = Examples(layout=LAYOUT, x=np.zeros((1, 1)))
    with pytest.raises(ValueError, match=r"'bonn'.*'y'"):
        Observed.of({"bonn": rows})


def test_one_site_and_a_mask_keep_every_column():
    observed = Observed.of({"a": part([1, 0]), "b": part([1])})
    assert observed.sites == ("a", "b")
    assert list(observed.at("b").y) == [1.0]
    assert len(observed.take(np.array([True, False, False]))) == 1


def test_another_cause_counts_when_asked_for():
    layout = Layout(features=("a",), outcome="survival", resolution=1.0)
    rows = Examples(layout=layout, x=np.zeros((3, 1)), time=np.ones(3), event=np.array([0, 1, 2], dtype=np.int8))
    assert list(Observed.of({"a": rows}, cause=2).event) == [False, False, True]
