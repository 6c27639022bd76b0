import numpy as np
import pytest
from scipy.special import expit

from cohortium.reports.comparison import compare
from cohortium.reports.observed import Observed
from cohortium.reports.survival_measures import MATRIX_LIMIT


def consortium(sizes, own_noise, seed=1):
    """Sites whose own scores are the swarm's with noise added; returns scores and outcomes."""
    rng = np.random.default_rng(seed)
    names = sorted(sizes)
    x = {s: 1.5 * rng.normal(size=sizes[s]) for s in names}
    y = {s: (rng.random(sizes[s]) < expit(x[s])).astype(float) for s in names}
    observed = Observed(
        outcome="binary",
        site=np.concatenate([np.full(sizes[s], s) for s in names]),
        y=np.concatenate([y[s] for s in names]),
        patient=np.arange(sum(sizes.values())),
    )
    scores = {"swarm": {s: expit(x[s]) for s in names}}
    for home in names:
        scores[f"own/{home}"] = {s: expit(x[s] + own_noise[home] * rng.normal(size=sizes[s])) for s in names}
    return scores, observed


def compared(scores, observed, **more):
    return compare(
        scores, observed, n_train=dict.fromkeys(observed.sites, 100), rng=np.random.default_rng(2), draws=300, **more
    )


def test_a_site_that_gains_and_one_that_loses_are_told_apart():
    scores, observed = consortium({"a": 400, "b": 400}, {"a": 3.0, "b": 0.0})
    rng = np.random.default_rng(3)
    scores["swarm"]["b"] = rng.permutation(scores["swarm"]["b"])
    found = compared(scores, observed)
    verdicts = {row.site: row.verdict for row in found.sites}
    assert verdicts == {"a": "helps", "b": "does not help"}
    assert found.not_helped == ("b",)
    gains = {row.site: row.gains for row in found.sites}
    assert gains["a"]["auroc"].low > 0 > gains["b"]["auroc"].high
    assert {name: g.p < 0.01 for name, g in gains["a"].items()} == {"auroc": True, "accuracy": True, "brier": True}


def test_equal_models_give_no_gain_and_no_significance():
    scores, observed = consortium({"a": 200, "b": 150}, {"a": 0.0, "b": 0.0})
    found = compared(scores, observed)
    assert [row.gains["auroc"].value for row in found.sites] == [0.0, 0.0]
    assert [row.verdict for row in found.sites] == ["unclear", "unclear"]
    assert {row.gains["brier"].p for row in found.sites} == {1.0}
    assert found.at_home.gain == 0.0
    assert found.new_site is None


def test_holm_is_over_the_sites():
    scores, observed = consortium(dict.fromkeys("abcd", 150), dict.fromkeys("abcd", 1.0))
    found = compared(scores, observed)
    p = sorted(row.gains["auroc"].p for row in found.sites)
    corrected = sorted(row.gains["auroc"].p_holm for row in found.sites)
    assert corrected[0] == pytest.approx(min(1.0, 4 * p[0]))
    assert all(c >= q for c, q in zip(corrected, p, strict=True))


def test_exams_figures_by_hand():
    """Elsewhere: site a's own model scored at b and c only, the swarm at the same sites."""
    scores, observed = consortium({"a": 200, "b": 200, "c": 200}, {"a": 1.0, "b": 1.0, "c": 1.0})
    found = compared(scores, observed)
    from cohortium.reports.panel import measure_values

    def auroc(model, site):
        return measure_values(scores[model][site], observed.at(site))["auroc"]

    first = found.sites[0]
    assert first.own_elsewhere == pytest.approx((auroc("own/a", "b") + auroc("own/a", "c")) / 2)
    assert first.swarm_elsewhere == pytest.approx((auroc("swarm", "b") + auroc("swarm", "c")) / 2)
    home = np.mean([[auroc(f"own/{s}", s), auroc("swarm", s)] for s in "abc"], axis=0)
    assert (found.at_home.own, found.at_home.swarm) == pytest.approx(tuple(home))
    assert found.at_home.gain_percent == pytest.approx(100 * (home[1] - home[0]) / home[0])
    assert found.new_site.n_sites == 3


def test_a_site_too_small_to_judge_is_named_and_moves_no_mean():
    scores, observed = consortium({"a": 200, "b": 200, "tiny": 7}, {"a": 1.0, "b": 1.0, "tiny": 5.0})
    found = compared(scores, observed)
    tiny = found.sites[2]
    assert tiny.verdict == "not judged"
    assert "not available: n = 7" in tiny.why
    assert found.at_home.n_sites == 2
    assert "tiny" not in found.not_helped


