from dataclasses import replace

import numpy as np
import pytest
from lifelines import KaplanMeierFitter
from lifelines.statistics import logrank_test
from lifelines.utils import restricted_mean_survival_time
from scipy.stats import norm

from cohortium.assembly import build_program, check_study
from cohortium.core.examples import Examples, Layout
from cohortium.core.private import PrivateSteps
from cohortium.core.randomness import Chance
from cohortium.core.study import Study
from cohortium.core.update import Instructions
from cohortium.errors import DataError, UsageError
from cohortium.models.kaplan_meier import KaplanMeier
from cohortium.sim.plain import learn
from cohortium.swarm.program import SiteWork

OPEN = {"min_cell": 1, "min_at_risk": 1, "min_patients": 1}


@pytest.fixture(scope="module")
def grouped(kit):
    return kit.followed(300, groups=2)


def test_open_curves_agree_with_lifelines(kit, grouped):
    model = KaplanMeier(by="g", n_groups=2, **OPEN)
    state, exchanges = kit.learn(model, kit.split(grouped, 7))
    assert exchanges == 1
    for group in (0, 1):
        inside = grouped.take(grouped.subgroups["g"] == group)
        oracle = KaplanMeierFitter().fit(inside.time, inside.event == 1)
        curve = model.curve(state, group=group)
        assert np.allclose(curve.survival, oracle.survival_function_at_times(curve.times), atol=1e-12)
        assert curve.events.sum() == (inside.event == 1).sum()
        assert curve.median == oracle.median_survival_time_
        assert (curve.lower <= curve.survival).all()
        assert (curve.survival <= curve.upper).all()


def test_log_rank_and_restricted_means_agree_with_lifelines(kit, grouped):
    model = KaplanMeier(by="g", n_groups=2, tau=30.0)
    state, _ = kit.learn(model, kit.split(grouped, 7))
    first, second = (grouped.take(grouped.subgroups["g"] == g) for g in (0, 1))
    oracle = logrank_test(first.time, second.time, first.event == 1, second.event == 1)
    assert model.log_rank(state).statistic == pytest.approx(oracle.test_statistic, abs=1e-9)
    assert model.tau_of(state) == 30.0
    fits = [KaplanMeierFitter().fit(part.time, part.event == 1) for part in (first, second)]
    means = [restricted_mean_survival_time(fit, t=30) for fit in fits]
    assert [model.restricted_mean(state, group=g)[0] for g in (0, 1)] == pytest.approx(means, abs=1e-9)
    found = model.compare(state)
    assert found.difference == pytest.approx(means[1] - means[0], abs=1e-9)
    assert found.ratio == pytest.approx(means[1] / means[0], abs=1e-12)
    assert found.p_value == pytest.approx(2 * norm.sf(abs(found.difference) / found.standard_error), abs=1e-12)


def test_released_curves_are_close_to_the_open_ones_and_hide_small_counts(kit, grouped):
    model = KaplanMeier(by="g", n_groups=2)
    state, _ = kit.learn(model, [grouped])
    full, _ = kit.learn(KaplanMeier(by="g", n_groups=2, **OPEN), [grouped])
    curve, fine = model.curve(state), model.curve(full)
    assert 3 < len(curve.times) < len(fine.times)
    assert np.abs(curve.survival - fine.at(curve.times)).max() < 0.02
    counts = np.concatenate([np.ravel(state["events"]), np.ravel(state["censored"])])
    assert ((counts == 0) | (counts >= 5)).all()
    assert (curve.at_risk >= 10).all()


def test_a_small_group_has_no_curve_and_takes_no_part(kit):
    examples = kit.followed(100, groups=2)
    codes = np.where(np.arange(100) < 19, 1, 0).astype(np.int8)
    examples = replace(examples, subgroups={"g": codes})
    model = KaplanMeier(by="g", n_groups=2)
    state, _ = kit.learn(model, [examples])
    assert state["patients"].tolist() == [81, 0]
    assert not np.any(state["restricted_mean"][1])
    with pytest.raises(UsageError, match="group 1: no curve may be released"):
        model.curve(state, group=1)
    assert np.isnan(model.log_rank(state).p_value)
    assert model.curve(state, group=0).survival[-1] < 1


def test_unknown_groups_are_left_out(kit, grouped):
    codes = grouped.subgroups["g"].copy()
    codes[::3] = -1
    model = KaplanMeier(by="g", n_groups=2, **OPEN)
    some, _ = kit.learn(model, [replace(grouped, subgroups={"g": codes})])
    known, _ = kit.learn(model, [grouped.take(codes >= 0)])
    assert some == known


def test_log_rank_within_sites_adds_up_over_sites(kit, grouped):
    model = KaplanMeier(by="g", n_groups=2, strata="site", **OPEN)
    sites = kit.split(grouped, 3)
    state, _ = kit.learn(model, sites)
    parts = [kit.learn(KaplanMeier(by="g", n_groups=2, **OPEN), [one])[0] for one in sites]
    assert np.allclose(state["difference"], sum(np.array(p["difference"]) for p in parts), atol=1e-6)
    assert np.allclose(state["covariance"], sum(np.array(p["covariance"]) for p in parts), atol=1e-6)
    plain, _ = kit.learn(KaplanMeier(by="g", n_groups=2, **OPEN), sites)
    assert abs(model.log_rank(state).statistic - model.log_rank(plain).statistic) > 1e-6


