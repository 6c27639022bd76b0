"""Stages fold into one state; every node recomputes it; private memory waits for the merge."""

from dataclasses import dataclass, field, replace
from itertools import permutations

import numpy as np
import pytest

from cohortium.core.examples import Examples, Layout
from cohortium.core.parameters import Parameters
from cohortium.core.private import PrivacyTerms
from cohortium.core.randomness import Chance
from cohortium.core.update import Fitted, Instructions, Update
from cohortium.errors import InvariantBroken, PeerError, TrainingFailed
from cohortium.strategies.exact_sums import ExactSums
from cohortium.strategies.fedavg import FedAvg
from cohortium.swarm.program import Program, SiteWork, Stage, Stop

LAYOUT = Layout(features=("a", "b"), outcome="number")


class Centre:
    """A preparation: subtract the mean over all sites (whole numbers, so sums are exact)."""

    learns_by = "sums"

    def initial(self, layout, *, rng):
        return Parameters({"mean": np.zeros(layout.n_features)})

    def fit(self, start, examples, *, instructions, rng):
        sums = Parameters({"sum": examples.x.sum(axis=0).astype(np.int64), "n": np.int64(len(examples))})
        return Fitted(parameters=sums, n_samples=len(examples))

    def advance(self, start, total):
        return Parameters({"mean": total["sum"] / total["n"]})

    def finished(self, parameters):
        return True

    def own(self, parameters, training):
        return Parameters()

    def apply(self, parameters, examples, *, own):
        return examples.with_x(examples.x - parameters["mean"], examples.layout)

    def layout(self, parameters, layout):
        return layout


@dataclass
class Walker:
    """A model by weights that steps to the mean of its rows; counts what it was asked."""

    learns_by = "weights"
    seen: list = field(default_factory=list)
    broken: bool = False

    def initial(self, layout, *, rng):
        return Parameters({"w": np.zeros(layout.n_features)})

    def fit(self, start, examples, *, instructions, rng):
        self.seen.append((examples.x.copy(), rng.integers(1 << 30)))
        y = np.full(2, np.nan) if self.broken else start["w"] + 0.5 * (examples.x.mean(axis=0) - start["w"])
        loss = float(((examples.x - start["w"]) ** 2).mean())
        return Fitted(parameters=Parameters({"w": y}), n_samples=len(examples), loss=loss)

    def finished(self, parameters):
        return False

    def predict(self, parameters, examples):
        return examples.x @ parameters["w"]


class Remembering(FedAvg):
    """fedavg that also remembers how often this site took part."""

    def conclude(self, turn, fitted):
        update = super().conclude(turn, fitted)
        times = float(turn.memory.get("times", np.zeros(()))) + 1
        return Update(
            site=update.site,
            parameters=update.parameters,
            weight=update.weight,
            memory=Parameters({"times": np.asarray(times)}),
        )


def rows(n, shift):
    return Examples(layout=LAYOUT, x=np.arange(2.0 * n).reshape(n, 2) + shift, y=np.zeros(n))


def program(*, rounds=3, strategy=None, stop=None, learner=None):
    stages = [
        Stage(name="centre", learner=Centre(), strategy=ExactSums(), max_rounds=1),
        Stage(name="model", learner=learner or Walker(), strategy=strategy or FedAvg(), max_rounds=rounds),
    ]
    return Program(stages, LAYOUT, sites=["bonn", "porto"], chance=Chance(1), stop=stop)


def works(made):
    return [SiteWork(made, site="bonn", training=rows(2, 0)), SiteWork(made, site="porto", training=rows(6, 10))]


def one_round(made, state, sites, round):
    updates = [work.train(round, state) for work in sites]
    merged = made.merge(state, updates)
    for work, update in zip(sites, updates, strict=True):
        work.adopt(round, merged, update)
    return merged


