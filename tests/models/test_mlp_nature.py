"""`mlp-nature`: size, decay, batch and two training steps, against numpy."""

import numpy as np
import pytest

torch = pytest.importorskip("torch", reason="torch is not installed")

import importlib.util  # noqa: E402
from dataclasses import replace  # noqa: E402
from pathlib import Path  # noqa: E402

from cohortium.core.update import Instructions  # noqa: E402
from cohortium.errors import StudyError  # noqa: E402
from cohortium.models import mlp_nature  # noqa: E402
from cohortium.models.mlp_nature import MLPNature, batch_for  # noqa: E402
from cohortium.models.perceptron import dropout_mask  # noqa: E402

spec = importlib.util.spec_from_file_location("networks", Path(__file__).parent / "networks.py")
networks = importlib.util.module_from_spec(spec)
spec.loader.exec_module(networks)
rows = networks.rows


@pytest.mark.parametrize("p", [6, 41, 12_708])
def test_it_has_the_published_number_of_parameters(p):
    shape = MLPNature().shape(rows(2, p=p).layout)
    assert shape.n_parameters == 256 * p + 1_305_729
    if p == 12_708:
        assert shape.n_parameters == 4_558_977
    else:
        start = MLPNature().initial(rows(2, p=p).layout, rng=np.random.default_rng(0))
        assert start.vector().size == shape.n_parameters


def test_first_weights_are_glorot_uniform_and_biases_zero():
    start = MLPNature().initial(rows(2).layout, rng=np.random.default_rng(0))
    w = start["layers.2.weight"]
    assert w.shape == (512, 1024)
    assert w.std() == pytest.approx(np.sqrt(2 / (512 + 1024)), rel=0.01)
    assert not any(start[name].any() for name in start if name.endswith("bias"))


def test_decay_is_on_the_eight_inner_kernels_only():
    shape = MLPNature().shape(rows(2).layout)
    assert shape.decay_by_name == {f"layers.{at}.weight": 0.01 for at in range(1, 9)}
    assert shape.dropout == (0.4, *(0.3,) * 8)


@pytest.mark.parametrize(
    ("n", "batch"), [(5, 8), (128, 8), (192, 8), (200, 16), (300, 16), (1000, 64), (2000, 128), (90_000, 128)]
)
def test_batch_is_the_power_of_two_nearest_to_a_sixteenth(n, batch):
    assert batch_for(n) == batch


def reference(start, x, y, *, seed, steps):
    """Two full-batch Adam steps by numpy, float64: objective of the start of each step (with dropout) and at first."""
    w = {name: array.astype(float) for name, array in start.items()}
    m, v = ({name: np.zeros_like(a) for name, a in w.items()} for _ in range(2))
    order, noise = np.random.default_rng(seed).spawn(2)
    n_layers, rates, losses = len(w) // 2, (0.4, *(0.3,) * 8), []
    for step in range(1, steps + 1):
        chosen = order.permutation(len(y))
        inputs, masks, a = [], [], x[chosen]
        for at in range(n_layers):
            inputs.append(a)
            a = a @ w[f"layers.{at}.weight"].T + w[f"layers.{at}.bias"]
            if at < n_layers - 1:
                masks.append(dropout_mask(noise, len(a), a.shape[1], rates[at]))
                a = np.maximum(a, 0) * masks[-1]
        z, t = a[:, 0], y[chosen]
        penalty = 0.005 * sum(np.sum(w[f"layers.{at}.weight"] ** 2) for at in range(1, 9))
        losses.append(np.mean(np.logaddexp(0, z) - t * z) + penalty)
        d = ((1 / (1 + np.exp(-z)) - t) / len(t))[:, None]
        g = {}
        for at in reversed(range(n_layers)):
            name = f"layers.{at}.weight"
            g[name] = d.T @ inputs[at] + (0.01 * w[name] if 1 <= at <= 8 else 0)
            g[f"layers.{at}.bias"] = d.sum(0)
            if at:
                d = (d @ w[name]) * (inputs[at] > 0) * masks[at - 1]
        for name in w:
            m[name] = 0.9 * m[name] + 0.1 * g[name]
            v[name] = 0.999 * v[name] + 0.001 * g[name] ** 2
            size = np.sqrt(v[name] / (1 - 0.999**step)) + 1e-7
            w[name] = w[name] - 0.001 * m[name] / (1 - 0.9**step) / size
    return losses, w


