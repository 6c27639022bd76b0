"""The learner that only hands weights to the site's own loop."""

import numpy as np
import pytest

from cohortium.core.examples import Examples, Layout
from cohortium.core.parameters import Parameters
from cohortium.core.update import Fitted, Instructions
from cohortium.errors import InvariantBroken, StudyError
from cohortium.models.own_loop import OwnLoop, beyond_a_loop

LAYOUT = Layout(features=(), outcome="number")
NO_ROWS = Examples(layout=LAYOUT, x=np.zeros((0, 0)))
RNG = np.random.default_rng(0)
START = Parameters({"w": np.arange(3.0)})


def doubled(start):
    return Fitted(parameters=start.map(lambda array: array * 2), n_samples=7, loss=0.5)


def fit(instructions, learner=None):
    return (learner or OwnLoop(start=START, train=doubled)).fit(START, NO_ROWS, instructions=instructions, rng=RNG)


def test_first_weights_are_those_of_the_loop():
    assert OwnLoop(start=START, train=doubled).initial(LAYOUT, rng=RNG) == START


def test_a_training_is_one_pass_of_the_loop():
    assert fit(Instructions()).parameters == Parameters({"w": np.array([0.0, 2.0, 4.0])})


def test_no_step_asked_leaves_the_loop_alone():
    def never(start):
        raise AssertionError

    done = fit(Instructions(max_steps=0), OwnLoop(start=START, train=never))
    assert (done.parameters, done.steps) == (START, 0)


@pytest.mark.parametrize(
    ("asked", "words"),
    [
        (Instructions(proximal=0.1), "a proximal term"),
        (Instructions(correction=START), "a correction of every gradient"),
        (Instructions(plain_sgd=True), "plain SGD"),
        (Instructions(learning_rate_factor=0.5), "another learning rate"),
        (Instructions(frozen=("w",)), "frozen arrays"),
        (Instructions(max_steps=8), "an agreed number of batches"),
        (Instructions(local_epochs=2), "an agreed number of passes"),
    ],
)
def test_what_a_loop_cannot_do_is_refused_by_name(asked, words):
    assert beyond_a_loop(asked).startswith(words)
    with pytest.raises(StudyError, match=words):
        fit(asked)


def test_one_ordinary_training_is_all_a_loop_can_do():
    assert beyond_a_loop(Instructions()) == beyond_a_loop(Instructions(max_steps=0)) == ""


def test_without_a_loop_there_are_no_weights_no_training_and_no_prediction():
    bare = OwnLoop()
    for call in (
        lambda: bare.initial(LAYOUT, rng=RNG),
        lambda: fit(Instructions(), bare),
        lambda: bare.predict(START, NO_ROWS),
    ):
        with pytest.raises(StudyError, match=r"co\.rehearse"):
            call()


def test_a_study_cannot_bring_weights_or_training():
    with pytest.raises(ValueError, match="start comes from the site's own loop"):
        OwnLoop(start=[1.0])
    with pytest.raises(ValueError, match="train comes from the site's own loop"):
        OwnLoop(train="epochs")


def test_it_is_never_finished_has_no_roles_and_no_leader_half():
    learner = OwnLoop(start=START, train=doubled)
    assert not learner.finished(START)
    assert learner.parts(START) == {}
    with pytest.raises(InvariantBroken):
        learner.advance(START, START)
