"""A study becomes objects, or every reason why it cannot, each at its key."""

from types import SimpleNamespace

import numpy as np
import pytest

from cohortium.assembly import (
    build_guard,
    build_learner,
    build_program,
    build_strategy,
    check_fit,
    check_study,
    default_min_sites,
    learner_options,
    quorum,
    strategy_name,
)
from cohortium.core.examples import Layout
from cohortium.core.exchange import MASKED, PLAIN
from cohortium.core.randomness import Chance
from cohortium.core.study import Study
from cohortium.errors import DataError, StudyError
from cohortium.models import MODELS
from cohortium.privacy.dp.distributed import NoiseGuard
from cohortium.privacy.dp.site_level import SiteLevel
from cohortium.privacy.he import terms
from cohortium.privacy.he.guard import CKKS
from cohortium.privacy.secagg.groups import GroupGuard
from cohortium.strategies import STRATEGIES

LAYOUT = Layout(features=("a", "b"), outcome="binary", classes=("0", "1"))
IMAGES = Layout(features=(), outcome="binary", classes=("0", "1"), image=(1, 8, 8))


def study_of(model=None, strategy=None, **sections):
    content = {"study": {"name": "s", "outcome": "y"}, "model": model or {"name": "logistic"}, **sections}
    return Study.model_validate(content | ({"strategy": strategy} if strategy else {}))


def problems(study, **options):
    return {problem.key: problem.message for problem in check_study(study, **options)}


@pytest.mark.parametrize(("n", "least"), [(2, 2), (3, 2), (4, 3), (5, 3), (20, 11), (83, 42)])
def test_the_quorum_is_more_than_half_and_at_least_two(n, least):
    assert default_min_sites(n) == least
    assert 2 * least > n


def test_a_plain_study_is_possible():
    assert check_study(study_of(), n_sites=2) == ()


def test_auto_takes_exact_sums_where_the_model_learns_by_sums():
    for model, name in [("logistic", "exact-sums"), ("cox", "exact-sums"), ("mlp", "fedavg")]:
        study = study_of({"name": model})
        learner = build_learner(study)
        assert strategy_name(study, learner) == name
        assert type(build_strategy(study, learner)) is STRATEGIES.resolve(name)


def test_a_strategy_by_weights_makes_a_model_that_can_do_both_learn_by_weights():
    assert build_learner(study_of()).learns_by == "sums"
    assert build_learner(study_of(strategy={"name": "fedavg"})).learns_by == "weights"
    said = {"name": "logistic", "learn": "sums"}
    assert build_learner(study_of(said, {"name": "fedavg"})).learns_by == "sums", "what the study says wins"


def test_all_problems_come_at_once():
    study = study_of({"name": "logistic", "l2": -1.0}, {"name": "fedavgg", "min_sites": 9})
    assert set(problems(study, n_sites=3)) == {"model.l2", "strategy.name", "strategy.min_sites"}


@pytest.mark.parametrize(
    ("model", "strategy", "key", "sentence"),
    [
        ({"name": "logistc"}, None, "model.name", "did you mean 'logistic'"),
        ({"name": "logistic", "max_round": 3}, None, "model.max_round", "did you mean 'max_rounds'"),
        ({"name": "kaplan-meier", "zzz": 3}, None, "model.zzz", "it takes: by, min_at_risk"),
        ({"name": "logistic"}, {"name": "fedprox", "mu": -1.0}, "strategy.mu", "-1.0"),
        ({"name": "cox"}, {"name": "fedavg"}, "strategy.name", "learns by sums, merge 'fedavg' serves weights"),
        ({"name": "mlp"}, {"name": "exact-sums"}, "strategy.name", "choose 'fedavg'"),
        ({"name": "mlp", "optimiser": "adam"}, {"name": "scaffold"}, "strategy.name", "needs plain SGD"),
        ({"name": "cox"}, {"name": "auto", "stop": {"patience": 3}}, "strategy.stop", "ends by itself"),
    ],
)
def test_what_cannot_go_together_is_refused_at_its_key(model, strategy, key, sentence):
    found = problems(study_of(model, strategy))
    assert key in found, found
    assert sentence in found[key]


