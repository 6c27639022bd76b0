import numpy as np
import pandas as pd
import pytest
from lifelines import CoxPHFitter, KaplanMeierFitter
from lifelines.statistics import logrank_test
from lifelines.utils import concordance_index

from cohortium.errors import UsageError
from cohortium.models.estimators import Cox, KaplanMeier


@pytest.fixture(scope="module")
def rows(kit):
    examples = kit.followed(300, groups=2)
    x = examples.x * [100.0, 1.0, 0.01, 5.0] + [7.0, 0.0, 0.0, -3.0]
    return x, examples.time, (examples.event == 1).astype(int), examples.subgroups["g"]


def test_cox_agrees_with_lifelines_in_the_units_of_the_columns(rows):
    x, time, event, _ = rows
    model = Cox().fit(x, (time, event))
    frame = pd.DataFrame(x / x.std(0)).assign(t=time, e=event)
    frame.columns = frame.columns.astype(str)
    oracle = CoxPHFitter().fit(frame, "t", "e", fit_options={"precision": 1e-10})
    assert np.allclose(model.coef_ * x.std(0), oracle.params_, atol=2e-5)
    assert np.allclose(model.standard_errors_ * x.std(0), oracle.standard_errors_, rtol=2e-3)
    assert model.score(x, np.column_stack([time, event])) == pytest.approx(
        concordance_index(time, -model.predict(x), event), abs=1e-12
    )
    times, hazard = model.baseline_
    assert (np.diff(hazard) > 0).all()
    assert times.tolist() == sorted(set(time[event == 1]))
    survival = model.predict_survival(x, [5, 20])
    assert survival.shape == (300, 2)
    mean = model.predict_survival(x.mean(0, keepdims=True), times)
    assert np.allclose(mean[0], np.exp(-hazard), atol=1e-4)
    naive = oracle.predict_survival_function(frame, times=[5, 20]).to_numpy().T
    assert np.abs(survival - naive).max() < 0.02  # lifelines keeps Breslow's baseline beside Efron's coefficients


def test_cox_over_sites_gives_the_bits_of_the_whole_table(rows):
    x, time, event, site = rows
    sites = {f"s{k}": (x[site == k], (time[site == k], event[site == k])) for k in (0, 1)}
    whole, parts = Cox().fit(x, (time, event)), Cox().fit(sites=sites)
    assert np.array_equal(whole.coef_, parts.coef_)
    assert whole.rounds_ == parts.rounds_
    stratified = Cox(strata="site").fit(sites=sites)
    assert not np.array_equal(stratified.coef_, whole.coef_)
    with pytest.raises(UsageError, match="keeps every baseline at its site"):
        _ = stratified.baseline_


def test_times_that_are_not_whole_are_cut_finely(rows):
    x, time, event, _ = rows
    jitter = np.random.default_rng(0).uniform(0, 0.9, len(time))
    model = Cox().fit(x, (time + jitter, event))
    frame = pd.DataFrame(x / x.std(0)).assign(t=time + jitter, e=event)
    frame.columns = frame.columns.astype(str)
    assert np.allclose(model.coef_ * x.std(0), CoxPHFitter().fit(frame, "t", "e").params_, atol=2e-3)


def test_kaplan_meier_by_group_agrees_with_lifelines(rows):
    _, time, event, group = rows
    labels = np.where(group == 1, "treated", "control")
    sites = {f"s{k}": (labels[k::3], (time[k::3], event[k::3])) for k in range(3)}
    model = KaplanMeier(tau=20.0).fit(sites=sites)
    assert model.groups_.tolist() == ["control", "treated"]
    for label in ("control", "treated"):
        oracle = KaplanMeierFitter().fit(time[labels == label], event[labels == label])
        expected = oracle.survival_function_at_times([1, 10, 25]).to_numpy()
        assert model.predict_survival([label], [1, 10, 25])[0] == pytest.approx(expected, abs=1e-12)
    first = labels == "control"
    test = logrank_test(time[first], time[~first], event[first], event[~first])
    assert model.log_rank_.p_value == pytest.approx(test.p_value, abs=1e-9)
    assert model.tau_ == 20.0
    assert set(model.restricted_means_) == {"control", "treated"}
    assert model.rounds_ == 1


def test_kaplan_meier_of_everybody_and_groups_too_small_to_show(rows):
    _, time, event, _ = rows
    model = KaplanMeier().fit(None, (time, event))
    oracle = KaplanMeierFitter().fit(time, event)
    assert model.predict_survival(None, [10])[0, 0] == pytest.approx(float(oracle.predict(10)), abs=1e-12)
    labels = np.where(np.arange(300) < 5, "rare", "usual")
    hidden = KaplanMeier(min_patients=20).fit(labels, (time, event))
    assert list(hidden.curves_) == ["usual"]
    with pytest.raises(UsageError, match="no curve of group rare; there are: usual"):
        hidden.predict_survival(labels, [1.0])
