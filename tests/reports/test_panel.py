import numpy as np
import pytest
from scipy.special import expit
from sklearn import metrics

from cohortium.reports.measure import Measure
from cohortium.reports.observed import Observed
from cohortium.reports.panel import consortium_mean, draws_of, measure_all, measure_values
from cohortium.reports.survival_measures import MATRIX_LIMIT


def binary(n=240, seed=1, patients=None):
    rng = np.random.default_rng(seed)
    p = expit(1.5 * rng.normal(size=n))
    y = (rng.random(n) < p).astype(float)
    patient = np.arange(n) if patients is None else patients
    return p, Observed(outcome="binary", site=np.repeat(["a", "b"], [n // 2, n - n // 2]), y=y, patient=patient)


def survival(n=150, seed=2):
    rng = np.random.default_rng(seed)
    risk = rng.normal(size=n)
    time = rng.exponential(np.exp(-risk))
    site = np.repeat(["a", "b"], [n // 2, n - n // 2])
    event = rng.random(n) < 0.7
    return risk, Observed(outcome="survival", site=site, time=time, event=event, patient=np.arange(n))


def test_binary_names_are_those_of_the_run_record():
    found = measure_all(*binary(), rng=np.random.default_rng(1), draws=200)
    assert set(found) >= {
        "auroc", "auroc_within", "auprc", "accuracy", "sensitivity", "specificity", "f1", "brier", "log_loss",
        "calibration_slope", "calibration_intercept",
    }  # fmt: skip
    for name, measure in found.items():
        assert measure.value is not None, name
        if name != "ece":
            assert measure.low < measure.value < measure.high, name


def test_values_without_intervals_are_the_same_values():
    for p, observed in (binary(), survival(), classes(), numbers()):
        full = measure_all(p, observed, rng=np.random.default_rng(1), draws=50)
        fast = measure_values(p, observed)
        assert list(full) == list(fast)
        for name, value in fast.items():
            assert full[name].value == pytest.approx(value, abs=1e-12), name


def test_the_same_stream_gives_the_same_intervals():
    first, second = (measure_all(*binary(), rng=np.random.default_rng(3), draws=100) for _ in range(2))
    assert first == second


def test_rows_of_one_patient_widen_every_interval():
    p, observed = binary(120)
    rows = np.repeat(np.arange(120), 3)
    again = Observed(outcome="binary", site=observed.site[rows], y=observed.y[rows], patient=rows)
    apart = Observed(outcome="binary", site=observed.site[rows], y=observed.y[rows], patient=np.arange(360))
    together, wrong = (measure_all(p[rows], o, rng=np.random.default_rng(1), draws=400) for o in (again, apart))
    for name in ("auroc", "accuracy", "sensitivity", "brier"):
        width = [m[name].high - m[name].low for m in (together, wrong)]
        assert width[0] > 1.5 * width[1], name


def test_one_class_site_has_reasons_and_no_numbers_made_up():
    observed = Observed(outcome="binary", site=np.full(7, "a"), y=np.ones(7), patient=np.arange(7))
    found = measure_all(np.linspace(0.2, 0.9, 7), observed, rng=np.random.default_rng(1))
    assert found["auroc"].value is None
    assert found["auroc"].reason.startswith("not available: n = 7")
    assert found["specificity"].value is None
    assert found["accuracy"].value is not None
    assert found["calibration_slope"].value is None


def test_no_rows_at_all():
    observed = Observed(outcome="binary", site=np.zeros(0, "<U1"), y=np.zeros(0), patient=np.zeros(0, np.int64))
    found = measure_all(np.zeros(0), observed, rng=np.random.default_rng(1))
    assert {m.reason for m in found.values()} == {"not available: n = 0"}
    gone = Observed(
        outcome="survival", site=np.full(2, "a"), time=np.full(2, np.nan), event=np.zeros(2, bool), patient=np.arange(2)
    )
    assert measure_values(np.zeros(2), gone) == {"c_index": None, "c_index_within": None}


def test_unknown_outcomes_are_left_out():
    p, observed = binary(60)
    y = observed.y.copy()
    y[:10] = np.nan
    holes = Observed(outcome="binary", site=observed.site, y=y, patient=observed.patient)
    assert measure_values(p, holes) == measure_values(p[10:], observed.take(np.arange(60) >= 10))
    assert measure_all(p, holes, rng=np.random.default_rng(1), threshold=np.full(60, 0.4), draws=20)["auroc"].n == 50


def test_predictions_that_are_not_finite_or_too_few_are_refused_by_count():
    p, observed = binary(20)
    p[3] = np.nan
    with pytest.raises(ValueError, match="1 of 20 rows are not finite"):
        measure_values(p, observed)
    with pytest.raises(ValueError, match="5 rows, outcomes have 20"):
        measure_values(p[:5], observed)


def classes(n=150, seed=4):
    rng = np.random.default_rng(seed)
    y = rng.integers(0, 3, size=n).astype(float)
    p = rng.dirichlet([1, 1, 1], size=n) + 0.4 * np.eye(3)[y.astype(int)]
    observed = Observed(outcome="classes", site=np.full(n, "a"), y=y, patient=np.arange(n), n_classes=3)
    return p / p.sum(axis=1, keepdims=True), observed


def test_classes_equal_scikit_learn():
    p, observed = classes()
    found = measure_all(p, observed, rng=np.random.default_rng(1), draws=200)
    assert found["auroc"].value == pytest.approx(metrics.roc_auc_score(observed.y, p, multi_class="ovr"))
    assert found["accuracy"].value == pytest.approx(metrics.accuracy_score(observed.y, p.argmax(axis=1)))
    assert found["f1"].value == pytest.approx(metrics.f1_score(observed.y, p.argmax(axis=1), average="macro"))
    assert found["auroc"].low < found["auroc"].value < found["auroc"].high


def numbers(n=80, seed=5):
    rng = np.random.default_rng(seed)
    y = rng.normal(size=n)
    return y + 0.5 * rng.normal(size=n), Observed(outcome="number", site=np.full(n, "a"), y=y, patient=np.arange(n))


def test_numbers_have_errors_with_intervals():
    p, observed = numbers()
    found = measure_all(p, observed, rng=np.random.default_rng(1))
    assert found["rmse"].low < 0.5 < found["rmse"].high
    drawn = draws_of("mae", p, observed.y, np.ones((1, 80)))
    assert drawn[0] == pytest.approx(found["mae"].value)


def test_survival_has_c_and_auroc_at_the_horizons_asked_for():
    risk, observed = survival()
    found = measure_all(risk, observed, rng=np.random.default_rng(1), horizons={"1y": 1.0}, draws=200)
    assert list(found) == ["c_index", "c_index_within", "auroc_1y"]
    assert found["c_index"].method == "patient bootstrap"
    assert found["c_index"].low < found["c_index"].value < found["c_index"].high


def test_many_survival_rows_are_linearised_and_few_events_have_no_interval():
    found = measure_all(*survival(MATRIX_LIMIT + 1), rng=np.random.default_rng(1))
    assert found["c_index_within"].method == "linearised"
    observed = Observed(
        outcome="survival", site=np.full(20, "a"), time=np.arange(20.0), event=np.arange(20) < 2, patient=np.arange(20)
    )
    assert measure_all(np.arange(20.0), observed, rng=np.random.default_rng(1))["c_index"].interval is None


def test_consortium_mean_is_weighted_by_test_records():
    by_site = {"a": Measure(value=0.8, low=0.7, high=0.9, n=300), "b": Measure(value=0.6, low=0.4, high=0.8, n=100)}
    mean = consortium_mean(by_site)
    assert mean.value == pytest.approx(0.75)
    assert mean.high - mean.value == pytest.approx(np.hypot(0.1 * 0.75, 0.2 * 0.25))
    assert consortium_mean({**by_site, "c": Measure(value=0.5, n=5)}).interval is None
    assert consortium_mean({"c": Measure(value=None, n=5)}).value is None


def covered(runs, draws, n=120):
    """Share of bootstrap intervals that hold the Brier score of the population, E[p (1 - p)]."""
    rng = np.random.default_rng(6)
    many = expit(1.5 * rng.normal(size=1_000_000))
    truth, hits = float((many * (1 - many)).mean()), 0
    for i in range(runs):
        p, observed = binary(n, seed=100 + i)
        measure = measure_all(p, observed, rng=rng, draws=draws)["brier"]
        hits += measure.low <= truth <= measure.high
    return hits / runs


def test_bootstrap_intervals_cover():
    assert 0.90 <= covered(150, draws=300) <= 0.99


@pytest.mark.slow
def test_bootstrap_intervals_cover_95_percent_in_2000_simulations():
    assert 0.93 <= covered(2000, draws=400) <= 0.97
