from dataclasses import replace

import numpy as np
import pandas as pd
import pytest
from lifelines import CoxPHFitter

from cohortium.core.parameters import Parameters
from cohortium.errors import DataError, TrainingFailed, UsageError
from cohortium.models.cox import Cox

CLOSE = 2e-5


def oracle(examples, *, event=None, cells=None, entry=None, strata=None):
    frame = pd.DataFrame(examples.x, columns=list(examples.layout.features))
    frame["t"] = examples.time if cells is None else cells
    frame["e"] = (examples.event == 1).astype(int) if event is None else event
    options = {}
    if entry is not None:
        frame["entry"] = entry
        options["entry_col"] = "entry"
    if strata is not None:
        frame["stratum"] = strata
        options["strata"] = ["stratum"]
    return CoxPHFitter().fit(frame, "t", "e", fit_options={"precision": 1e-10, "step_size": 0.5}, **options)


@pytest.mark.parametrize("n_sites", [1, 3, 45])
def test_unpenalised_efron_agrees_with_lifelines(kit, n_sites):
    examples = kit.followed(500)
    state, exchanges = kit.learn(Cox(l2=0.0, min_at_risk=1), kit.split(examples, n_sites))
    found = oracle(examples)
    assert np.abs(found.params_ - state["coefficients"]).max() < CLOSE
    assert np.allclose(state["standard_errors"], found.standard_errors_, rtol=1e-3)
    assert np.abs(found.predict_log_partial_hazard(examples.x) - Cox().predict(state, examples)).max() < 1e-4
    assert exchanges <= 14


def partial_likelihood(examples, b, *, ties, l2=0.0):
    """Log partial likelihood in float64, patient by patient."""
    risk, event = np.exp(examples.x @ b), examples.event == 1
    total = -l2 / 2 * len(examples) * b @ b
    for t in np.unique(examples.time[event]):
        dead = event & (examples.time == t)
        at_risk, tied, d = risk[examples.time >= t].sum(), risk[dead].sum(), dead.sum()
        steps = np.arange(d) / d if ties == "efron" else np.zeros(d)
        total += np.log(risk[dead]).sum() - np.log(at_risk - steps * tied).sum()
    return total


@pytest.mark.parametrize("ties", ["efron", "breslow"])
@pytest.mark.parametrize("l2", [0.0, 0.05])
def test_solution_is_the_maximum_of_the_penalised_partial_likelihood(kit, ties, l2):
    examples = kit.followed(200)
    state, _ = kit.learn(Cox(l2=l2, ties=ties, min_at_risk=1), kit.split(examples, 4))
    b = np.array(state["coefficients"])
    best = partial_likelihood(examples, b, ties=ties, l2=l2)
    for j in range(4):
        for step in (-1e-3, 1e-3):
            moved = b.copy()
            moved[j] += step
            assert partial_likelihood(examples, moved, ties=ties, l2=l2) < best


def test_late_entry_agrees_with_lifelines(kit):
    examples = kit.followed(400, late=True)
    inside = examples.take(examples.entry < examples.time)
    state, _ = kit.learn(Cox(l2=0.0, min_at_risk=1), kit.split(inside, 4))
    assert np.abs(oracle(inside, entry=inside.entry).params_ - state["coefficients"]).max() < CLOSE


def test_strata_of_a_subgroup_and_of_sites_agree_with_lifelines(kit):
    examples = kit.followed(500, groups=3)
    found = oracle(examples, strata=examples.subgroups["g"])
    grouped, _ = kit.learn(Cox(l2=0.0, min_at_risk=1, strata="g", n_strata=3), kit.split(examples, 5))
    sites, exchanges = kit.learn(Cox(l2=0.0, strata="site"), kit.by(examples, examples.subgroups["g"]))
    for state in (grouped, sites):
        assert np.abs(found.params_ - state["coefficients"]).max() < CLOSE
        assert np.allclose(state["standard_errors"], found.standard_errors_, rtol=1e-3)
    assert exchanges <= 7
    assert grouped != kit.learn(Cox(l2=0.0, min_at_risk=1), [examples])[0]


def test_another_cause_is_censored(kit):
    examples = kit.followed(500)
    other, _ = kit.learn(Cox(l2=0.0, min_at_risk=1, cause=2), [examples])
    found = oracle(examples, event=(examples.event == 2).astype(int))
    assert np.abs(found.params_ - other["coefficients"]).max() < CLOSE


def test_tail_is_cut_behind_the_last_cell_with_enough_patients(kit):
    examples = kit.followed(300)
    state, _ = kit.learn(Cox(l2=0.0), kit.split(examples, 3))
    at_risk = [(examples.time >= t).sum() for t in range(80)]
    last = max(t for t in range(80) if at_risk[t] >= 30)
    assert state["kept"].tolist() == [last + 1]
    cut = oracle(examples, cells=np.minimum(examples.time, last), event=(examples.event == 1) & (examples.time <= last))
    assert np.abs(cut.params_ - state["coefficients"]).max() < CLOSE
    uncut, _ = kit.learn(Cox(l2=0.0, min_at_risk=1), [examples])
    assert np.abs(uncut["coefficients"] - state["coefficients"]).max() > 1e-4


