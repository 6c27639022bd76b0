"""From study to terms: calibrated noise, advice that fits the sites, refusals that need numbers."""

import pytest

pytest.importorskip("dp_accounting", reason="dp-accounting is not installed: pip install 'cohortium[dp]'")

from cohortium.core.study import Study
from cohortium.errors import StudyError
from cohortium.privacy.dp.accounting import epsilon
from cohortium.privacy.dp.terms import (
    FOUNDATION_SHARE,
    advice,
    check_delta,
    check_size,
    delta_limit,
    generator_refusals,
    refusals,
    sentences,
    terms_of,
)


def study(*, rounds=10, masks=True, strategy=None, **dp):
    return Study.model_validate(
        {
            "study": {"name": "s", "outcome": "y"},
            "cohort": {"scale": "public", "fill": "none"},
            "model": {"name": "logistic"},
            "strategy": {"rounds": rounds, **(strategy or {})},
            "privacy": {"secure_aggregation": masks, "dp": dp},
        }
    )


def test_no_dp_no_terms():
    plain = Study.model_validate({"study": {"name": "s", "outcome": "y"}, "model": {"name": "logistic"}})
    assert terms_of(plain, n_sites=4) is None
    assert refusals(plain, n_sites=4, can_train=True, strategy="fedavg") == []
    assert advice(plain, {"a": 10}, terms=None) == ()


@pytest.mark.parametrize(("mode", "rounds"), [("local", 30), ("distributed", 1)])
def test_the_whole_run_costs_what_was_agreed_and_not_less_than_a_thousandth_below(mode, rounds):
    terms = terms_of(study(rounds=30, mode=mode, strategy={"sync_every": 10}), n_sites=10)
    assert terms.steps == 300
    assert terms.steps * rounds == 300 * rounds
    spent = epsilon(terms.planned(), delta=terms.delta)
    assert 0.999 * 3.0 < spent <= 3.0


def test_against_outsiders_less_is_lost_and_against_all_others_more():
    terms = terms_of(study(rounds=30, mode="distributed", strategy={"sync_every": 10}), n_sites=10)
    outside, within, alone = (
        epsilon(terms.planned(against=party), delta=1e-5) for party in ("outsiders", "colluders", "alone")
    )
    assert outside < within <= 3.0 < alone


@pytest.mark.slow
def test_a_round_is_as_many_batches_as_the_strategy_says_or_shows_everybody_once():
    assert terms_of(study(strategy={"sync_every": 7}), n_sites=4).steps_a_round == 7
    assert terms_of(study(), n_sites=4).steps_a_round == 10
    assert terms_of(study(sample_rate=0.3, strategy={"local_epochs": 2}), n_sites=4).steps_a_round == 8


@pytest.mark.slow
def test_hiding_a_site_is_bound_by_the_length_of_its_noise():
    terms = terms_of(study(unit="site", epsilon=8.0, delta=1e-3, accept_site_level=True), n_sites=20)
    assert terms.sample_rate == 1.0
    assert terms.steps == 10
    check_size(terms, None, n_parameters=10)
    with pytest.raises(StudyError, match=r"times as long as the longest update \(10000 parameters over 20 sites"):
        check_size(terms, None, n_parameters=10_000)


def test_a_norm_that_follows_the_sites_costs_no_more_epsilon_and_is_warned_of():
    plan = {"unit": "site", "epsilon": 8.0, "delta": 1e-3, "accept_site_level": True}
    fixed, following = (terms_of(study(clip=clip, **plan), n_sites=20) for clip in ("fixed", "quantile"))
    assert len(following.planned()) == 2
    assert 0.999 * 8.0 < epsilon(following.planned(), delta=1e-3) <= 8.0
    assert following.noise_multiplier == pytest.approx(fixed.noise_multiplier, rel=1e-3)
    one = study(clip="quantile", **plan)
    said = advice(one, dict.fromkeys("abcd", 400), terms=following)
    assert any("told with noise of" in line and "only wanders" in line for line in said)
    assert refusals(one, n_sites=20, can_train=False, strategy="fedavg") == []


def test_a_single_trainer_shares_nothing():
    terms = terms_of(study(mode="distributed"), n_sites=1)
    assert terms.own_multiplier == terms.noise_multiplier
    check_size(terms, None, n_parameters=10**9)


@pytest.mark.parametrize(("n", "limit"), [(100, 1e-5), (10_000, 1e-5), (50_000, 2e-6)])
def test_delta_is_small_against_one_patient(n, limit):
    assert delta_limit(n) == pytest.approx(limit)


@pytest.mark.slow
@pytest.mark.parametrize(
    ("changes", "sizes", "sentence"),
    [
        ({"epsilon": 9.0}, 400, "epsilon 9: somebody who gave even odds"),
        ({}, 60, "a median of 60 patients a site, epsilon 3: mode = 'distributed' needs less noise"),
        ({"epsilon": 1.0}, 400, "a median of 400 patients a site, epsilon 1: mode = 'distributed' needs less noise"),
        ({}, 400, "a median of 400 patients a site, epsilon 3: mode = 'local' fits"),
        ({"mode": "distributed"}, 60, "mode = 'distributed' fits"),
        ({"mode": "distributed"}, 400, "mode = 'local' loses little with so many, and opens one update a round"),
        ({"sample_rate": 0.01}, 50, "draws fewer than one patient a step"),
        ({"unit": "site", "accept_site_level": True}, 400, "one hospital among 4 is hidden"),
    ],
)
def test_what_is_unwise_is_said(changes, sizes, sentence):
    one = study(**changes)
    said = advice(one, dict.fromkeys("abcd", sizes), terms=terms_of(one, n_sites=4))
    assert any(sentence in line for line in said)


