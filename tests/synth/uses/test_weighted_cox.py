"""Weighted Cox regression and curves: lifelines on data without ties, repeated patients for whole weights."""

import numpy as np
import pandas as pd
import pytest
from lifelines import CoxPHFitter

from cohortium.errors import DataError
from cohortium.models.survival_estimators import Cox
from cohortium.synth.uses.weighted_cox import weighted_cox, weighted_survival
from cohortium.synth.validation.curves import kaplan_meier


def _patients(n, seed=0):
    rng = np.random.default_rng(seed)
    x = np.column_stack([rng.normal(size=n), rng.random(n) < 0.3]).astype(float)
    time = rng.exponential(size=n) / np.exp(x @ [0.5, -0.4])
    limit = rng.uniform(0.2, 3.0, n)
    return x, np.minimum(time, limit), (time <= limit).astype(float)


def test_it_agrees_with_lifelines_where_no_two_die_together():
    x, time, event = _patients(300)
    oracle = CoxPHFitter().fit(pd.DataFrame({"a": x[:, 0], "b": x[:, 1], "t": time, "e": event}), "t", "e")
    found = weighted_cox(x, time, event)
    assert found.coefficients == pytest.approx(oracle.params_.to_numpy(), abs=5e-6)
    assert found.errors == pytest.approx(oracle.standard_errors_.to_numpy(), rel=1e-4)


def test_a_weight_of_two_is_the_patient_twice():
    x, time, event = _patients(80)
    weights = np.where(np.arange(80) % 3 == 0, 2.0, 1.0)
    twice = np.repeat(np.arange(80), weights.astype(int))
    found = weighted_cox(x, time, event, weights=weights)
    assert found.coefficients == pytest.approx(weighted_cox(x[twice], time[twice], event[twice]).coefficients, abs=1e-8)
    at = np.linspace(0, 2, 9)
    survival = weighted_survival(time, event, weights, at=at)
    assert survival == pytest.approx(kaplan_meier(time[twice], event[twice]).at(at))


def test_no_event_and_separated_patients_are_told():
    x, time, event = _patients(30)
    with pytest.raises(DataError, match="no event"):
        weighted_cox(x, time, np.zeros(30))
    with pytest.raises(DataError, match="does not settle"):
        weighted_cox(1e-9 * time[:, None], time, event)


def test_a_ridge_shrinks_as_that_of_the_exact_model():
    x, time, event = _patients(200)
    oracle = Cox(l2=0.1, ties="breslow").fit(x, np.column_stack([time, event]))
    spread = x.std(axis=0)  # on columns of spread 1
    found = weighted_cox(x / spread, time, event, l2=0.1).coefficients / spread
    assert found == pytest.approx(oracle.coef_, abs=5e-3)
    assert abs(oracle.coef_[0]) < 0.9 * abs(weighted_cox(x, time, event).coefficients[0])
