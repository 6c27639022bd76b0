"""The training loop: every instruction obeyed, against steps taken by hand in numpy."""

import sys

import numpy as np
import pytest

torch = pytest.importorskip("torch", reason="torch is not installed")

from cohortium.core.examples import Examples, Layout  # noqa: E402
from cohortium.core.parameters import Parameters  # noqa: E402
from cohortium.core.update import Instructions  # noqa: E402
from cohortium.errors import MissingExtra, TrainingFailed  # noqa: E402
from cohortium.models.mlp import MLP  # noqa: E402
from cohortium.models.torch_training import in_pieces, one_thread, require_torch, rows_of  # noqa: E402

N, P, RATE = 30, 4, 0.05
DRAWN = np.random.default_rng(0)
X, Y = DRAWN.normal(size=(N, P)).astype(np.float32), DRAWN.normal(size=N)
EXAMPLES = Examples(layout=Layout(features=("a", "b", "c", "d"), outcome="number"), x=X.astype(float), y=Y)
START = Parameters({"layers.0.weight": np.float32([[0.3, -0.2, 0.1, 0.5]]), "layers.0.bias": np.float32([0.1])})


def by_hand(instructions, *, rate=RATE, l2=0.0, mu_towards=None, correction=None, frozen=()):
    """A linear unit under squared error, one full batch a step."""
    w, b = START["layers.0.weight"][0].astype(float), float(START["layers.0.bias"][0])
    w0, b0 = (w, b) if mu_towards is None else mu_towards
    for _ in range(instructions.local_epochs):
        left = X @ w + b - Y
        gw = 2 * X.T @ left / N + l2 * w + instructions.proximal * (w - w0)
        gb = 2 * left.mean() + instructions.proximal * (b - b0)
        if correction is not None:
            gw, gb = gw + correction[0], gb + correction[1]
        w = w if "layers.0.weight" in frozen else w - rate * gw
        b = b if "layers.0.bias" in frozen else b - rate * gb
    return np.append(w, b)


def trained(instructions, **options):
    learner = MLP(layers=(), batch_size=N, learning_rate=RATE, **options)
    return learner.fit(START, EXAMPLES, instructions=instructions, rng=np.random.default_rng(0))


CORRECTION = Parameters({"layers.0.weight": np.float32([[1, 2, 3, 4]]), "layers.0.bias": np.float32([-1])})
AWAY = Parameters({"layers.0.weight": np.float32([[1, 1, 1, 1]]), "layers.0.bias": np.float32([1])})


@pytest.mark.parametrize(
    ("asked", "hand", "options"),
    [
        ({}, {}, {}),
        ({"learning_rate_factor": 0.5}, {"rate": RATE / 2}, {}),
        ({"proximal": 0.7}, {}, {}),
        ({"proximal": 0.7, "anchor": AWAY}, {"mu_towards": (np.ones(4), 1.0)}, {}),
        ({"correction": CORRECTION, "plain_sgd": True}, {"correction": (np.array([1, 2, 3, 4]), -1.0)}, {}),
        ({"frozen": ("layers.0.weight",)}, {"frozen": ("layers.0.weight",)}, {}),
        ({}, {"l2": 0.3}, {"l2": 0.3}),
    ],
    ids=["plain", "rate", "proximal", "anchor", "correction", "frozen", "decay"],
)
def test_every_instruction_equals_steps_by_hand(asked, hand, options):
    instructions = Instructions(local_epochs=4, **asked)
    if "l2" in options:  # decay of the weights alone
        w = by_hand(Instructions(local_epochs=1), l2=0.3)
        found = trained(Instructions(local_epochs=1), **options)
        np.testing.assert_allclose(found.parameters.vector(), w, rtol=0, atol=1e-6)
        return
    np.testing.assert_allclose(
        trained(instructions, **options).parameters.vector(), by_hand(instructions, **hand), rtol=0, atol=2e-6
    )


def test_loss_of_the_start_counts_the_penalty():
    plain, with_penalty = trained(Instructions()), trained(Instructions(), l2=0.5)
    assert plain.loss == pytest.approx(np.mean((X @ START["layers.0.weight"][0] + 0.1 - Y) ** 2), rel=1e-5)
    assert with_penalty.loss - plain.loss == pytest.approx(0.25 * np.sum(START["layers.0.weight"] ** 2), rel=1e-4)


def test_a_training_leaves_the_number_of_threads_as_it_was():
    before = torch.get_num_threads()
    torch.set_num_threads(2)
    try:
        with one_thread():
            assert torch.get_num_threads() == 1
        assert torch.get_num_threads() == 2
    finally:
        torch.set_num_threads(before)


def test_pieces_are_put_together_in_order():
    x = np.arange(10_000, dtype=float)[:, None]
    assert in_pieces(lambda rows: 2 * rows, x)[:, 0].tolist() == (2 * x[:, 0]).tolist()


def test_without_torch_the_extra_is_named(monkeypatch):
    monkeypatch.setitem(sys.modules, "torch", None)
    with pytest.raises(MissingExtra, match=r"pip install 'cohortium\[torch\]'"):
        require_torch()


def test_no_row_at_all_is_a_failed_training():
    with pytest.raises(TrainingFailed, match="no training row"):
        rows_of(EXAMPLES.take(np.zeros(0, dtype=int)))