def test_too_few_sites_are_refused():
    assert "at least 2 sites, found 1" in problems(study_of(), n_sites=1)[""]
    assert (
        "4 sites are required, found 3"
        in problems(study_of(strategy={"min_sites": 4}), n_sites=3)["strategy.min_sites"]
    )
    assert check_study(study_of(strategy={"min_sites": 3}), n_sites=3) == ()


def test_a_program_prepares_and_then_learns():
    program = build_program(study_of(), LAYOUT, sites=["lund", "bonn"], chance=Chance(0))
    assert [stage.name for stage in program.stages] == ["presence", "standard", "mean", "model"]
    assert program.sites == ("bonn", "lund")
    plain = study_of(cohort={"scale": "none", "fill": "none"})
    stages = build_program(plain, LAYOUT, sites=["a", "b"], chance=Chance(0)).stages
    assert [stage.name for stage in stages] == ["presence", "spread", "model"]


def test_images_are_neither_filled_nor_looked_for():
    program = build_program(study_of({"name": "cnn-small"}), IMAGES, sites=["a", "b"], chance=Chance(0))
    assert [stage.name for stage in program.stages] == ["standard", "model"]


def test_the_studys_rounds_and_stop_are_for_models_by_weights():
    stop = {"patience": 2, "min_delta": 0.01}
    weights = build_program(
        study_of(strategy={"name": "fedavg", "rounds": 7, "stop": stop}), LAYOUT, sites=["a", "b"], chance=Chance(0)
    )
    assert weights.stages[-1].max_rounds == 7
    assert (weights.stop.patience, weights.stop.min_delta) == (2, 0.01)
    sums = build_program(study_of(strategy={"name": "auto", "rounds": 7}), LAYOUT, sites=["a", "b"], chance=Chance(0))
    assert sums.stages[-1].max_rounds != 7
    assert sums.stop is None


def test_layers_that_stay_at_home_are_found_in_the_model():
    pytest.importorskip("torch")
    study = study_of({"name": "mlp"}, {"name": "fedper"})
    learner = build_learner(study)
    head = learner.parts(learner.initial(LAYOUT, rng=np.random.default_rng(0)))["head"]
    assert build_strategy(study, learner, LAYOUT).private == tuple(head)
    named = study_of({"name": "mlp"}, {"name": "fedper", "private": ["layers.0.*"]})
    assert build_strategy(named, learner, LAYOUT).private == ("layers.0.*",)


def test_a_model_is_tried_on_the_columns_before_anybody_trains():
    check_fit(study_of(), LAYOUT)
    with pytest.raises(DataError, match="needs an outcome of kind survival, got binary"):
        check_fit(study_of({"name": "cox"}), LAYOUT)
    with pytest.raises(DataError, match="learns from table columns, got images"):
        check_fit(study_of(), IMAGES)


def test_options_of_every_model_can_be_listed():
    for name in MODELS:
        assert all(isinstance(field.name, str) for field in learner_options(name))
        assert check_study(study_of({"name": name} | ({"factory": "net:build"} if name == "module" else {}))) == ()
    assert next(field.name for field in learner_options("logistic")) == "l2"
    with pytest.raises(StudyError, match=r"model\.name: unknown model 'x'"):
        learner_options("x")


MASKS, PLAINLY = {"secure_aggregation": True}, {"secure_aggregation": False}


def guard_of(study, n_sites):
    return build_guard(study, "bonn", n_sites=n_sites, entropy=bytes)


@pytest.mark.parametrize(("n", "masked"), [(1, False), (2, False), (3, True), (64, True), (65, False)])
def test_updates_travel_under_masks_by_default_from_three_sites_on(n, masked):
    assert guard_of(study_of(), n).recipe is (MASKED if masked else PLAIN)
    assert guard_of(study_of(privacy=MASKS), n).recipe is MASKED
    assert guard_of(study_of(privacy=PLAINLY), n).recipe is PLAIN


