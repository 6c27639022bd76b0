from dataclasses import replace

import numpy as np
import pytest

torch = pytest.importorskip("torch", reason="torch is not installed")
pytest.importorskip("dp_accounting", reason="dp-accounting is not installed: pip install 'cohortium[dp]'")

from cohortium.core.parameters import Parameters  # noqa: E402
from cohortium.core.private import PrivacyTerms  # noqa: E402
from cohortium.core.randomness import Chance  # noqa: E402
from cohortium.core.spending import merged  # noqa: E402
from cohortium.core.update import Instructions  # noqa: E402
from cohortium.errors import PeerError, TrainingFailed, UsageError  # noqa: E402
from cohortium.privacy.dp.budget import Caps  # noqa: E402
from cohortium.privacy.dp.distributed import PATIENTS  # noqa: E402
from cohortium.privacy.dp.grid import Grid  # noqa: E402
from cohortium.privacy.dp.purse import Plan, Purse, version_of  # noqa: E402
from cohortium.privacy.dp.purse import Terms as PurseTerms  # noqa: E402
from cohortium.swarm.book import MemoryBook  # noqa: E402
from cohortium.swarm.program import Program  # noqa: E402
from cohortium.synth.facts import Facts  # noqa: E402
from cohortium.synth.federate import private_network  # noqa: E402
from cohortium.synth.federate.private_network import PrivateNetwork, finished_private, private_stages  # noqa: E402
from cohortium.synth.generators.ctgan import Ctgan  # noqa: E402
from cohortium.synth.generators.vae_bgm import VaeBgm  # noqa: E402
from cohortium.synth.rows import Rows  # noqa: E402

RANGES = {"age": (18, 100), "blasts": (0, 20), "hb": (2, 20), "ferritin": (1, 20000), "ecog": (0, 4),
          "os_years": (0, 12)}  # fmt: skip
TERMS = PrivacyTerms(epsilon=4.0, delta=1e-5, noise_multiplier=1e-3, steps=6, steps_a_round=1, sample_rate=0.5,
                     mode="distributed", n_sites=3, sums=(1e-3, 1e-3))  # fmt: skip


def ranged(training):
    """The rows at three sites, with agreed ranges."""
    columns = tuple(
        replace(c, low=RANGES[c.name][0], high=RANGES[c.name][1]) if c.is_number else c for c in training.facts.columns
    )
    facts = Facts(columns=columns)
    held = {c.name: np.clip(training[c.name], c.low, c.high) if c.is_number else training[c.name]
            for c in columns}  # fmt: skip
    whole = Rows(facts, held)
    return [whole.take(np.arange(k, len(whole), 3)) for k in range(3)]


@pytest.fixture(scope="module")
def sites(world):
    return ranged(world.training)


@pytest.fixture(scope="module")
def learner(sites):
    patch = pytest.MonkeyPatch()
    patch.setattr(private_network, "LEAST_DRAWN", 1500)
    generator = VaeBgm(facts=sites[0].facts, hidden=16, latent=4, warm_epochs=2, private_steps=6)
    yield PrivateNetwork(generator=generator, terms=TERMS)
    patch.undo()


def exchange(learner, state, sites, *, at, terms=TERMS):
    """The next state; the answers."""
    asked = terms.asked(at, clipping_norm=1.0, entropy=np.random.default_rng(at).bytes)
    rng = np.random.default_rng(5)
    answers = [learner.answer(state, rows, np.arange(len(rows)), steps=asked, rng=rng)[0] for rows in sites]
    total = {name: sum(np.asarray(one[name]) for one in answers) for name in answers[0]}
    return learner.advance(state, Parameters(total)), answers


@pytest.fixture(scope="module")
def founded(learner, sites):
    state = learner.initial(None, rng=np.random.default_rng(0))
    for at in range(2):
        assert "foundation/n" not in state
        state, _ = exchange(learner, state, sites, at=at)
    return state


def test_what_stands_before_the_training_is_of_noisy_sums_and_the_way_is_still_zero(founded, learner, sites):
    assert int(founded["trained"][0]) == 0
    assert not any(array.any() for array in founded.under("way").values())
    assert not any(name.startswith(("sums/cells/rows",)) for name in founded)
    again = learner.advance(*_last_sums(learner, sites))
    assert again.digest == founded.digest  # every node repeats it
    assert learner.max_rounds == 2 + 6


def _last_sums(learner, sites):
    state = learner.initial(None, rng=np.random.default_rng(0))
    state, _ = exchange(learner, state, sites, at=0)
    asked = TERMS.asked(1, clipping_norm=1.0, entropy=np.random.default_rng(1).bytes)
    answers = [learner.answer(state, rows, np.arange(len(rows)), steps=asked, rng=None)[0] for rows in sites]
    return state, Parameters({n: sum(np.asarray(one[n]) for one in answers) for n in answers[0]})