def test_survival_without_columns_of_weight_is_exp_of_nelson_aalen(kit):
    time, event = np.array([1, 2, 2, 3, 4, 5.0]), np.array([1, 0, 1, 1, 0, 1])
    examples = kit.survival(np.zeros((6, 1)), time, event)
    model = Cox(min_at_risk=1)
    state, _ = kit.learn(model, [examples])
    hazard = [1 / 6, 1 / 6 + 1 / 5, 1 / 6 + 1 / 5 + 1 / 3]
    found = model.survival(state, examples.take([0]), np.array([0.5, 1.0, 2.9, 3.0]))
    assert found[0] == pytest.approx(np.exp([0, -hazard[0], -hazard[1], -hazard[2]]), abs=1e-12)


def test_survival_falls_and_orders_patients_by_risk(kit):
    examples = kit.followed(300, groups=2)
    model = Cox(strata="g", n_strata=2)
    state, _ = kit.learn(model, [examples])
    found = model.survival(state, examples, np.arange(0, 50.0, 5))
    assert (np.diff(found, axis=1) <= 0).all()
    assert ((found > 0) & (found <= 1)).all()
    one = examples.subgroups["g"] == 0
    risk = model.predict(state, examples.take(one))
    assert np.array_equal(np.argsort(risk), np.argsort(-found[one][:, 4]))


def test_strata_by_site_have_no_shared_baseline(kit):
    examples = kit.followed(100)
    state, _ = kit.learn(Cox(strata="site"), [examples])
    with pytest.raises(UsageError, match="no shared baseline"):
        Cox(strata="site").survival(state, examples, np.array([1.0]))


def test_no_event_anywhere_and_monotone_likelihood_are_said(kit):
    examples = kit.followed(60)
    for model in (Cox(), Cox(strata="site")):
        with pytest.raises(TrainingFailed, match="same outcome"):
            kit.learn(model, [replace(examples, event=np.zeros(60, np.int8))])
    x = np.concatenate([np.full(30, 1.0), np.full(30, -1.0)])[:, None]
    immune = kit.survival(x, np.arange(1, 61), np.repeat([1, 0], 30))
    with pytest.raises(TrainingFailed, match="separation: column 'x0' tells") as caught:
        kit.learn(Cox(l2=0.0, min_at_risk=1), [immune])
    assert caught.value.code == "separation"
    state, _ = kit.learn(Cox(l2=0.1), [immune])
    assert state["coefficients"][0] > 0


def test_bad_follow_up_is_counted_not_shown(kit):
    examples = kit.followed(20)
    time = examples.time.copy()
    time[[1, 2]] = -1.0
    with pytest.raises(DataError, match="follow-up: 2 of 20 times are missing or negative"):
        kit.learn(Cox(), [replace(examples, time=time)])
    with pytest.raises(DataError, match="strata 'g' is no subgroup of these examples; known: none"):
        kit.learn(Cox(strata="g", n_strata=2), [examples])
    grouped = kit.followed(20, groups=3)
    with pytest.raises(DataError, match=r"strata 'g': .* rows are unknown or beyond n_strata"):
        kit.learn(Cox(strata="g", n_strata=2), [grouped])


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"l2": -1}, "l2 must be"),
        ({"ties": "exact"}, "ties must be 'efron' or 'breslow', got 'exact'"),
        ({"strata": "g"}, "n_strata must be 2 to 100 for a subgroup, got 1"),
        ({"n_strata": 3}, "n_strata must be 1 with strata = ''"),
        ({"cause": 0}, "cause must be at least 1"),
        ({"min_at_risk": 0}, "min_at_risk must be"),
        ({"max_rounds": 0}, "max_rounds must be"),
    ],
)
def test_options_out_of_range_are_named(options, message):
    with pytest.raises(ValueError, match=message):
        Cox(**options)


def test_layouts_it_cannot_learn_are_refused(kit):
    with pytest.raises(DataError, match="model 'cox' needs an outcome of kind survival, got binary"):
        Cox().initial(kit.layout(3, "binary"), rng=None)
    with pytest.raises(DataError, match="the time grid needs a resolution above 0"):
        Cox().initial(kit.layout(3, "survival"), rng=None)
    with pytest.raises(DataError, match="at most 2000 are learned by sums"):
        Cox().initial(kit.layout(2001, "survival", resolution=1.0), rng=None)


