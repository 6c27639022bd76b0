"""`co.join`: four lines in the user's own loop, each misuse one clear sentence."""

import numpy as np
import pytest

import cohortium as co
from cohortium.core.parameters import Parameters
from cohortium.entry.loop import Round, loop_problems
from cohortium.entry.weights import weights_of
from cohortium.errors import StudyError, TrainingFailed, UsageError
from cohortium.strategies import STRATEGIES

OBEYED = {
    "bulyan", "centred-clipping", "coordinate-median", "fedadam", "fedavg", "fedavgm", "fedyogi", "geometric-median",
    "krum", "maximum", "mean", "minimum", "multi-krum", "norm-bound", "trimmed-mean",
}  # fmt: skip


@pytest.fixture
def model():
    return {"w": np.zeros(2)}


@pytest.fixture
def round(model):
    return Round(3, weights_of(model), weights_of(model).get(), needs_loss=False)


def rehearsed(function, study):
    """One site does this, another one an ordinary loop."""

    def other():
        held = {"w": np.zeros(2)}
        with co.join(study) as swarm:
            for round in swarm.rounds(held):
                round.share(n=1)

    return co.rehearse(study, sites={"bonn": function, "lund": other})


def test_outside_a_rehearsal_the_error_says_what_to_do(make_study):
    with pytest.raises(UsageError, match=r"co\.rehearse\(study, sites=") as caught:
        co.join(make_study())
    assert "later release" in caught.value.hint


@pytest.mark.parametrize("name", sorted(STRATEGIES))
def test_a_loop_joins_exactly_the_strategies_it_can_obey(make_study, name):
    if name == "exact-sums":
        with pytest.raises(StudyError, match="learns by weights, merge 'exact-sums' serves sums; choose 'fedavg'"):
            co.join(make_study(name=name))
        return
    problems = loop_problems(make_study(name=name))
    assert (problems == ()) == (name in OBEYED)
    if problems:
        assert "which an own loop cannot be given; choose 'fedavg'" in problems[0].message
        with pytest.raises(StudyError, match=f"merge '{name}' needs"):
            co.join(make_study(name=name))


def test_how_much_a_pass_trains_is_not_the_studys_business(make_study):
    assert "an agreed number of passes" in loop_problems(make_study(name="fedavg", local_epochs=3))[0].message
    assert "an agreed number of batches" in loop_problems(make_study(name="mean", sync_every=8))[0].message


def test_a_study_of_another_model_is_refused(make_study):
    with pytest.raises(StudyError, match="an own loop trains no 'logistic'; write 'own-loop'"):
        co.join(make_study(model="logistic"))


def test_a_study_that_is_not_rehearsed_is_refused(make_study):
    with pytest.raises(UsageError, match="study 'little' is not the one rehearsed"):
        rehearsed(lambda: co.join(make_study(rounds=9)), make_study())


def test_a_pass_without_share_names_its_round(make_study, model):
    study = make_study()

    def forgetful():
        with co.join(study) as swarm:
            for round in swarm.rounds(model):
                if round.number < 3:
                    round.share(n=5)

    with pytest.raises(UsageError, match=r"round 3 ended without round\.share") as caught:
        rehearsed(forgetful, study)
    assert "failed (bonn, train, error)" in caught.value.__notes__[0]


def test_a_second_share_and_a_late_one_are_refused(round):
    round.share(n=1)
    with pytest.raises(UsageError, match="round 3 was shared already"):
        round.share(n=1)
    round.taken()
    with pytest.raises(UsageError, match="round 3 was shared already"):
        round.share(n=1)


@pytest.mark.parametrize("n", [0, -4, 1.5, "7", None])
def test_the_number_of_rows_is_a_whole_number(round, n):
    with pytest.raises(UsageError, match="round 3: n must be a whole number of at least 1"):
        round.share(n=n)


def test_numpy_counts_and_losses_are_numbers_too(round):
    round.share(n=np.int64(6), loss=np.float32(0.5))
    assert (round.taken().n_samples, round.taken().loss) == (6, 0.5)


def test_what_is_shared_is_the_model_of_that_moment(round, model):
    model["w"] += 1
    round.share(n=2)
    model["w"] += 100
    assert round.taken().parameters == Parameters({"w": np.ones(2)})


def test_a_study_that_stops_early_needs_the_loss(model):
    round = Round(2, weights_of(model), weights_of(model).get(), needs_loss=True)
    with pytest.raises(UsageError, match=r"round 2: the study stops early by the loss; add loss"):
        round.share(n=1)


def test_weights_and_losses_that_are_not_finite_stay_here(round, model):
    with pytest.raises(TrainingFailed, match="round 3: the loss is nan") as caught:
        round.share(n=1, loss=float("nan"))
    assert caught.value.code == "not_finite"
    model["w"][0] = np.inf
    with pytest.raises(TrainingFailed, match="array 'w' holds 1 values that are not finite"):
        round.share(n=1)


def test_a_changed_shape_is_named(round, model):
    model["w"] = np.zeros(3)
    with pytest.raises(TrainingFailed, match="round 3: training changed the layout of array w") as caught:
        round.share(n=1)
    assert caught.value.code == "shape"


def test_going_through_the_rounds_twice_is_refused(make_study, model):
    study = make_study(rounds=2)

    def twice():
        with co.join(study) as swarm:
            assert (swarm.site, swarm.sites) == ("bonn", ("bonn", "lund"))
            for round in swarm.rounds(model):
                round.share(n=1)
            next(swarm.rounds(model))

    with pytest.raises(UsageError, match="site 'bonn' has gone through its rounds already") as caught:
        rehearsed(twice, study)
    assert caught.value.__notes__ == ["the run ended: complete"]


def test_joining_twice_is_refused(make_study, model):
    study = make_study(rounds=2)

    def twice():
        with co.join(study) as swarm:
            for round in swarm.rounds(model):
                round.share(n=1)
        co.join(study)

    with pytest.raises(UsageError, match="site 'bonn' has had its run already"):
        rehearsed(twice, study)