def test_a_patient_more_moves_a_step_by_no_more_than_the_sensitivity(founded, learner, sites):
    asked = TERMS.asked(2, clipping_norm=1.0, entropy=lambda n: bytes(n))
    every = replace(asked, sample_rate=1.0)
    size = sum(array.size for array in founded.under("way").values())
    quiet = replace(learner.generator, dropout=0.0)
    still = PrivateNetwork(generator=quiet, terms=TERMS, warmed=learner.warmed)

    class Mean:
        def standard_normal(self, shape, dtype):
            return np.zeros(shape, dtype)

    def told(rows):
        sums, _ = still.answer(founded, rows, np.arange(len(rows)), steps=every, rng=Mean())
        return np.concatenate(
            [np.asarray(array, dtype=np.float64).ravel() for n, array in sums.items() if n != PATIENTS]
        )

    moved = np.sqrt(((told(sites[0].take(np.arange(31))) - told(sites[0].take(np.arange(30)))) ** 2).sum())
    grid = Grid(n=size, norm=1.0)
    assert 0.5 * grid.units < moved <= grid.sensitivity


def test_a_step_of_all_goes_where_the_clipped_gradients_point(founded, learner, sites):
    state, answers = exchange(learner, founded, sites, at=2)
    assert int(state["trained"][0]) == 1
    assert all(array.dtype.kind == "i" for one in answers for array in one.values())
    assert [int(one[PATIENTS][0]) for one in answers] == [len(rows) - len(rows) % 10 for rows in sites]
    way = np.concatenate([array.ravel() for array in state.under("way").values()])
    rate = learner.generator.private_rate
    assert 0.5 * rate < np.median(np.abs(way[way != 0])) <= 1.01 * rate  # the first step of Adam
    assert not learner.finished(state)


def test_sites_train_by_themselves_in_mode_local_and_their_ways_are_averaged(founded, learner, sites):
    terms = replace(TERMS, mode="local", steps_a_round=3)
    local = PrivateNetwork(generator=learner.generator, terms=terms, warmed=learner.warmed)
    start = founded.without([n for n in founded if n.startswith("moment.")])
    state, answers = exchange(local, start, sites, at=2, terms=terms)
    n = [int(one[PATIENTS][0]) for one in answers]
    for name, way in state.under("way").items():
        mean = sum(np.asarray(one[f"way/{name}"], dtype=np.float64) for one in answers) / sum(n) / 2.0**24
        np.testing.assert_allclose(way, mean)
    assert local.max_rounds == 2 + 2
    state, _ = exchange(local, state, sites, at=3, terms=terms)
    assert local.finished(state)
    made = finished_private(local.generator, terms, state)
    assert local.generator.finished(made)
    assert made["n"] == state["sums/n"]
    drawn = local.generator.sample(made, 200, rng=np.random.default_rng(0))
    assert abs(np.nanmean(drawn["age"]) - np.nanmean(sites[0]["age"])) < 6
    liar = Parameters({**{f"way/{n}": np.zeros(a.shape, np.int64) for n, a in start.under("way").items()},
                       PATIENTS: np.zeros(1, np.int64)})  # fmt: skip
    with pytest.raises(PeerError, match="expected at least 1"):
        local.advance(start, liar)


def test_without_terms_nothing_leaves(learner, founded):
    with pytest.raises(UsageError, match="learns with noise only"):
        learner.fit(founded, None, instructions=Instructions(), rng=None)


def in_variances(events, *, delta):
    """How much noise there is, summed as Gaussians would be: no accountant, but it grows with every event."""
    del delta
    return sum(event.count * float(event.q or 1) ** 2 / float(event.sigma) ** 2 for event in events)


def test_the_programs_events_follow_the_exchange_and_a_purse_stops_the_step_it_cannot_pay(learner):
    terms = replace(TERMS, sums=(2.0, 1.0), noise_multiplier=0.5)  # 0.25, 1, then 1 a step
    program = Program(private_stages(learner.generator, terms), None, sites=["a", "b", "c"], chance=Chance(0),
                      privacy=terms)  # fmt: skip
    states = [program.start() | Parameters({"clock": np.array([0, at], dtype=np.int64)}) for at in range(8)]
    kinds = [[event.type for event in program.events(state)] for state in states]
    assert kinds == [["gaussian"]] * 2 + [["poisson-gaussian"]] * 6
    assert merged(e for state in states for e in program.events(state)) == merged(program.planned_events())
    book = MemoryBook()
    version, _ = version_of(book, commitment=b"t", patients=None, entropy=lambda n: bytes(n))
    purse = Purse(
        book, version=version, compose=in_variances,
        terms=PurseTerms(site="a", run="s", consortium="c0", accountant="x", code="y", clip="1"),
        caps=Caps(total=3.5, run=3.5, when_short="stop"),
        plan=Plan(whole=program.planned_events(), training=program.events),
    )  # fmt: skip
    assert purse.admit(1) == ""
    for round, state in enumerate(states[:4], start=1):
        (record, *_) = purse.reserve(1, round, state)
        assert record.events == program.events(state)
        purse.settle(1, round)
    with pytest.raises(TrainingFailed, match="round 5 is not trained") as failed:
        purse.reserve(1, 5, states[4])
    assert failed.value.code == "budget"
    assert purse.spent_micro(1) == 3_250_000