def test_the_first_round_prepares_and_the_next_sees_prepared_rows():
    made = program()
    sites = works(made)
    state = one_round(made, made.start(), sites, 1)
    pooled = np.concatenate([rows(2, 0).x, rows(6, 10).x])
    assert made.position(state) == (1, 0)
    assert np.array_equal(state["centre/model/mean"], pooled.mean(axis=0))
    assert np.array_equal(sites[1].examples(state).x, rows(6, 10).x - pooled.mean(axis=0))


def test_held_out_rows_are_centred_with_the_training_mean():
    made = program()
    sites = works(made)
    state = one_round(made, made.start(), sites, 1)
    assert np.array_equal(sites[0].view(state, rows(1, 5)).x, rows(1, 5).x - state["centre/model/mean"])


def test_a_program_ends_after_the_rounds_of_all_its_stages():
    made = program(rounds=2)
    sites, state = works(made), made.start()
    for round in range(1, made.max_rounds + 1):
        assert not made.finished(state)
        state = one_round(made, state, sites, round)
    assert made.max_rounds == 3
    assert made.finished(state)


def test_the_weighted_mean_of_two_sites_is_the_hand_calculation():
    made = program(rounds=1)
    sites = works(made)
    state = one_round(made, made.start(), sites, 1)
    state = one_round(made, state, sites, 2)
    # half a step towards the pooled mean of centred rows, which is zero
    assert np.allclose(made.model(state)["w"], 0, atol=1e-12)


def test_every_order_of_updates_gives_the_same_digest():
    made = program()
    state = one_round(made, made.start(), works(made), 1)
    updates = [work.train(2, state) for work in works(made)]
    assert len({made.merge(state, order).digest for order in permutations(updates)}) == 1


def test_a_random_stream_depends_on_site_and_round_only():
    made = program(learner=Walker())
    sites = works(made)
    state = one_round(made, made.start(), sites, 1)
    learner = made.learner
    sites[0].train(2, state), sites[1].train(2, state), sites[0].train(2, state), sites[0].train(3, state)
    draws = [draw for _, draw in learner.seen]
    assert draws[0] == draws[2]
    assert len({draws[0], draws[1], draws[3]}) == 3


def test_memory_advances_only_when_the_merge_lists_the_site():
    made = program(strategy=Remembering())
    sites = works(made)
    state = one_round(made, made.start(), sites, 1)
    listed, left_out = sites[0].train(2, state), sites[1].train(2, state)
    merged = made.merge(state, [listed])
    sites[0].adopt(2, merged, listed)
    sites[1].adopt(2, merged, None)
    assert float(sites[0].memory()["model/times"]) == 1
    assert "model/times" not in sites[1].memory()
    assert "model/times" in left_out.memory


def test_memory_survives_a_restart():
    made = program(strategy=Remembering())
    sites = works(made)
    state = one_round(made, made.start(), sites, 1)
    state = one_round(made, state, sites, 2)
    again = works(made)[0]
    again.restore(sites[0].memory())
    assert float(again.train(3, state).memory["model/times"]) == 2


def test_a_trained_value_that_is_not_finite_never_leaves():
    made = program(learner=Walker(broken=True))
    sites = works(made)
    state = one_round(made, made.start(), sites, 1)
    with pytest.raises(TrainingFailed, match="array 'w' of the update is not finite"):
        sites[0].train(2, state)


@pytest.mark.parametrize("error", [ValueError, IndexError, KeyError, ZeroDivisionError])
def test_a_state_of_a_lying_peer_is_a_failed_training_and_not_the_end_of_the_node(error):
    """Sums answer what peers merged. What trains weights may be the user's own code; its errors stay what they are."""

    def fail(self, start, examples, *, instructions, rng):
        raise error("index 7 is out of bounds")

    lied_to = type("LiedTo", (Centre,), {"fit": fail, "predict": Walker.predict})()
    poisoned = program(learner=lied_to, strategy=ExactSums())
    sites = works(poisoned)
    state = one_round(poisoned, poisoned.start(), sites, 1)
    with pytest.raises(TrainingFailed, match=rf"cannot be learned from \({error.__name__}\)$") as caught:
        sites[0].train(2, state)
    assert caught.value.code == "error"
    own = program(learner=type("Own", (Walker,), {"fit": fail})())
    sites = works(own)
    state = one_round(own, own.start(), sites, 1)
    with pytest.raises(error, match="out of bounds"):
        sites[0].train(2, state)