def test_delta_is_bound_to_the_size_of_each_site():
    check_delta(study(), n_patients=10_000)
    with pytest.raises(StudyError, match="delta 1e-05 is too large for a site of 20000 patients; at most"):
        check_delta(study(), n_patients=20_000)
    (problem,) = refusals(study(delta=1e-3), n_sites=4, can_train=True, strategy="fedavg")
    assert problem.key == "privacy.dp.delta"


def test_delta_of_an_audit_is_bound_to_the_size_of_each_site_as_well():
    audited = Study.model_validate(
        {
            "study": {"name": "s", "outcome": "y"},
            "model": {"name": "logistic"},
            "quality": {"detector": "out-of-bag", "dp": {"epsilon": 1.0}},
        }
    )
    check_delta(audited, n_patients=10_000)
    with pytest.raises(StudyError, match=r"quality\.dp\.delta: delta 1e-05 is too large for a site of 20000 patients"):
        check_delta(audited, n_patients=20_000)


def test_a_simulated_epsilon_is_called_simulated():
    terms = terms_of(study(), n_sites=4)
    simulated, real = (" ".join(sentences(terms, simulated=one)) for one in (True, False))
    assert "simulated differential privacy, no guarantee for anybody: epsilon 3" in simulated
    assert "simulated" not in real
    assert "noise from the operating system" in real
    assert "held-out patients carry no noise" in real


def test_nothing_is_said_against_a_sensible_run():
    one = study()
    (said,) = advice(one, dict.fromkeys("abcd", 400), terms=terms_of(one, n_sites=4))
    assert said == "a median of 400 patients a site, epsilon 3: mode = 'local' fits"


def test_more_steps_than_can_be_accounted_for_are_refused_at_once():
    with pytest.raises(StudyError, match="1000000 noisy steps; at most 200000"):
        terms_of(study(rounds=100_000, sample_rate=0.1), n_sites=5)
    assert terms_of(study(rounds=10, sample_rate=0.1), n_sites=5).steps == 100


def _generator(name, **dp):
    content = {
        "study": {"name": "s", "outcome": {"time": "t", "event": "e", "unit": "d"}},
        "synth": {"generator": name},
        "privacy": {"secure_aggregation": True, **({"dp": dp} if dp else {})},
    }
    return Study.model_validate(content)


def test_a_noisy_generator_books_each_exchange_as_what_it_is():
    terms = terms_of(_generator("marginal_dp", epsilon=4.0, mode="distributed"), n_sites=5)
    first, second = terms.sums
    assert (terms.steps, terms.sample_rate) == (0, 1.0)
    assert second == pytest.approx(first / 3**0.5)
    assert 3.99 < epsilon(terms.planned(), delta=terms.delta) <= 4.0
    assert terms.planned() == (*terms.of_exchange(0), *terms.of_exchange(1)) == terms.of_first(2)


@pytest.mark.parametrize("name", [pytest.param("vae_bgm", marks=pytest.mark.slow), "ctgan"])
@pytest.mark.parametrize("mode", ["local", "distributed"])
def test_a_network_books_its_sums_and_then_its_steps(mode, name):
    study = _generator(name, epsilon=4.0, mode=mode)
    study = study.with_plans(synth=study.synth.model_copy(update={"rounds": 4, "options": {"private_steps": 10}}))
    terms = terms_of(study, n_sites=5)
    assert (terms.steps, terms.steps_a_round) == ((12, 3) if mode == "local" else (10, 1))
    assert [event.type for event in terms.planned()] == ["gaussian", "gaussian", "poisson-gaussian"]
    assert 3.99 < epsilon(terms.planned(), delta=terms.delta) <= 4.0
    assert epsilon(terms.of_first(2), delta=terms.delta) == pytest.approx(FOUNDATION_SHARE * 4.0, abs=0.01)
    assert terms.of_exchange(2)[0].count == terms.steps_a_round
    exchanges = 2 + terms.steps // terms.steps_a_round
    assert epsilon(terms.of_first(exchanges), delta=terms.delta) == epsilon(terms.planned(), delta=terms.delta)
    assert terms.asked(0, clipping_norm=9.0, entropy=bytes).sample_rate == 1.0
    asked = terms.asked(2, clipping_norm=9.0, entropy=bytes)
    assert (asked.sample_rate, asked.steps, asked.clipping_norm) == (0.1, terms.steps_a_round, 9.0)
    assert asked.noise_multiplier == terms.own_multiplier


@pytest.mark.slow
def test_a_study_that_takes_a_network_for_its_private_generator_is_told_of_the_better_one():
    for name, told in (("vae_bgm", True), ("ctgan", True), ("marginal_dp", False)):
        one = _generator(name, epsilon=4.0, mode="distributed")
        said = advice(one, dict.fromkeys("abcd", 400), terms=terms_of(one, n_sites=4))
        assert any("choose 'marginal_dp'" in sentence for sentence in said) == told


@pytest.mark.parametrize(
    ("name", "dp", "sentence"),
    [
        ("marginal_dp", {}, "learns with noise only"),
        ("bn", {"epsilon": 3.0}, "adds no noise"),
        ("marginal_dp", {"unit": "site", "accept_site_level": True}, "for patients"),
        ("marginal_dp", {"delta": 1e-4}, "at most 1e-05"),
        ("copula", {"epsilon": 3.0}, "choose 'marginal_dp', 'vae_bgm' or 'ctgan'"),
    ],
)
def test_generators_that_cannot_keep_the_promise_are_refused(name, dp, sentence):
    found = generator_refusals(_generator(name, **dp), n_sites=5)
    assert any(sentence in one.message for one in found)
    assert generator_refusals(_generator("marginal_dp", epsilon=3.0), n_sites=5) == []