def test_models_that_are_missing_have_reasons():
    scores, observed = consortium({"a": 50, "b": 50}, {"a": 1.0, "b": 1.0})
    del scores["own/b"]
    found = compared(scores, observed)
    assert found.sites[1].verdict == "not judged"
    assert found.sites[1].own.reason == "not available: no model 'own' here"
    assert found.sites[0].pooled.reason == "not available: no model 'pooled' here"
    assert found.sites[1].own_elsewhere is None


def test_survival_gains_are_resampled_in_pairs():
    rng = np.random.default_rng(4)
    risk = rng.normal(size=240)
    time = rng.exponential(np.exp(-risk))
    site = np.repeat(["a", "b"], 120)
    observed = Observed(outcome="survival", site=site, time=time, event=rng.random(240) < 0.8, patient=np.arange(240))
    halves = {"a": risk[:120], "b": risk[120:]}
    scores = {"swarm": halves, "own/a": {"a": rng.normal(size=120)}, "own/b": halves}
    found = compared(scores, observed)
    assert found.measure == "c_index"
    assert [row.verdict for row in found.sites] == ["helps", "unclear"]
    assert found.sites[0].gains["c_index"].p < 0.01
    assert found.sites[1].gains["c_index"].p == 1.0


def test_survival_sites_with_few_events_or_too_many_rows_have_a_value_only():
    rng = np.random.default_rng(5)
    n = MATRIX_LIMIT + 50
    time = rng.exponential(size=n)
    observed = Observed(
        outcome="survival", site=np.full(n, "a"), time=time, event=np.ones(n, bool), patient=np.arange(n)
    )
    both = {"swarm": {"a": -time}, "own/a": {"a": rng.normal(size=n)}}
    gain = compared(both, observed).sites[0].gains["c_index"]
    assert gain.value > 0.4
    assert "more than 2000" in gain.reason
    few = Observed(
        outcome="survival", site=np.full(20, "a"), time=time[:20], event=np.arange(20) < 2, patient=np.arange(20)
    )
    gain = compared({"swarm": {"a": -time[:20]}, "own/a": {"a": time[:20]}}, few).sites[0].gains["c_index"]
    assert "fewer than 5 events" in gain.reason


def test_errors_of_numbers_count_as_gains_when_they_fall():
    rng = np.random.default_rng(6)
    y = rng.normal(size=200)
    observed = Observed(outcome="number", site=np.repeat(["a", "b"], 100), y=y, patient=np.arange(200))
    good, bad = y + 0.1 * rng.normal(size=200), y + rng.normal(size=200)
    split = lambda v: {"a": v[:100], "b": v[100:]}  # noqa: E731
    found = compared({"swarm": split(good), "own/a": split(bad), "own/b": split(bad)}, observed)
    assert found.measure == "rmse"
    assert found.sites[0].gains["rmse"].low > 0
    assert found.at_home.gain > 0
    assert found.sites[0].verdict == "helps"


def test_classes_are_compared_by_their_mean_auroc():
    rng = np.random.default_rng(7)
    y = rng.integers(0, 3, size=120).astype(float)
    observed = Observed(outcome="classes", site=np.full(120, "a"), y=y, patient=np.arange(120), n_classes=3)
    sharp, blunt = (np.eye(3)[y.astype(int)] * w + rng.dirichlet([1, 1, 1], size=120) for w in (1.0, 0.1))
    found = compared({"swarm": {"a": sharp}, "own/a": {"a": blunt}}, observed)
    assert found.sites[0].verdict == "helps"


def test_accuracy_compares_what_each_model_calls_after_its_own_repair():
    """Risks 20 points too low everywhere: cut at one half nobody is called, repaired everybody is right."""
    y = np.array([0.0, 1.0] * 30)
    observed = Observed(outcome="binary", site=np.full(60, "a"), y=y, patient=np.arange(60))
    scores = {"swarm": {"a": 0.1 + 0.3 * y}, "own/a": {"a": 0.3 + 0.4 * y}}
    raw = compared(scores, observed).sites[0].gains["accuracy"]
    assert raw.value == pytest.approx(-0.5)
    assert "both cut at one half" in raw.method
    calls = {"swarm": {"a": scores["swarm"]["a"] >= 0.25}, "own/a": {"a": scores["own/a"]["a"] >= 0.5}}
    repaired = compared(scores, observed, calls=calls).sites[0].gains["accuracy"]
    assert repaired.value == 0.0
    assert "each recalibrated" in repaired.method


def test_one_models_calls_alone_are_not_compared_with_another_cut():
    y = np.array([0.0, 1.0] * 30)
    observed = Observed(outcome="binary", site=np.full(60, "a"), y=y, patient=np.arange(60))
    scores = {"swarm": {"a": 0.1 + 0.3 * y}, "own/a": {"a": 0.3 + 0.4 * y}}
    found = compared(scores, observed, calls={"swarm": {"a": y > 0.5}}).sites[0].gains["accuracy"]
    assert found.value == pytest.approx(-0.5)