def test_early_stop_puts_the_best_model_back():
    class Worse(Walker):
        def fit(self, start, examples, *, instructions, rng):
            fitted = super().fit(start, examples, instructions=instructions, rng=rng)
            return Fitted(
                parameters=Parameters({"w": start["w"] + 1.0}), n_samples=fitted.n_samples, loss=float(start["w"].sum())
            )

    made = program(rounds=50, stop=Stop(patience=3), learner=Worse())
    sites, state, round = works(made), made.start(), 0
    while not made.finished(state):
        round += 1
        state = one_round(made, state, sites, round)
    assert round == 1 + 4  # preparation, the best round, three without gain
    assert made.model(state)["w"].tolist() == [0, 0]


def test_the_model_cannot_be_asked_for_before_its_stage():
    made = program()
    with pytest.raises(InvariantBroken, match="before its model stage"):
        made.model(made.start())


def test_a_program_without_stages_is_our_own_mistake():
    with pytest.raises(InvariantBroken):
        Program([], LAYOUT, sites=["a"], chance=Chance(0))


def test_no_instructions_mean_no_training():
    class Idle(FedAvg):
        def instruct(self, turn):
            return ()

        def conclude(self, turn, fitted):
            assert fitted == ()
            return Update(site=turn.site, parameters=Parameters({"w": np.zeros(2)}), weight=1)

    made = program(strategy=Idle())
    sites = works(made)
    state = one_round(made, made.start(), sites, 1)
    assert sites[0].instructions(1, state) == ()
    assert made.merge(state, [w.train(2, state) for w in sites])["model/model/w"].tolist() == [0, 0]
    assert isinstance(Instructions(), Instructions)


def terms(**changes):
    plain = {"epsilon": 3.0, "delta": 1e-5, "noise_multiplier": 2.0, "steps": 6, "steps_a_round": 2}
    return PrivacyTerms(**{**plain, "sample_rate": 0.1, **changes})


def private_program(*, prepared=False, **changes):
    learner = Walker()
    first = [Stage(name="centre", learner=Centre(), strategy=ExactSums(), max_rounds=1)] if prepared else []
    model = Stage(name="model", learner=learner, strategy=FedAvg(), max_rounds=3)
    return Program([*first, model], LAYOUT, sites=["a", "b"], chance=Chance(1), privacy=terms(**changes))


def test_a_private_run_tells_every_training_its_terms_and_a_secret_of_its_own():
    made = private_program()
    site, state = works(made)[0], made.start()
    (one,) = site.instructions(1, state)
    assert (one.private.steps, one.private.sample_rate, one.private.noise_multiplier) == (2, 0.1, 2.0)
    (two,) = site.instructions(2, state)
    assert one.private.entropy(16) != two.private.entropy(16)
    assert len(two.private.entropy(16)) == 16


def test_a_private_run_asks_nothing_about_patients_before_its_model():
    made = private_program(prepared=True)
    with pytest.raises(InvariantBroken, match="stage 'centre' asks about patients without noise"):
        works(made)[0].instructions(1, made.start())


def test_only_rounds_of_the_model_cost_anything():
    made = private_program(prepared=True)
    start = made.start()
    assert made.events(start) == ()
    (planned,) = made.planned_events()
    assert (planned.count, planned.sigma) == (6, "2.0")
    (event,) = private_program().events(private_program().start())
    assert event.count == 2
    assert program().planned_events() == ()


def test_a_preparation_that_asks_nobody_takes_no_round():
    public = Stage(name="public", learner=Centre(), strategy=ExactSums(), max_rounds=0)
    model = Stage(name="model", learner=Walker(), strategy=FedAvg(), max_rounds=3)
    made = Program([public, model], LAYOUT, sites=["a"], chance=Chance(1))
    assert made.position(made.start()) == (1, 0)
    assert made.max_rounds == 3