GOLDEN = [1.52255783, 1.51134702]


def test_two_steps_equal_numpy_and_the_golden_losses(monkeypatch):
    """The first two objectives on 20 rows of 6 columns; widths divided by 16, so that numpy is quick."""
    monkeypatch.setattr(mlp_nature, "_WIDTHS", tuple(w // 16 for w in mlp_nature._WIDTHS))
    examples, learner = rows(20), MLPNature(batch_size=20)
    start = learner.initial(examples.layout, rng=np.random.default_rng(3))
    done = learner.fit(start, examples, instructions=Instructions(local_epochs=2), rng=np.random.default_rng(8))
    x = examples.x.astype(np.float32).astype(float)
    losses, w = reference(start, x, examples.y, seed=8, steps=2)
    assert losses == pytest.approx(GOLDEN, rel=1e-5)
    for name, array in done.parameters.items():
        moved = np.abs(array - start[name]).max()
        if moved:
            assert np.mean(np.abs(array - w[name]) > 0.02 * moved) < 0.005, name  # Adam's sign of a gradient near 0


def test_loss_of_the_start_has_the_penalty_in_it():
    examples, learner = rows(30), MLPNature()
    start = learner.initial(examples.layout, rng=np.random.default_rng(3))
    done = learner.fit(start, examples, instructions=Instructions(max_steps=0), rng=np.random.default_rng(0))
    p = learner.predict(start, examples)
    data = -np.mean(examples.y * np.log(p) + (1 - examples.y) * np.log(1 - p))
    penalty = 0.005 * sum(float(np.sum(start[f"layers.{at}.weight"].astype(float) ** 2)) for at in range(1, 9))
    assert done.loss == pytest.approx(data + penalty, rel=1e-5)


def test_sites_are_stacked_each_with_its_own_batch(monkeypatch):
    monkeypatch.setattr(mlp_nature, "_WIDTHS", tuple(w // 16 for w in mlp_nature._WIDTHS))
    learner, sites = MLPNature(), [rows(n, seed=n) for n in (400, 30, 9)]
    start = learner.initial(sites[0].layout, rng=np.random.default_rng(3))
    together = learner.fit_many(
        [start] * 3, sites, instructions=[Instructions()] * 3, rngs=[np.random.default_rng(at) for at in range(3)]
    )
    assert [one.steps for one in together] == [25 if batch_for(400) == 16 else 13, 4, 2]
    for at, (site, stacked) in enumerate(zip(sites, together, strict=True)):
        alone = learner.fit(start, site, instructions=Instructions(), rng=np.random.default_rng(at))
        difference = np.abs(alone.parameters.vector() - stacked.parameters.vector())
        assert np.mean(difference > 1e-4) < 0.01  # Adam turns rounding of a gradient near 0 into a step's sign


def test_other_outcomes_and_plain_sgd_are_refused():
    learner, examples = MLPNature(), rows(9)
    with pytest.raises(StudyError, match="learns outcomes of kind binary"):
        learner.initial(replace(examples.layout, outcome="number"), rng=np.random.default_rng(0))
    start = learner.initial(examples.layout, rng=np.random.default_rng(0))
    with pytest.raises(StudyError, match="uses adam"):
        learner.fit(start, examples, instructions=Instructions(plain_sgd=True), rng=np.random.default_rng(0))
    with pytest.raises(ValueError, match="batch_size"):
        MLPNature(batch_size=0)
