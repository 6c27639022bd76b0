"""The autoencoder in small: what it learns, what it repeats, what it refuses."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

pytest.importorskip("torch", reason="torch is not installed")

from cohortium.core.parameters import Parameters
from cohortium.errors import DataError, UsageError
from cohortium.synth.exchange import fit_by_sums, fit_network
from cohortium.synth.generators import GENERATORS
from cohortium.synth.generators.vae_bgm import Codes, VaeBgm
from cohortium.synth.rows import Rows
from cohortium.synth.validation.fidelity import classic_pair


@pytest.fixture(scope="module")
def made(world):
    generator = VaeBgm(facts=world.facts, epochs=150, warm_epochs=10, hidden=64)
    return generator, fit_network(generator, [world.training], rng=np.random.default_rng(0))


def test_the_registry_names_it():
    assert GENERATORS.resolve("vae_bgm") is VaeBgm
    assert VaeBgm.closes


def test_its_patients_are_like_the_real_ones(world, made):
    generator, state = made
    rows = generator.sample(state, len(world.training), rng=np.random.default_rng(1))
    csf, gsf = classic_pair(world.training, rows)
    assert csf > 0.93
    assert gsf > 0.82
    known = ~np.isnan(rows["complex"])
    assert np.corrcoef(rows["TP53"][known], rows["complex"][known])[0, 1] > 0.3


def test_untrained_it_has_the_marginals_and_nothing_else(world, made):
    _, state = made
    generator = VaeBgm(facts=world.facts, epochs=1, warm_epochs=0, hidden=64)
    weights = generator.begin(state.under("foundation"), rng=np.random.default_rng(0))
    closed = fit_by_sums(generator.closing(weights, state.under("foundation")), [world.training])
    empty = generator.assembled(state.under("foundation"), weights, closed)
    rows = generator.sample(empty, len(world.training), rng=np.random.default_rng(1))
    for name in ("TP53", "SF3B1", "died", "hb"):
        spread = np.nanstd(world.training[name])
        assert abs(np.nanmean(rows[name]) - np.nanmean(world.training[name])) < 0.15 * spread
    known = ~np.isnan(rows["complex"])
    assert abs(np.corrcoef(rows["TP53"][known], rows["complex"][known])[0, 1]) < 0.15


def test_the_same_stream_gives_the_same_bits(world):
    generator = VaeBgm(facts=world.facts, epochs=2, warm_epochs=1, hidden=16)
    few = world.training.take(np.arange(150))
    one, two = (fit_network(generator, [few], rng=np.random.default_rng(3)) for _ in range(2))
    other = fit_network(generator, [few], rng=np.random.default_rng(4))
    assert one.digest == two.digest != other.digest
    draws = [generator.sample(one, 20, rng=np.random.default_rng(5)).matrix() for _ in range(2)]
    np.testing.assert_array_equal(*draws)


@settings(max_examples=2, deadline=None)
@given(st.integers(1, 8), st.integers(0, 2**16))
def test_the_mixture_is_the_same_for_any_partition(world, made, n_sites, seed):
    generator, state = made
    learner = generator.closing(state.under("network"), state.under("foundation"))
    assert isinstance(learner, Codes)
    site = np.random.default_rng(seed).integers(0, n_sites, len(world.training))
    site[0] = n_sites
    parts = [world.training.take(site == k) for k in range(n_sites + 1)]
    assert fit_by_sums(learner, parts).digest == state.under("mixture").digest
    assert learner.max_rounds <= 20


def test_budget_and_moments_and_the_proximal_term(world, made):
    generator, state = made
    foundation, few = state.under("foundation"), world.training.take(np.arange(200))
    weights = state.under("network")

    def train(**given):
        return generator.train(weights, foundation, few, rng=np.random.default_rng(1), **given)

    part = train(budget=15)
    assert part.steps == 15 * 2
    on = train(budget=15, moments=part.moments)
    assert int(on.moments["steps"][0]) == 60
    assert on.weights.digest != part.weights.digest
    held = train(budget=15, proximal=100.0)

    def away(trained: Parameters):
        return sum(float(np.abs(trained[name] - weights[name]).sum()) for name in weights)

    assert away(held.weights) < 0.7 * away(part.weights)


def test_imputed_values_tell_of_the_hidden_ones_and_known_ones_stay(world, made):
    generator, state = made
    columns = {name: world.reserve[name].copy() for name in world.facts.names}
    hidden = np.random.default_rng(0).random(len(world.reserve)) < 0.3
    for name in ("complex", "hb"):
        columns[name][hidden] = np.nan
    tables = [
        generator.impute(state, Rows(world.facts, columns), rng=np.random.default_rng(seed)) for seed in range(6)
    ]  # fmt: skip
    for name in world.facts.names:
        assert not np.isnan(tables[0][name]).any()
        known = ~np.isnan(columns[name])
        np.testing.assert_array_equal(tables[0][name][known], columns[name][known])
    for name in ("complex", "hb"):
        judged = hidden & ~np.isnan(world.reserve[name])
        guess = np.mean([table[name][judged] for table in tables], axis=0)
        assert np.corrcoef(guess, world.reserve[name][judged])[0, 1] > (0.4 if name == "complex" else -0.1)
        assert np.std([table[name][judged] for table in tables], axis=0).mean() > 0.1  # one guess is not certain


def test_few_patients_can_be_asked_for_and_nobody_before_the_end(world, made):
    generator, state = made
    assert len(generator.sample(state, 3, rng=np.random.default_rng(0))) == 3
    with pytest.raises(UsageError, match="not finished"):
        generator.sample(state.under("foundation"), 3, rng=np.random.default_rng(0))
    with pytest.raises(DataError, match="no patient"):
        generator.train(state.under("network"), state.under("foundation"), world.training.take(np.zeros(0, dtype=int)),
                        budget=20, rng=np.random.default_rng(0))  # fmt: skip


@pytest.mark.parametrize(
    ("options", "said"),
    [({"epochs": 0}, "epochs must be"), ({"dropout": 1.0}, "dropout must be"), ({"beta": -1}, "beta must be"),
     ({"learning_rate": 0}, "learning_rate must be"), ({"hidden": 2.5}, "hidden must be")],
)  # fmt: skip
def test_impossible_options_are_named(world, options, said):
    with pytest.raises(ValueError, match=said):
        VaeBgm(facts=world.facts, **options)


def test_nobody_without_an_outcome_is_given_one(world, made):
    generator, state = made
    nobody = np.full(len(world.reserve), np.nan)
    rows = world.reserve.with_columns({"hb": nobody, "os_years": nobody, "died": nobody})
    filled = generator.impute(state, rows, rng=np.random.default_rng(0))
    assert np.isnan(filled["os_years"]).all()
    assert np.isnan(filled["died"]).all()
    assert not np.isnan(filled["hb"]).any()
