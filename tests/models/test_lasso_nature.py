"""`lasso-nature`: training, running moments and their merge."""

import numpy as np
import pytest

torch = pytest.importorskip("torch", reason="torch is not installed")

import importlib.util  # noqa: E402
from dataclasses import replace  # noqa: E402
from pathlib import Path  # noqa: E402

from cohortium.core.update import Instructions  # noqa: E402
from cohortium.errors import StudyError  # noqa: E402
from cohortium.models.lasso_nature import LassoNature  # noqa: E402

spec = importlib.util.spec_from_file_location("networks", Path(__file__).parent / "networks.py")
networks = importlib.util.module_from_spec(spec)
spec.loader.exec_module(networks)
rows = networks.rows


def trained(learner, examples, epochs, start=None):
    start = start or learner.initial(examples.layout, rng=np.random.default_rng(0))
    return learner.fit(start, examples, instructions=Instructions(local_epochs=epochs), rng=np.random.default_rng(1))


def test_one_step_equals_a_calculation_in_numpy():
    examples, learner = rows(40), LassoNature(batch_size=40)
    start = learner.initial(examples.layout, rng=np.random.default_rng(0))
    done = trained(learner, examples, 1, start)
    x, y, w = examples.x, examples.y, start["weight"][0].astype(float)
    z = x @ w
    s = np.sqrt(z.var() + 1e-3)
    h = (z - z.mean()) / s
    dh = 2 * (h - y) / len(y)
    dz = (dh - dh.mean() - h * np.mean(dh * h)) / s  # batch normalisation's own gradient
    after = done.parameters
    np.testing.assert_allclose(after["weight"][0], w - 0.01 * (x.T @ dz + 0.01 * np.sign(w)), atol=1e-6)
    assert after["norm.gamma"][0] == pytest.approx(1 - 0.01 * np.sum(dh * h), abs=1e-6)
    assert after["norm.beta"][0] == pytest.approx(-0.01 * dh.sum(), abs=1e-6)
    mean, variance = 0.01 * z.mean(), 0.99 + 0.01 * z.var()
    assert after["norm.mean"][0] == pytest.approx(mean, abs=1e-7)
    assert after["norm.second_moment"][0] == pytest.approx(variance + mean**2, abs=1e-6)


def test_it_learns_and_leaves_useless_columns_small():
    examples, unseen = rows(400, p=10), rows(400, p=10, seed=5)
    learner = LassoNature()
    after = trained(learner, examples, 300).parameters
    assert np.mean((learner.predict(after, unseen) > 0.5) == unseen.y) > 0.85
    w = np.abs(after["weight"][0])
    assert w[2:].max() < 0.3 * w[0]


def test_averaged_moments_are_those_of_all_patients_together():
    z = [np.array([1.0, 2, 3]), np.array([10.0, 14])]
    n = np.array([3, 2])
    mean = np.array([one.mean() for one in z]) @ n / 5
    second = np.array([one.var() + one.mean() ** 2 for one in z]) @ n / 5
    together = np.concatenate(z)
    assert mean == pytest.approx(together.mean())
    assert second - mean**2 == pytest.approx(together.var())


def test_predictions_use_the_running_moments_and_stay_within_0_and_1():
    examples, learner = rows(200), LassoNature()
    after = trained(learner, examples, 20).parameters
    p = learner.predict(after, examples)
    assert p.min() >= 0
    assert p.max() <= 1
    assert np.array_equal(learner.predict(after, examples.take(np.arange(3))), p[:3])


def test_parts_cover_everything_and_other_outcomes_are_refused():
    learner, examples = LassoNature(), rows(4)
    start = learner.initial(examples.layout, rng=np.random.default_rng(0))
    parts = learner.parts(start)
    assert sorted(parts["norm"] + parts["head"]) == sorted(start)
    assert learner.optimiser == "sgd"  # so scaffold may be chosen
    with pytest.raises(StudyError, match="binary"):
        learner.initial(replace(examples.layout, outcome="survival"), rng=np.random.default_rng(0))
    with pytest.raises(ValueError, match="l1"):
        LassoNature(l1=-1.0)