@pytest.mark.parametrize("max_rounds", [1, 2, 3, 4])
def test_out_of_rounds_in_any_phase_it_ends_with_the_best_point(kit, max_rounds):
    examples = kit.followed(200)
    state, exchanges = kit.learn(Cox(max_rounds=max_rounds), kit.split(examples, 3))
    assert exchanges == max_rounds
    assert state["coefficients"].any() == (max_rounds >= 3)
    assert np.isfinite(Cox().survival(state, examples, np.array([5.0]))).all()
    assert state["standard_errors"].any() == (max_rounds in (2, 4))


def test_risks_too_large_to_sum_are_halved_away(kit):
    x = np.concatenate([np.full(100, -0.1), [30.0]])[:, None]
    time = np.concatenate([np.arange(2, 102), [1]])
    examples = kit.survival(x, time, np.ones(101))
    for model in (Cox(l2=0.001, min_at_risk=1), Cox(l2=0.001, strata="site")):
        state, _ = kit.learn(model, [examples])
        assert 0 < state["coefficients"][0] < 1


AML_LATER = ("trial", "center", "transplant", "cyto_risk", "os_days", "os_event", "efs_days", "efs_event")
MDS_LATER = ("hma", "lenalidomid", "transplant", "aml_event", "aml_years", "os_event", "os_years")
MONTH = 30.4375


def cut_oracle(examples, state, width):
    cells = np.floor(examples.time / width)
    kept = int(state["kept"][0])
    return oracle(examples, cells=np.minimum(cells, kept - 1) + 1, event=(examples.event == 1) & (cells < kept))


def test_aml_in_45_hospitals_is_the_pooled_fit_and_agrees_with_lifelines(kit):
    frame = kit.shared("aml_amlsg")
    x = kit.standardised(frame, [c for c in frame if c not in AML_LATER], carriers=15)
    examples = kit.survival(x, frame["os_days"], frame["os_event"], resolution=MONTH)
    state, exchanges = kit.learn(Cox(l2=0.0), kit.by(examples, frame["center"].to_numpy()))
    assert state == kit.learn(Cox(l2=0.0), kit.by(examples, frame["trial"].to_numpy()))[0]
    assert np.abs(cut_oracle(examples, state, MONTH).params_ - state["coefficients"]).max() < CLOSE
    assert exchanges <= 14
    trials = kit.by(examples, frame["trial"].to_numpy())
    stratified, _ = kit.learn(Cox(l2=0.0, strata="site"), trials)
    strata = np.unique(frame["trial"], return_inverse=True)[1]
    found = oracle(examples, cells=np.floor(examples.time / MONTH) + 1, strata=strata)
    assert np.abs(found.params_ - stratified["coefficients"]).max() < CLOSE


def test_mds_with_columns_of_39_sd_needs_halving_and_does_not_end_in_nan(kit):
    frame = kit.shared("mds_tp53")
    x = kit.standardised(frame, [c for c in frame if c not in MDS_LATER], carriers=15)
    assert np.abs(x).max() > 12
    examples = kit.survival(x, frame["os_years"], frame["os_event"], resolution=1 / 12)
    state, exchanges = kit.learn(Cox(l2=0.0), kit.split(examples, 3))
    assert np.abs(cut_oracle(examples, state, 1 / 12).params_ - state["coefficients"]).max() < CLOSE
    assert exchanges <= 20
    full = kit.standardised(frame, [c for c in frame if c not in MDS_LATER])
    wild = kit.survival(full, frame["os_years"], frame["os_event"], resolution=1 / 12)
    assert np.abs(full).max() > 39
    penalised, _ = kit.learn(Cox(), [wild])
    assert np.isfinite(penalised.vector()).all()


def test_tcga_regions_agree_with_lifelines(kit):
    frame = kit.shared("breast_tcga_regions")
    columns = [c for c in frame if c not in ("event", "days", "tss", "region", "fold")]
    x = kit.standardised(frame, columns, carriers=40)
    examples = kit.survival(x, frame["days"], frame["event"], resolution=MONTH)
    state, _ = kit.learn(Cox(l2=0.05), kit.by(examples, frame["region"].to_numpy()))
    assert state == kit.learn(Cox(l2=0.05), [examples])[0]


def test_more_events_than_patients_can_have_are_refused_and_no_memory_is_taken_for_them(kit):
    """The number of events is what sites say; one that says 2^40 must not make every other allocate terabytes."""
    sites, model = kit.split(kit.followed(60), 2), Cox(min_at_risk=1)
    start = model.initial(sites[0].layout, rng=np.random.default_rng(0))
    said = [kit.answer(model, start, site) for site in sites]
    total = {name: sum(np.asarray(one[name]) for one in said) for name in said[0]}
    assert "s0" in model.advance(start, Parameters(total))
    total["events"] = np.full_like(total["events"], 1 << 40)
    with pytest.raises(ValueError, match="events at once"):
        model.advance(start, Parameters(total))