def test_a_liar_makes_nobody_draw_more_patients_than_a_limit(learner, sites, monkeypatch):
    monkeypatch.setattr(private_network, "MOST_DRAWN", 1600)
    _, total = _last_sums(learner, sites)
    first = learner.initial(None, rng=np.random.default_rng(0))
    asked = TERMS.asked(0, clipping_norm=1.0, entropy=np.random.default_rng(0).bytes)
    cells = learner.answer(first, sites[0], np.arange(len(sites[0])), steps=asked, rng=None)[0]
    huge = Parameters({n: np.asarray(a) + np.int64(1 << 55) for n, a in cells.items()})
    spoilt = learner.advance(first, huge)
    assert spoilt["sums/n"][0] > 1e9
    state = learner.advance(spoilt, total)
    assert int(state["foundation/n"][0]) == 1600


@pytest.fixture(scope="module")
def gan(sites):
    """A GAN, after its noisy sums."""
    patch = pytest.MonkeyPatch()
    patch.setattr(private_network, "LEAST_DRAWN", 1500)
    generator = Ctgan(
        facts=sites[0].facts, hidden=16, critic_hidden=16, noise=8, private_warm_steps=20, private_steps=6
    )
    learner = PrivateNetwork(generator=generator, terms=TERMS)
    state = learner.initial(None, rng=np.random.default_rng(0))
    for at in range(2):
        state, _ = exchange(learner, state, sites, at=at)
    yield learner, state
    patch.undo()


def test_a_gans_patients_are_in_noisy_sums_of_its_critic_alone(gan, sites):
    learner, founded = gan
    state, answers = exchange(learner, founded, sites, at=2)
    critic = {name for name in founded.under("way") if name.startswith("critic.")}
    whole = set(founded.under("way"))
    assert critic < whole
    for one in answers:
        assert set(one.under("sum")) == critic
        assert set(one.under("public")) == whole
        assert all(array.dtype.kind == "i" for array in one.values())
    n = [int(one[PATIENTS][0]) for one in answers]
    name = "generator.out.bias"
    mean = sum(np.asarray(one[f"public/{name}"], dtype=np.float64) for one in answers) / sum(n) / 2.0**24
    np.testing.assert_allclose(state[f"moment.0/{name}"], 0.5 * mean, rtol=1e-9)  # nothing else moves the generator
    assert state["way/generator.out.bias"].any()
    assert state["way/critic.0.weight"].any()


def test_a_patient_more_moves_what_a_gans_site_sends_by_no_more_than_the_sensitivity(gan, sites):
    learner, founded = gan
    asked = TERMS.asked(2, clipping_norm=1.0, entropy=lambda n: bytes(n))
    every = replace(asked, sample_rate=1.0)
    size = sum(array.size for name, array in founded.under("way").items() if name.startswith("critic."))

    class Fixed:
        """Chance that is the same for a patient in any company."""

        def integers(self, low, high, n):
            return np.full(n, (low + high) // 2)

        def random(self, shape, dtype=np.float64):
            return np.full(shape, 0.5, dtype)

        def standard_normal(self, shape, dtype):
            return np.zeros(shape, dtype)

        standard_exponential = standard_normal

    def told(rows, norm):
        steps = replace(every, clipping_norm=norm)
        answer, _ = learner.answer(founded, rows, np.arange(len(rows)), steps=steps, rng=Fixed())
        flat = {label: np.concatenate([np.asarray(a, np.float64).ravel() for a in answer.under(label).values()])
                for label in ("sum", "public")}  # fmt: skip
        return flat, answer

    norm = 0.05
    (more, _), (fewer, _) = (told(sites[0].take(np.arange(k)), norm) for k in (39, 38))
    grid = Grid(n=size, norm=norm)
    assert 0.5 * grid.sensitivity < np.linalg.norm(more["sum"] - fewer["sum"]) <= grid.sensitivity
    assert np.array_equal(more["public"], fewer["public"])  # 39 and 38 are both told as 30
    assert np.linalg.norm(told(sites[0].take(np.arange(39)), 2 * norm)[0]["sum"] / Grid(n=size, norm=2 * norm).units
                          - told(sites[0].take(np.arange(38)), 2 * norm)[0]["sum"] / Grid(n=size, norm=2 * norm).units
                          ) > 1.5 * grid.sensitivity / grid.units  # fmt: skip


def test_a_gan_trains_at_the_sites_in_mode_local_and_only_its_generator_is_left(gan, sites):
    learner, founded = gan
    terms = replace(TERMS, mode="local", steps_a_round=6)
    local = PrivateNetwork(generator=learner.generator, terms=terms, warmed=learner.warmed)
    start = founded.without([n for n in founded if n.startswith("moment.")])
    state, answers = exchange(local, start, sites, at=2, terms=terms)
    assert local.finished(state)
    assert {n for n in answers[0] if n != PATIENTS} == {f"way/{n}" for n in founded.under("way")}
    made = finished_private(local.generator, terms, state)
    assert local.generator.finished(made)
    assert not [name for name in made if "critic" in name]
    assert len(local.generator.sample(made, 20, rng=np.random.default_rng(0))) == 20