def test_word_width_and_hidden_weights_reach_the_guard():
    guard = guard_of(study_of(privacy={"word_bits": 16}), 4)
    assert (guard.word_bits, guard.largest_weight, guard.recipe.hidden_weights) == (16, 0, False)
    guard = guard_of(study_of(privacy={"weights": "hidden", "largest_weight": 1000}), 4)
    assert (guard.word_bits, guard.largest_weight, guard.recipe.hidden_weights) == (32, 1000, True)


@pytest.mark.parametrize(("n", "least"), [(8, 8), (10, 10), (12, 12), (20, 19), (40, 37)])
def test_two_halves_need_enough_sites_in_each_and_can_lose_fewer(n, least):
    study = study_of({"name": "kaplan-meier"}, privacy={"groups": 2})
    assert problems(study, n_sites=n) == {}
    assert quorum(study, n) == least
    assert type(guard_of(study, n)) is GroupGuard


@pytest.mark.parametrize("n", [3, 5, 6, 7, 9])
def test_two_halves_of_too_few_sites_are_refused(n):
    study = study_of({"name": "kaplan-meier"}, privacy={"groups": 2})
    assert f"{n} sites make {n // 2}" in problems(study, n_sites=n)["privacy.groups"]
    with pytest.raises(StudyError, match="groups = 2 needs halves"):
        quorum(study, n)


ENCRYPTED = {"method": "threshold-ckks"}


def test_threshold_encryption_needs_every_site_and_a_model_whose_sums_are_counts(monkeypatch):
    monkeypatch.setattr(terms, "missing", lambda: "")
    monkeypatch.setattr("cohortium.assembly.require_scheme", lambda: SimpleNamespace(n_values=1, shape=(1, 1)))
    study = study_of({"name": "kaplan-meier"}, privacy=ENCRYPTED)
    assert guard_of(study, 5).recipe is CKKS
    assert (quorum(study, 5), problems(study, n_sites=5)) == (5, {})
    said = problems(study_of(privacy=ENCRYPTED), n_sites=5)["privacy.method"]
    assert "model 'logistic' adds whole numbers of up to 2^55" in said
    assert said.endswith("set model.learn = \"weights\" where it has that, or method = 'masks'")
    assert problems(study_of({"name": "logistic", "learn": "weights"}, privacy=ENCRYPTED), n_sites=5) == {}


def test_threshold_encryption_that_is_not_here_is_refused_or_becomes_masks(monkeypatch):
    monkeypatch.setattr(terms, "missing", lambda: "openfhe is not installed")
    model = {"name": "kaplan-meier"}
    study = study_of(model, privacy=ENCRYPTED)
    assert "pip install 'cohortium[he]'" in problems(study, n_sites=5)["privacy.method"]
    with pytest.raises(StudyError, match="is not available here: openfhe is not installed"):
        guard_of(study, 5)
    instead = study_of(model, privacy={**ENCRYPTED, "fallback": "masks"})
    assert (problems(instead, n_sites=5), guard_of(instead, 5).recipe) == ({}, MASKED)
    assert quorum(instead, 5) == quorum(study_of(model), 5)


@pytest.mark.parametrize(("n", "least"), [(3, 3), (4, 3), (5, 3), (6, 4), (20, 11)])
def test_quorum_under_masks_is_at_least_three(n, least):
    assert quorum(study_of(), n) == quorum(study_of(privacy=MASKS), n) == least
    assert quorum(study_of(privacy=PLAINLY), n) == default_min_sites(n)
    assert quorum(study_of(strategy={"min_sites": 7}), 20) == 7
    assert quorum(study_of(), 2) == 2


PRIVATE = {"scale": "public", "fill": "none", "ranges": {"*": [0.0, 1.0]}}


def private(model=None, strategy=None, *, masks=False, cohort=PRIVATE, **dp):
    sections = {"privacy": {"secure_aggregation": masks, "dp": dp}, "cohort": cohort}
    return study_of(model, {"name": "auto", "rounds": 3, **(strategy or {})}, **sections)