def test_competing_causes_share_what_survival_loses(kit):
    examples = kit.followed(300)
    model = KaplanMeier(n_causes=2, **OPEN)
    state, _ = kit.learn(model, kit.split(examples, 4))
    times, first = model.incidence(state, cause=1)
    _, second = model.incidence(state, cause=2)
    assert np.allclose(first + second + model.curve(state).survival, 1, atol=1e-12)
    assert times.tolist() == model.curve(state).times.tolist()
    with pytest.raises(UsageError, match="cause must be 1 to n_causes = 2, got 3"):
        model.incidence(state, cause=3)


def test_prediction_orders_groups_by_hazard(kit, grouped):
    worse = replace(grouped, time=np.where(grouped.subgroups["g"] == 1, np.ceil(grouped.time / 3), grouped.time))
    model = KaplanMeier(by="g", n_groups=2)
    state, _ = kit.learn(model, [worse])
    risk = model.predict(state, worse)
    assert len(set(risk)) == 2
    one = model.curve(state, group=0)
    hazard = np.sum(one.events / (one.at_risk - one.censored / 2))
    assert risk[worse.subgroups["g"] == 0][0] == pytest.approx(np.log(hazard))


def test_options_and_groups_are_checked(kit, grouped):
    for options, message in [
        ({"by": "g"}, "n_groups must be 2 to 100 with by = 'g', got 1"),
        ({"n_groups": 2}, "n_groups must be 1 without by, got 2"),
        ({"strata": "g"}, "strata must be '' or 'site', got 'g'"),
        ({"tau": -1.0}, "tau must be at least 0"),
        ({"min_cell": 0}, "min_cell must be 1 to 1000, got 0"),
        ({"n_causes": 0}, "n_causes must be 1 to 20"),
    ]:
        with pytest.raises(ValueError, match=message):
            KaplanMeier(**options)
    with pytest.raises(DataError, match="by 'h' is no subgroup of these examples; known: g"):
        kit.learn(KaplanMeier(by="h", n_groups=2), [grouped])
    with pytest.raises(DataError, match="rows are beyond n_groups"):
        kit.learn(KaplanMeier(by="g", n_groups=2), [kit.followed(50, groups=3)])
    with pytest.raises(UsageError, match="a log-rank test needs groups"):
        KaplanMeier().log_rank(kit.learn(KaplanMeier(), [grouped])[0])
    assert KaplanMeier().parts(kit.learn(KaplanMeier(), [grouped])[0]) == {}


SURVIVAL = Layout(features=(), outcome="survival", resolution=30.0, horizon=1500.0)


def patients(n, seed):
    rng = np.random.default_rng(seed)
    dies, leaves = rng.exponential(700, n), rng.uniform(200, 1500, n)
    time = np.maximum(np.minimum(dies, leaves), 1.0)
    event = (dies <= leaves).astype(np.int8)
    return Examples(layout=SURVIVAL, x=np.zeros((n, 0)), time=time, event=event)


def private_curve(sites, mode, *, epsilon=3.0):
    study = Study.model_validate(
        {
            "study": {"name": "s", "outcome": {"time": "t", "event": "e"}},
            "cohort": {"scale": "none", "fill": "none"},
            "model": {"name": "kaplan-meier"},
            "privacy": {"secure_aggregation": True, "dp": {"mode": mode, "epsilon": epsilon}},
        }
    )
    assert check_study(study, n_sites=len(sites)) == ()
    program = build_program(study, SURVIVAL, sites=list(sites), chance=Chance(1, secrets_from_system=False))
    works = [SiteWork(program, site=name, training=rows) for name, rows in sites.items()]
    return program, learn(program, works)


@pytest.mark.parametrize("mode", ["local", "distributed"])
def test_a_private_curve_is_near_the_open_one_and_costs_one_gaussian(mode):
    sites = {f"s{i}": patients(500, i) for i in range(4)}
    program, state = private_curve(sites, mode)
    (event,) = program.planned_events()
    assert (event.type, event.count) == ("gaussian", 1)
    curve = program.learner.curve(program.model(state))
    for day, share in zip(curve.times, curve.survival, strict=True):
        if day < 900:
            assert share == pytest.approx(np.exp(-(day + 30) / 700), abs=0.06)


def test_noise_that_is_shared_out_leaves_a_sharper_curve_than_noise_of_every_site():
    sites = {f"s{i}": patients(200, i) for i in range(8)}

    def away(mode):
        program, state = private_curve(sites, mode, epsilon=0.5)
        found = np.asarray(program.model(state)["patients"])[0]
        return abs(int(found) - 1600)

    assert away("distributed") < away("local")


def test_of_several_records_of_a_patient_one_is_counted():
    rows = patients(300, 0)
    again = replace(rows, patient=np.arange(300) // 3)
    steps = PrivateSteps(sample_rate=1.0, steps=1, clipping_norm=1.0, noise_multiplier=0.1, entropy=bytes)
    model = KaplanMeier()
    start = model.initial(SURVIVAL, rng=np.random.default_rng(0))
    found = model.fit(start, again, instructions=Instructions(private=steps), rng=np.random.default_rng(0))
    counted = sum(np.rint(np.asarray(array) / 1024).sum() for array in found.parameters.values())
    assert counted == pytest.approx(100, abs=5)
    late = replace(rows, entry=np.zeros(300))
    with pytest.raises(DataError, match="late entry"):
        model.fit(start, late, instructions=Instructions(private=steps), rng=np.random.default_rng(0))