def test_a_moving_norm_is_remembered_by_its_site():
    class Moving(Walker):
        def fit(self, start, examples, *, instructions, rng):
            found = super().fit(start, examples, instructions=instructions, rng=rng)
            return replace(found, clipping_norm=instructions.private.clipping_norm * 2)

    model = Stage(name="model", learner=Moving(), strategy=FedAvg(), max_rounds=3)
    made = Program([model], LAYOUT, sites=["a", "b"], chance=Chance(1), privacy=terms(clip="quantile"))
    site, state = works(made)[0], made.start()
    update = site.train(1, state)
    site.adopt(1, made.merge(state, [update]), update)
    assert site.instructions(2, state)[0].private.clipping_norm == 2.0


class _Doubled:
    """Updates leave times what the sites agreed on, and are divided when their sum is read; doubled every round."""

    def init(self):
        return Parameters({"factor": np.array([2.0])})

    def site(self, update, state, *, entropy):
        assert len(entropy(8)) == 8
        return update.map(lambda array: array * state["factor"][0])

    def read(self, total, state, *, n_sites):
        assert n_sites == 2
        return total.map(lambda array: array / state["factor"][0]), state.map(lambda array: array * 2)


def test_a_release_changes_what_leaves_and_is_undone_on_the_sum_alone():
    def made(release):
        stage = Stage(name="model", learner=Walker(), strategy=FedAvg(weights="equal"), max_rounds=3, release=release)
        return Program([stage], LAYOUT, sites=["bonn", "porto"], chance=Chance(1))

    plain, hidden = made(None), made(_Doubled())
    updates = [work.train(1, hidden.start()) for work in works(hidden)]
    opened = [work.train(1, plain.start()) for work in works(plain)]
    assert np.array_equal(updates[0].parameters["w"], 2 * np.asarray(opened[0].parameters["w"]))
    assert {one.weight for one in updates} == {1}
    merged = hidden.merge(hidden.start(), updates)
    assert merged.without(["model/release/factor"]) == plain.merge(plain.start(), opened)
    assert float(hidden.release(merged)["factor"][0]) == 4.0
    again = [work.train(2, merged) for work in works(hidden)]
    assert float(hidden.release(hidden.merge(merged, again))["factor"][0]) == 8.0
    with pytest.raises(PeerError, match="carry weight 1"):
        hidden.merge(hidden.start(), [replace(updates[0], weight=3), updates[1]])


def test_an_update_that_is_not_finite_is_refused_before_it_is_made_whole_numbers():
    class Rounded(_Doubled):
        def site(self, update, state, *, entropy):
            return update.map(lambda array: np.zeros(array.shape, dtype=np.int64))

    class Broken(Walker):
        def fit(self, start, examples, *, instructions, rng):
            fitted = super().fit(start, examples, instructions=instructions, rng=rng)
            return replace(fitted, parameters=fitted.parameters.map(lambda array: array * np.nan))

    stage = Stage(name="model", learner=Broken(), strategy=FedAvg(weights="equal"), max_rounds=3, release=Rounded())
    program = Program([stage], LAYOUT, sites=["bonn", "porto"], chance=Chance(1))
    with pytest.raises(TrainingFailed, match="not finite after training") as caught:
        works(program)[0].train(1, program.start())
    assert caught.value.code == "not_finite"


def test_a_private_training_draws_dropout_that_nobody_else_knows():
    made = private_program()
    one, other = (works(made)[0].rng(1, 0).random() for _ in range(2))
    assert one != other
    seeded = private_program()
    seeded.chance = Chance(1, secrets_from_system=False)
    assert works(seeded)[0].rng(1, 0).random() == works(seeded)[0].rng(1, 0).random()
    assert works(seeded)[0].rng(1, 0).random() != works(seeded)[1].rng(1, 0).random()
    plain = program()
    assert works(plain)[0].rng(1, 0).random() == works(plain)[0].rng(1, 0).random()
