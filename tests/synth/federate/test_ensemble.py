import numpy as np
import pytest

from cohortium.core.parameters import Parameters
from cohortium.errors import DataError, TrainingFailed, UsageError
from cohortium.synth.exchange import fit_by_sums, fit_network
from cohortium.synth.federate.ensemble import Ensemble, SiteModels
from cohortium.synth.federate.gate import GateVerdict
from cohortium.synth.federate.mixture import opened
from cohortium.synth.federate.parcels import packed_state
from cohortium.synth.federate.plan import FederationPlan
from cohortium.synth.federate.rounded import is_count, rounded_counts
from cohortium.synth.generators.ctgan import Ctgan
from cohortium.synth.generators.gan_cells import GanCells

from .conftest import lenient, run

PLAN = FederationPlan()


@pytest.fixture(scope="module")
def mixture(world, sites):
    state, _ = run(Ensemble(plan=PLAN, judge=lenient), world.generator, sites)
    return Ensemble(plan=PLAN, judge=lenient).result(world.generator, state)


def test_models_that_passed_are_those_the_sites_learned_alone_but_for_rounded_counts(world, sites, mixture):
    assert mixture["ensemble/n"].tolist() == [480, 440]
    for place, site in enumerate(("a", "b")):
        alone = fit_by_sums(world.generator, [sites[site][0]])
        left = mixture.under(f"site/{place}")
        assert left.digest == rounded_counts(alone, min_cell=10).digest != alone.digest


def test_no_count_that_leaves_speaks_of_a_few_patients(world, sites, mixture):
    """The gate judges rows; what leaves is the model, and counts stand in it."""
    alone = fit_by_sums(world.generator, [sites["a"][0]])
    assert any(small(alone[name]) for name in alone if is_count(name))
    for place in (0, 1):
        left = mixture.under(f"site/{place}")
        assert not any(small(left[name]) for name in left if is_count(name))


def small(counts):
    return bool(((counts >= 1) & (counts <= 9)).any())


def test_patients_can_be_drawn_from_it(world, mixture):
    drawn = opened(world.generator, mixture).sample(mixture, 300, rng=np.random.default_rng(0))
    assert len(drawn) == 300
    assert drawn.facts is world.facts or drawn.facts == world.facts


def learner(world):
    return SiteModels(generator=world.generator, attack_risk_max=0.05)


def test_a_model_without_a_verdict_of_its_own_is_refused(world):
    parcel = packed_state(world.state)
    other = GateVerdict(subject=bytes(32), passed=True).seal()
    assert learner(world).refused(parcel | other) == "its verdict was given to another table"
    good = GateVerdict(subject=world.state.digest, passed=True).seal()
    assert learner(world).refused(parcel | good) == ""
    broken = Parameters({"phase": np.array([-1])})
    seal = GateVerdict(subject=broken.digest, passed=True).seal()
    assert learner(world).refused(packed_state(broken) | seal) == "its model cannot be drawn from"


@pytest.mark.parametrize("sizes", [[1 << 40, 50], [90, 1 << 62], [-1, 50], [90.0, 50.0], [90]])
def test_sizes_nobody_has_are_refused(world, sizes):
    assert learner(world).refused(Parameters({"sizes": np.array([90, 50])})) == ""
    assert learner(world).refused(Parameters({"sizes": np.array(sizes)}))


@pytest.mark.parametrize("error", [RuntimeError, AttributeError, DataError])
def test_a_model_that_cannot_be_drawn_from_names_its_site_whatever_goes_wrong(world, error):
    """A node that is stopped by a peer's model is what the peer wanted; torch raises RuntimeError."""

    class Broken(type(world.generator)):
        def sample(self, state, n, *, rng):
            raise error("mat1 and mat2 shapes cannot be multiplied")

    one = SiteModels(generator=Broken(facts=world.facts), attack_risk_max=0.05)
    seal = GateVerdict(subject=world.state.digest, passed=True).seal()
    assert one.refused(packed_state(world.state) | seal) == "its model cannot be drawn from"


def test_when_no_model_may_leave_the_run_says_so(world):
    one = learner(world)
    start = one.initial(None, rng=None)
    with pytest.raises(TrainingFailed, match="no site's model passed"):
        one.advance(start, Parameters({"0/sizes": np.array([0, 50])}))
    opened_state = one.advance(start, Parameters({"0/sizes": np.array([90, 50])}))
    empty = {"0/n": np.zeros(1, dtype=np.int64), "0/bytes": np.zeros(90, dtype=np.uint8)}
    with pytest.raises(TrainingFailed, match="no site's model passed"):
        one.advance(opened_state, Parameters(empty))
    with pytest.raises(UsageError):
        one.predict(start, None)


def test_a_model_of_a_site_that_said_no_size_is_left_out(world):
    one = learner(world)
    model = packed_state(world.state)
    opened_state = one.advance(
        one.initial(None, rng=None), Parameters({"0/sizes": np.array([len(model["bytes"]), 50])})
    )
    both = model.prefixed("0") | model.prefixed("2")
    assert one.advance(opened_state, both)["ensemble/n"].tolist() == [50]


def widths(generator, model):
    """Outputs that the foundation of a network asks for, and those it has."""
    from cohortium.synth.generators.gan_network import GanNetwork

    cells = GanCells.of(generator.foundation(), model.under("foundation"))
    return GanNetwork(cells, generator.noise, generator.hidden).width, len(model["network/generator.out.weight"])


def test_a_network_leaves_with_the_foundation_it_was_trained_on(sites):
    """Rounded counts have other modes than those before: rounded only at the end, a network had outputs too many."""
    pytest.importorskip("torch", reason="torch is not installed")
    rows, held = sites["b"]
    generator = Ctgan(facts=rows.facts, steps=3, warm_steps=2, hidden=8, noise=4)
    part = rows.take(np.random.default_rng(0).permutation(len(rows))[:340])
    alone = fit_by_sums(generator.foundation(), [part])
    exact, rounded = (GanCells.of(generator.foundation(), one) for one in (alone, rounded_counts(alone, min_cell=10)))
    assert exact.n_modes != rounded.n_modes, "the modes of these patients do not move: the test shows nothing"
    federation = Ensemble(plan=PLAN, judge=lenient)
    state, _ = run(federation, generator, {"a": (part, held)})
    model = federation.result(generator, state).under("site/0")
    asked, there = widths(generator, model)
    assert asked == there
    drawn = generator.sample(model, 500, rng=np.random.default_rng(0))
    for fact in rows.facts.columns:
        if fact.kind == "categorical":
            assert np.nanmax(drawn[fact.name]) < len(fact.levels), fact.name


def test_a_network_on_another_foundation_is_refused(sites):
    pytest.importorskip("torch", reason="torch is not installed")
    rows, _ = sites["b"]
    generator = Ctgan(facts=rows.facts, steps=3, warm_steps=2, hidden=8, noise=4)
    own = fit_network(generator, [rows], rng=np.random.default_rng(0))
    receiver = SiteModels(generator=generator, attack_risk_max=0.05)

    def said(model):
        return receiver.refused(packed_state(model) | GateVerdict(subject=model.digest, passed=True).seal())

    names = ("network/generator.out.weight", "network/generator.out.bias")
    out = {name: np.concatenate([own[name], own[name][-1:]]) for name in names}
    assert said(own) == ""
    assert said(own | Parameters(out)) == "its model cannot be drawn from"