def test_a_private_model_that_can_do_both_learns_by_noisy_steps():
    study = private()
    assert problems(study, n_sites=4) == {}
    program = build_program(study, LAYOUT, sites=["x", "y", "z"], chance=Chance(0))
    assert [stage.name for stage in program.stages] == ["public", "model"]
    assert program.position(program.start()) == (1, 0)
    assert program.learner.learns_by == "weights"
    (planned,) = program.planned_events()
    assert (planned.q, planned.count) == ("0.1", 30)
    assert program.events(program.start())[0].count == 10


@pytest.mark.slow
def test_shared_private_steps_are_one_round_each_and_need_their_noise():
    study = private(masks=True, mode="distributed", strategy={"sync_every": 4})
    assert problems(study, n_sites=5) == {}
    program = build_program(study, LAYOUT, sites=list("abcde"), chance=Chance(0))
    assert program.stages[-1].max_rounds == 12
    assert program.learner.learns_by == "sums"
    assert strategy_name(study, program.learner) == "shared-steps"
    assert strategy_name(study, build_learner(study)) == "fedavg"
    assert quorum(study, 5) == 4
    assert isinstance(build_guard(study, "a", n_sites=5, entropy=bytes), NoiseGuard)
    assert not isinstance(build_guard(private(masks=True), "a", n_sites=5, entropy=bytes), NoiseGuard)


@pytest.mark.parametrize(
    ("study", "key", "sentence"),
    [
        (private({"name": "cox"}), "model.name", "Cox's partial likelihood is no sum over patients"),
        (private({"name": "lasso-nature"}), "model.name", "'lasso-nature' has no clipped gradients"),
        (private({"name": "mlp"}, {"name": "qfedavg"}), "strategy.name", "merge 'qfedavg' asks for more than one"),
        (private({"name": "mlp"}, {"name": "ditto"}), "strategy.name", "merge 'ditto' asks for more than one"),
        (private({"name": "mlp"}, {"stop": {"patience": 2}}), "strategy.stop", "looks at patients without noise"),
        (private(cohort={"scale": "standard", "fill": "none"}), "cohort.scale", "reads patients without noise"),
        (private(cohort={"scale": "public", "fill": "mean"}), "cohort.fill", "reads patients without noise"),
        (private(mode="distributed"), "privacy.dp", "mode = 'distributed' needs masks"),
        (private(masks=True, mode="distributed", clip="quantile"), "privacy.dp.clip", "is for mode = 'local'"),
        (
            private(None, {"name": "fedadam"}, masks=True, mode="distributed"),
            "strategy.name",
            "merge 'fedadam' merges trainings",
        ),
        (private(masks=True, unit="site"), "privacy.dp.unit", "accept_site_level = true"),
        (private(unit="site", accept_site_level=True), "privacy.dp", "unit = 'site' needs masks"),
    ],
)
def test_what_cannot_be_private_is_refused_at_its_key(study, key, sentence):
    assert sentence in problems(study, n_sites=5)[key]


def test_columns_without_a_public_range_and_layers_that_mix_patients_are_refused_on_sight_of_the_columns():
    with pytest.raises(StudyError, match=r"cohort.ranges: no public range for column 'a', 'b'"):
        check_fit(private(cohort={"scale": "public", "fill": "none"}), LAYOUT)
    pytest.importorskip("torch", reason="torch is not installed")
    from torch import nn

    def made():
        return nn.Sequential(nn.Linear(2, 2), nn.BatchNorm1d(2), nn.Linear(2, 1))

    study = private({"name": "module", "factory": made})
    with pytest.raises(StudyError, match="BatchNorm1d"):
        check_fit(study, LAYOUT)


@pytest.mark.slow
def test_a_large_model_is_not_shared_step_by_step_unasked():
    pytest.importorskip("torch", reason="torch is not installed")
    wide = {"name": "mlp", "layers": [2000, 3000]}
    with pytest.raises(StudyError, match=r"a sum of 6,012,001 numbers would travel at every step"):
        build_program(private(wide, masks=True, mode="distributed"), LAYOUT, sites=list("abcd"), chance=Chance(0))
    allowed = private(wide, masks=True, mode="distributed", allow_large=True)
    assert build_program(allowed, LAYOUT, sites=list("abcd"), chance=Chance(0))


