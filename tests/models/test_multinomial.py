from dataclasses import replace

import numpy as np
import pytest
from sklearn.linear_model import LogisticRegression

from cohortium.core.update import Instructions
from cohortium.errors import TrainingFailed
from cohortium.models.glm import Logistic
from cohortium.models.multinomial import Multinomial


@pytest.mark.parametrize("l2", [0.0, 0.02])
def test_agrees_with_scikit_learn(kit, l2):
    examples = kit.classes(400)
    state, rounds = kit.learn(Multinomial(l2=l2), kit.split(examples, 4))
    oracle = LogisticRegression(C=np.inf if l2 == 0 else 1 / (l2 * 400), tol=1e-10, max_iter=2000)
    oracle.fit(examples.x, examples.y)
    centred = oracle.coef_ - oracle.coef_.mean(axis=0)
    assert np.abs(centred - state["coefficients"]).max() < 2e-5
    assert np.abs(oracle.predict_proba(examples.x) - Multinomial().predict(state, examples)).max() < 2e-5
    assert np.abs(state["coefficients"].sum(axis=0)).max() < 1e-6
    assert rounds <= 8


def test_two_classes_are_twice_half_a_logistic_regression(kit):
    examples = kit.binary(300)
    pair = kit.table(examples.x, examples.y, "classes", classes=("no", "yes"))
    half, _ = kit.learn(Multinomial(l2=0.0), [pair])
    whole, _ = kit.learn(Logistic(l2=0.0), [examples])
    assert np.abs(half["coefficients"][1] - half["coefficients"][0] - whole["coefficients"]).max() < 1e-5
    errors = half["standard_errors"].reshape(2, 5)[1]  # of coefficients that add up to 0: half the size
    assert np.allclose(2 * errors, whole["standard_errors"], rtol=2e-3)


def test_one_class_everywhere_is_said(kit):
    examples = kit.classes(60)
    with pytest.raises(TrainingFailed, match="same outcome"):
        kit.learn(Multinomial(), [replace(examples, y=np.full(60, 2.0))])


def test_gradient_steps_reach_the_newton_solution(kit):
    examples = kit.classes(200)
    model = Multinomial(learn="weights", learning_rate=1.0)
    start = model.initial(examples.layout, rng=None)
    done = model.fit(start, examples, instructions=Instructions(local_epochs=400), rng=np.random.default_rng(0))
    solved, _ = kit.learn(Multinomial(), [examples])
    assert np.abs(done.parameters["coefficients"] - solved["coefficients"]).max() < 1e-4


def test_separated_classes_are_said(kit):
    x = np.column_stack([np.repeat([-2.0, 0.0, 2.0], 30), np.tile([1.0, -1.0], 45)])
    apart = kit.table(x, np.repeat([0, 1, 2], 30), "classes", classes=("a", "b", "c"))
    with pytest.raises(TrainingFailed, match="separation: column 'x0' tells"):
        kit.learn(Multinomial(l2=0.0), [apart])
