"""The GAN in small: what it learns, what it repeats, what it refuses."""

import numpy as np
import pytest

pytest.importorskip("torch", reason="torch is not installed")

from cohortium.errors import DataError, UsageError
from cohortium.synth.exchange import fit_network
from cohortium.synth.generators import GENERATORS
from cohortium.synth.generators.ctgan import Ctgan
from cohortium.synth.validation.fidelity import classic_pair


@pytest.fixture(scope="module")
def made(world):
    generator = Ctgan(facts=world.facts, steps=30, warm_steps=10, hidden=32, noise=16)
    return generator, fit_network(generator, [world.training], rng=np.random.default_rng(0))


def test_the_registry_names_it():
    assert GENERATORS.resolve("ctgan") is Ctgan
    assert not Ctgan.closes


def test_marginals_hold_after_a_handful_of_steps(world, made):
    generator, state = made
    rows = generator.sample(state, len(world.training), rng=np.random.default_rng(1))
    for name in world.facts.names:
        real, drawn = world.training[name], rows[name]
        assert np.isnan(drawn).mean() == pytest.approx(np.isnan(real).mean(), abs=0.05)
        assert abs(np.nanmean(drawn) - np.nanmean(real)) < 0.2 * (np.nanstd(real) or 1.0), name
    assert generator.closing(state, state) is None
    assert not [name for name in state if "critic" in name]


@pytest.mark.slow
def test_it_learns_which_genes_go_together(world):
    generator = Ctgan(facts=world.facts, steps=1000, warm_steps=0)
    state = fit_network(generator, [world.training], rng=np.random.default_rng(0))
    rows = generator.sample(state, len(world.training), rng=np.random.default_rng(1))
    assert classic_pair(world.training, rows)[1] > 0.85  # with its columns shuffled the table reaches 0.63


def test_patients_can_be_judged_ten_at_once(world, made):
    _, state = made
    generator = Ctgan(facts=world.facts, steps=3, pac=10, dropout=0.5, hidden=32)
    weights = generator.begin(state.under("foundation"), rng=np.random.default_rng(0))
    assert weights["critic.0.weight"].shape[1] % 10 == 0
    done = generator.train(weights, state.under("foundation"), world.training, budget=3, rng=np.random.default_rng(0))
    assert np.isfinite(done.loss)


def test_the_same_stream_gives_the_same_bits(world, made):
    generator, state = made
    again = fit_network(generator, [world.training], rng=np.random.default_rng(0))
    other = fit_network(generator, [world.training], rng=np.random.default_rng(1))
    assert again.digest == state.digest != other.digest


def test_budget_moments_and_the_proximal_term(world, made):
    generator, state = made
    foundation = state.under("foundation")
    weights = generator.begin(foundation, rng=np.random.default_rng(0))
    few = world.training.take(np.arange(60))

    def train(**given):
        return generator.train(weights, foundation, few, rng=np.random.default_rng(1), **given)

    part = train(budget=15)
    assert part.steps == 15
    assert tuple(part.weights) == tuple(weights)
    assert int(train(budget=15, moments=part.moments).moments["generator.steps"][0]) == 30
    assert part.weights.digest == train(budget=15).weights.digest
    held = train(budget=15, proximal=1000.0)

    def away(trained):
        return sum(float(np.abs(trained.weights[name] - weights[name]).sum()) for name in weights)

    assert away(held) < 0.8 * away(part)


def test_nobody_and_the_unfinished_are_refused(world, made):
    generator, state = made
    weights = generator.begin(state.under("foundation"), rng=np.random.default_rng(0))
    with pytest.raises(DataError, match="no patient"):
        generator.train(weights, state.under("foundation"), world.training.take(np.zeros(0, dtype=int)),
                        budget=30, rng=np.random.default_rng(0))  # fmt: skip
    with pytest.raises(UsageError, match="not finished"):
        generator.sample(weights, 3, rng=np.random.default_rng(0))


@pytest.mark.parametrize(
    ("options", "said"),
    [({"pac": 10, "batch": 96}, "multiple of pac"), ({"steps": 0}, "steps must be"),
     ({"dropout": 1.0}, "dropout must be"),
     ({"learning_rate": 2}, "learning_rate must be"), ({"critic_rate": 0}, "critic_rate must be")],
)  # fmt: skip
def test_impossible_options_are_named(world, options, said):
    with pytest.raises(ValueError, match=said):
        Ctgan(facts=world.facts, **options)


def test_more_patients_at_all_sites_are_learned_in_more_steps():
    """2,500 steps up to 1,200 patients, in proportion from there on; what is drawn beforehand costs no more."""
    from cohortium.core.parameters import Parameters
    from cohortium.synth.facts import Fact, Facts

    generator = Ctgan(facts=Facts(columns=(Fact(name="f", kind="flag"),)))
    budgets = [generator.budget(Parameters({"n": np.array([n])})) for n in (30, 1200, 3600, 1 << 40)]
    assert [one.whole for one in budgets] == [2500, 2500, 7500, 25_000], "a liar may write any number of patients"
    assert {(one.warm, one.private_warm) for one in budgets} == {(500, 5000)}
