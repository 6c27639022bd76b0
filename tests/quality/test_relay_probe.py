"""The small travelling network: its gradient by finite differences, Adam by hand, and that it learns."""

import numpy as np
import pytest

from cohortium.core.parameters import Parameters
from cohortium.quality.relay_probe import RelayProbe
from cohortium.reports.discrimination import auroc


def loss(probe, state, x, y):
    p = probe.predict(state, x)
    return -np.mean(y * np.log(p) + (1 - y) * np.log(1 - p))


def test_gradient_agrees_with_finite_differences():
    rng = np.random.default_rng(0)
    probe = RelayProbe(n_features=3, hidden=4)
    state, x, y = probe.initial(rng=rng), rng.normal(size=(5, 3)), np.array([0, 1, 1, 0, 1.0])
    w = np.array(state["w"])
    found = probe.gradient(w, x, y)
    for at in range(len(w)):
        up, down = w.copy(), w.copy()
        up[at] += 1e-6
        down[at] -= 1e-6
        slope = (
            loss(probe, state | Parameters({"w": up}), x, y) - loss(probe, state | Parameters({"w": down}), x, y)
        ) / 2e-6
        assert found[at] == pytest.approx(slope, abs=1e-7)


def test_the_first_step_of_adam_moves_every_weight_by_the_rate():
    rng = np.random.default_rng(1)
    probe = RelayProbe(n_features=3, hidden=4)
    state, x, y = probe.initial(rng=rng), rng.normal(size=(5, 3)), np.array([0, 1, 1, 0, 1.0])
    after = probe.step(state, x, y, learning_rate=0.01)
    moved = after["w"] - state["w"]
    active = np.abs(after["m"]) > 1e-7
    np.testing.assert_allclose(np.abs(moved[active]), 0.01, rtol=1e-2)
    assert int(after["steps"]) == 1
    assert int(state["steps"]) == 0


def test_normalisation_follows_the_records_and_travels_with_the_state():
    probe = RelayProbe(n_features=2)
    state = probe.initial(rng=np.random.default_rng(0))
    for _ in range(200):
        state = probe.step(state, np.array([[4.0, 0.0], [6.0, 0.0]]), np.array([0.0, 1.0]), learning_rate=1e-3)
    np.testing.assert_allclose(state["mean"], [5.0, 0.0], atol=1e-3)
    np.testing.assert_allclose(state["variance"], [1.0, 0.0], atol=1e-3)


def test_a_step_leaves_the_state_it_was_given():
    probe = RelayProbe(n_features=2)
    state = probe.initial(rng=np.random.default_rng(2))
    before = state.digest
    probe.step(state, np.ones((1, 2)), np.ones(1), learning_rate=0.1)
    assert state.digest == before


def test_it_learns_what_no_line_can_separate():
    rng = np.random.default_rng(3)
    x = rng.normal(size=(600, 2))
    y = (x[:, 0] * x[:, 1] > 0).astype(float)
    probe = RelayProbe(n_features=2)
    state = probe.initial(rng=rng)
    for _ in range(30):
        for at in range(0, 600, 5):
            state = probe.step(state, x[at : at + 5], y[at : at + 5], learning_rate=3e-3)
    assert auroc(y, probe.predict(state, x)) > 0.95
