"""Clipped gradients of linear predictors and perceptrons against derivatives of one patient at a time."""

import importlib.util
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from cohortium.core.examples import Examples, Layout
from cohortium.models.descent import Descent
from cohortium.models.glm import Logistic, Poisson
from cohortium.models.least_squares import Linear
from cohortium.models.multinomial import Multinomial
from cohortium.models.patient_gradients import LinearGradients, PrivateLearner

spec = importlib.util.spec_from_file_location("networks", Path(__file__).parent / "networks.py")
networks = importlib.util.module_from_spec(spec)
spec.loader.exec_module(networks)

RNG = np.random.default_rng(0)
OUTCOMES = {
    "binary": (lambda n: RNG.integers(0, 2, n), ("0", "1"), lambda e, y: np.logaddexp(0, e[0]) - y * e[0]),
    "count": (lambda n: RNG.integers(0, 4, n), (), lambda e, y: np.exp(e[0]) - y * e[0]),
    "number": (lambda n: RNG.normal(size=n), (), lambda e, y: 0.5 * (y - e[0]) ** 2),
    "classes": (
        lambda n: RNG.integers(0, 3, n), ("a", "b", "c"), lambda e, y: np.log(np.exp(e).sum()) - e[int(y)]
    ),
}  # fmt: skip


def each_patient(loss, flat, shape):
    """Gradient of one patient's loss by numerical differentiation, (coefficients, intercept)."""

    def at(values):
        k, p = shape
        table, intercept = values[: k * p].reshape(k, p), values[k * p :]
        return loss(table, intercept)

    step = 1e-6
    grown = [(at(flat + step * e) - at(flat - step * e)) / (2 * step) for e in np.eye(len(flat))]
    return np.array(grown)


@pytest.mark.parametrize("outcome", OUTCOMES)
def test_linear_predictors_equal_a_loop_over_patients(outcome):
    draw, classes, loss = OUTCOMES[outcome]
    k, p, n, norm = max(1, len(classes) if outcome == "classes" else 1), 3, 12, 0.8
    layout = Layout(features=("a", "b", "c"), outcome=outcome, classes=classes)
    rows = Examples(layout=layout, x=RNG.normal(size=(n, p)), y=draw(n).astype(float))
    flat = 0.3 * RNG.normal(size=k * (p + 1))
    table, intercept = flat[: k * p].reshape(k, p), flat[k * p :]
    weights = {"coefficients": table if k > 1 else table[0], "intercept": intercept}
    made = LinearGradients(descent=Descent(outcome=outcome, l2=0.1, learning_rate=0.1, batch_size=0))
    found = made.clipped(weights, rows, norm=norm, chance=RNG)
    expected, whole = np.zeros(k * (p + 1)), 0
    for x, y in zip(rows.x, rows.y, strict=True):
        g = each_patient(lambda t, b, x=x, y=y: loss(t @ x + b, y), flat, (k, p))
        whole += np.linalg.norm(g) <= norm
        expected += g * min(1.0, norm / np.linalg.norm(g))
    assert np.allclose(np.ravel(found.sums["coefficients"]), expected[: k * p], atol=1e-7)
    assert np.allclose(found.sums["intercept"], expected[k * p :], atol=1e-7)
    assert found.n_whole == whole
    assert made.decay == {"coefficients": 0.1}
    assert made.plan.plain


@pytest.mark.parametrize("outcome", ["binary", "classes", "number"])
def test_perceptrons_equal_a_loop_over_patients(outcome):
    pytest.importorskip("torch", reason="torch is not installed")
    from cohortium.models.mlp import MLP

    rows = networks.rows(15, outcome=outcome)
    model = MLP(layers=(5, 4), l2=0.3)
    start = model.initial(rows.layout, rng=np.random.default_rng(1))
    gradients = model.patient_gradients(rows.layout)
    weights = {name: np.array(array) for name, array in start.items()}
    alone = [gradients.clipped(weights, rows.take(np.array([at])), norm=1e9, chance=RNG).sums for at in range(15)]
    lengths = [np.sqrt(sum(float((g**2).sum()) for g in one.values())) for one in alone]
    norm = 1.001 * float(np.median(lengths))
    found = gradients.clipped(weights, rows, norm=norm, chance=RNG)
    for name in start:
        expected = sum(one[name] * min(1.0, norm / length) for one, length in zip(alone, lengths, strict=True))
        assert np.allclose(found.sums[name], expected, atol=2e-6)
    assert found.n_whole == sum(length <= norm for length in lengths)
    assert set(gradients.decay) == {f"layers.{at}.weight" for at in range(3)}


def test_perceptrons_agree_with_the_gradient_of_plain_training_where_nobody_is_cut():
    torch = pytest.importorskip("torch", reason="torch is not installed")
    from cohortium.models.mlp import MLP
    from cohortium.models.perceptron import Perceptron
    from cohortium.models.torch_training import rows_of

    rows, model = networks.rows(20), MLP(layers=(5,))
    start = model.initial(rows.layout, rng=np.random.default_rng(1))
    network = Perceptron(model.shape(rows.layout), start)
    known = rows_of(rows)
    whole = torch.autograd.grad(network.loss(known.x, known.y, None) * 20, list(network.trainable.values()))
    weights = {name: np.array(array) for name, array in start.items()}
    found = model.patient_gradients(rows.layout).clipped(weights, rows, norm=1e9, chance=RNG)
    for name, expected in zip(start, whole, strict=True):
        assert np.allclose(found.sums[name], expected.numpy(), atol=1e-5)


def test_dropout_is_drawn_for_every_patient_and_an_empty_batch_gives_zeros():
    pytest.importorskip("torch", reason="torch is not installed")
    from cohortium.models.mlp import MLP

    rows, model = networks.rows(20), MLP(layers=(8,), dropout=0.5)
    start = model.initial(rows.layout, rng=np.random.default_rng(1))
    weights = {name: np.array(array) for name, array in start.items()}
    gradients = model.patient_gradients(rows.layout)

    def drawn(seed):
        found = gradients.clipped(weights, rows, norm=1.0, chance=np.random.default_rng(seed))
        return found.sums["layers.0.weight"].tobytes()

    assert drawn(1) == drawn(1) != drawn(2)
    none = gradients.clipped(weights, rows.take(np.zeros(0, dtype=np.int64)), norm=1.0, chance=RNG)
    assert none.n_whole == 0
    assert all(not array.any() and array.shape == start[name].shape for name, array in none.sums.items())


def test_who_can_train_privately():
    assert all(isinstance(model(), PrivateLearner) for model in (Logistic, Poisson, Linear, Multinomial))
    from cohortium.models.cox import Cox

    assert not isinstance(Cox(), PrivateLearner)
    assert replace(Logistic(), learn="weights").patient_gradients(Layout(features=("a",), outcome="binary"))
