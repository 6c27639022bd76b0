"""The perceptron's shape, first weights and forward pass, against numpy."""

import numpy as np
import pytest

torch = pytest.importorskip("torch", reason="torch is not installed")

from cohortium.models.perceptron import (  # noqa: E402
    Perceptron,
    Shape,
    dropout_mask,
    glorot_uniform,
    initial_weights,
    torch_uniform,
)

SHAPE = Shape(sizes=(5, 4, 3, 1), outcome="binary", dropout=(0.5, 0.0), decay=(0.0, 0.1, 0.0))


def test_names_and_number_of_parameters():
    start = initial_weights(SHAPE, np.random.default_rng(0))
    assert tuple(start) == SHAPE.names
    assert start.vector().size == SHAPE.n_parameters == 5 * 4 + 4 + 4 * 3 + 3 + 3 + 1
    assert SHAPE.decay_by_name == {"layers.1.weight": 0.1}


@pytest.mark.parametrize(("bound", "b"), [(torch_uniform, 1 / 10), (glorot_uniform, np.sqrt(6 / 500))])
def test_first_weights_fill_the_promised_range_evenly(bound, b):
    shape = Shape(sizes=(100, 400), outcome="number", dropout=(), decay=(0.0,))
    start = initial_weights(shape, np.random.default_rng(0), bound=bound, zero_biases=True)
    w = start["layers.0.weight"]
    assert w.dtype == np.float32
    assert 0.999 * b < np.abs(w).max() <= b
    assert w.std() == pytest.approx(b / np.sqrt(3), rel=0.01)
    assert not start["layers.0.bias"].any()


def test_forward_pass_equals_numpy():
    start = initial_weights(SHAPE, np.random.default_rng(0))
    x = np.random.default_rng(1).normal(size=(7, 5)).astype(np.float32)
    a = x
    for at in range(3):
        a = a @ start[f"layers.{at}.weight"].T + start[f"layers.{at}.bias"]
        a = np.maximum(a, 0) if at < 2 else a
    found = Perceptron(SHAPE, start).outputs(torch.tensor(x)).detach().numpy()
    np.testing.assert_allclose(found, a, rtol=1e-5, atol=1e-6)


def test_dropout_keeps_the_mean_and_the_promised_share():
    mask = dropout_mask(np.random.default_rng(0), 2000, 50, 0.3)
    assert np.mean(mask == 0) == pytest.approx(0.3, abs=0.005)
    assert mask.mean() == pytest.approx(1.0, abs=0.01)


def test_nothing_is_dropped_when_predicting():
    network = Perceptron(SHAPE, initial_weights(SHAPE, np.random.default_rng(0)))
    x = torch.ones(3, 5)
    assert torch.equal(network.outputs(x), network.outputs(x))
    assert not torch.equal(network.outputs(x), network.outputs(x, np.random.default_rng(3)))