def test_hiding_a_site_needs_a_tiny_model_and_noise_in_every_sum():
    plan = {"unit": "site", "accept_site_level": True, "epsilon": 8.0}
    study = private({"name": "logistic"}, masks=True, **plan)
    assert problems(study, n_sites=20) == {}
    program = build_program(study, LAYOUT, sites=[f"s{i:02d}" for i in range(20)], chance=Chance(0))
    assert isinstance(program.stages[-1].release, SiteLevel)
    assert isinstance(build_guard(study, "s00", n_sites=20, entropy=bytes), NoiseGuard)
    following = private({"name": "logistic"}, masks=True, clip="quantile", **plan)
    assert problems(following, n_sites=20) == {}
    program = build_program(following, LAYOUT, sites=[f"s{i:02d}" for i in range(20)], chance=Chance(0))
    assert list(program.start().under("model/release")) == ["position"]
    wide = Layout(features=tuple(f"x{i}" for i in range(900)), outcome="binary", classes=("0", "1"))
    with pytest.raises(StudyError, match=r"times as long as the longest update \(901 parameters over 20 sites"):
        build_program(study, wide, sites=[f"s{i:02d}" for i in range(20)], chance=Chance(0))
    assert "sends more than that" in problems(private(None, {"name": "scaffold"}, masks=True, **plan))["strategy.name"]


def test_what_masks_rule_out_is_found_where_they_are_on_by_default_too():
    for privacy in ({}, MASKS):
        assert list(problems(study_of(privacy=privacy, swarm={"late": "carry"}))) == ["swarm.late"]
        assert list(problems(study_of(privacy=privacy, swarm={"late": "carry"}), n_sites=5)) == ["swarm.late"]
        assert "strategy.min_sites" in problems(study_of(privacy=privacy, strategy={"min_sites": 2}), n_sites=5)
    assert problems(study_of(swarm={"late": "carry"}), n_sites=2) == {}
    assert problems(study_of(privacy=PLAINLY, swarm={"late": "carry"}), n_sites=5) == {}
    assert "privacy.secure_aggregation" in problems(study_of(privacy=MASKS), n_sites=2)


@pytest.mark.parametrize("name", sorted(STRATEGIES))
def test_masks_go_with_every_strategy_that_sees_sums_and_with_no_other(name):
    made = STRATEGIES.resolve(name)()
    model = {"name": "logistic"} if made.learns_by == "sums" else {"name": "mlp", "optimiser": "sgd"}
    for privacy, how in ((MASKS, ""), ({}, " (on by default)")):
        found = problems(study_of(model, {"name": name}, privacy=privacy), n_sites=8)
        if made.sums:
            assert found == {}
        else:
            wanted = f"merge '{name}' needs single updates, but secure aggregation{how} reveals only their sum"
            assert wanted in found["strategy.name"]
            assert "say secure_aggregation = false under [privacy]" in found["strategy.name"]
    assert problems(study_of(model, {"name": name}, privacy=PLAINLY), n_sites=8) == {}


def test_a_robust_merge_among_too_few_sites_is_refused_by_its_own_sentence():
    plan = {"privacy": {"secure_aggregation": False}}
    krum = study_of({"name": "mlp"}, {"name": "krum", "f": 30}, **plan)
    said = problems(krum, n_sites=40)
    assert said == {"strategy.name": "merge 'krum' with f = 30 needs N >= 63 sites, got 40"}
    assert problems(krum, n_sites=63) == {}
    bulyan = study_of({"name": "mlp"}, {"name": "bulyan"}, **plan)
    assert problems(bulyan, n_sites=6) == {"strategy.name": "merge 'bulyan' with f = 1 needs N >= 7 sites, got 6"}


@pytest.mark.parametrize("name", ["norm-bound", "centred-clipping"])
def test_bounds_by_sums_work_under_masks_and_others_do_not(name):
    assert problems(study_of({"name": "mlp"}, {"name": name}), n_sites=5) == {}
    assert (
        "needs single updates"
        in problems(study_of({"name": "mlp"}, {"name": "multi-krum"}), n_sites=5)["strategy.name"]
    )
