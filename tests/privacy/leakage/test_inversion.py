"""Rows come out of an unprotected update to the last digit; nothing comes out of sums, steps, masks or noise."""

import numpy as np
import pytest

from cohortium.privacy.leakage.inversion import (
    Inversion,
    Wanted,
    closest,
    match,
    patients_per_neuron,
    recovered_rows,
    search,
)


def network(rng, *, d, hidden):
    bound = 1 / np.sqrt(d)
    return rng.uniform(-bound, bound, (hidden, d)), rng.uniform(-bound, bound, hidden), rng.normal(0, 0.3, hidden)


def gradient(x, y, w, b, v):
    """Of the mean logistic loss of one hidden ReLU layer, first layer only."""
    active = x @ w.T + b > 0
    hidden = np.where(active, x @ w.T + b, 0)
    residual = (1 / (1 + np.exp(-hidden @ v)) - y) / len(x)
    back = residual[:, None] * v * active
    return {"layers.0.weight": back.T @ x, "layers.0.bias": back.sum(axis=0)}


@pytest.mark.parametrize("batch", [1, 2, 4, 8])
def test_small_batches_are_recovered_whole(batch: int) -> None:
    rng = np.random.default_rng(batch)
    x = rng.normal(size=(batch, 300))
    w, b, v = network(rng, d=300, hidden=4096)
    found = match(recovered_rows(gradient(x, rng.integers(0, 2, batch), w, b, v), 300), x)
    assert (found.n_rows, found.n_recovered) == (batch, batch)


def test_large_batches_are_not() -> None:
    rng = np.random.default_rng(1)
    x = rng.normal(size=(64, 500))
    w, b, v = network(rng, d=500, hidden=256)
    rows = recovered_rows(gradient(x, rng.integers(0, 2, 64), w, b, v), 500)
    assert match(rows, x).n_recovered == 0
    assert closest(rows, x).max() < 0.9


def test_masked_words_and_noise_give_nothing() -> None:
    rng = np.random.default_rng(2)
    x = rng.normal(size=(8, 300))
    w, b, v = network(rng, d=300, hidden=4096)
    bare = gradient(x, rng.integers(0, 2, 8), w, b, v)
    assert match(recovered_rows(bare, 300), x).n_recovered == 8
    words = {name: rng.integers(-(2**31), 2**31, array.shape) for name, array in bare.items()}
    noisy = {name: array + rng.normal(0, 0.01, array.shape) for name, array in bare.items()}
    assert match(recovered_rows(words, 300), x).n_recovered == 0
    assert match(recovered_rows(noisy, 300), x).n_recovered == 0


def test_a_linear_models_only_patient_is_its_gradient() -> None:
    x = np.random.default_rng(3).normal(size=(1, 13))
    pair = {"coefficients": (0.3 * x)[0], "intercept": np.array([0.3])}
    first = {"gradient": np.concatenate([[0.3], 0.3 * x[0]])}
    last = {"gradient": np.concatenate([0.3 * x[0], [0.3]])}
    for change in (pair, first, last):
        assert match(recovered_rows(change, 13), x).n_recovered == 1
    two = np.random.default_rng(4).normal(size=(2, 13))
    mixed = {"coefficients": 0.3 * two[0] - 0.2 * two[1], "intercept": np.array([0.1])}
    assert match(recovered_rows(mixed, 13), two).n_recovered == 0


def test_every_row_is_counted_once_and_rows_of_zeros_never() -> None:
    x = np.array([[1.0, 2.0], [3.0, 4.0], [0.0, 0.0]])
    found = match(np.array([[1.0, 2.0], [1.0, 2.0], [0.0, 0.0], [3.1, 4.0]]), x)
    assert found == Inversion(n_rows=3, n_recovered=1, n_tried=4)
    assert match(np.zeros((0, 2)), x).n_recovered == 0
    assert found + found == Inversion(n_rows=6, n_recovered=2, n_tried=8)


def test_arrays_that_are_no_first_layer_are_passed_over() -> None:
    rng = np.random.default_rng(5)
    change = {"conv": rng.normal(size=(8, 3, 3, 3)), "bias": rng.normal(size=8), "head": rng.normal(size=(2, 8))}
    assert len(recovered_rows(change, 2000)) == 0
    dead = {"w": np.ones((2, 5)), "b": np.array([0.0, np.nan])}
    assert len(recovered_rows(dead, 5)) == 0


def test_images_are_rows_too() -> None:
    rng = np.random.default_rng(6)
    image = rng.random((1, 1, 4, 4))
    change = {"w": np.outer([0.5, -2.0], image.ravel()), "b": np.array([0.5, -2.0])}
    assert match(recovered_rows(change, 16), image).n_recovered == 1


def test_neurons_that_see_few_patients_are_seen() -> None:
    rows = np.array([[1.0, 0.0], [0.0, 1.0], [-1.0, -1.0]])
    assert patients_per_neuron(np.array([[1.0, 0.0]]), np.array([-0.5]), rows) == 1.0
    assert patients_per_neuron(np.array([[1.0, 0.0]]), np.array([5.0]), rows) == 3.0
    assert patients_per_neuron(np.array([[1.0, 0.0]]), np.array([-9.0]), rows) == 0.0


@pytest.mark.parametrize("seed", range(5))
def test_searching_finds_what_dividing_everything_finds(seed: int) -> None:
    rng = np.random.default_rng(seed)
    x = rng.normal(size=(12, 40)) * rng.choice([0.01, 1, 100], 40)
    w, b, v = network(rng, d=40, hidden=2048)
    change = gradient(x, rng.integers(0, 2, 12), w, b, v)
    start = {"layers.0.weight": w, "layers.0.bias": b}
    sent = {name: start[name] + array for name, array in change.items()}
    wanted = Wanted(x)
    whole = match(recovered_rows({n: sent[n] - start[n] for n in sent}, 40), x)
    found = search(sent, start, wanted)
    assert found.n_recovered == whole.n_recovered > 0
    assert search(change, {}, wanted).n_recovered == match(recovered_rows(change, 40), x).n_recovered
    assert search(change, start, wanted).n_recovered < 12, "a gradient taken for new weights gives nonsense"


def test_searching_takes_wild_numbers_and_empty_tables() -> None:
    rows = np.random.default_rng(0).normal(size=(5, 3))
    wild = {"w": np.array([[np.inf, np.nan, 1e300], [1e308, 0, 0]]), "b": np.array([1e-300, 1.0])}
    assert search(wild, {}, Wanted(rows)).n_recovered == 0
    assert search(wild, {}, Wanted(np.zeros((0, 3)))) == Inversion(n_rows=0, n_recovered=0, n_tried=1)
    assert search({"n": np.array([b"x"])}, {}, Wanted(rows)).n_tried == 0
