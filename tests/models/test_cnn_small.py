"""`cnn-small`: size, forward pass against torch's own layers, learning, augmentation."""

import numpy as np
import pytest

torch = pytest.importorskip("torch", reason="torch is not installed")

import importlib.util  # noqa: E402
from dataclasses import replace  # noqa: E402
from pathlib import Path  # noqa: E402

from cohortium.core.update import Instructions  # noqa: E402
from cohortium.errors import StudyError  # noqa: E402
from cohortium.models.cnn_small import CNNSmall, _Convolutions, _moved  # noqa: E402

spec = importlib.util.spec_from_file_location("networks", Path(__file__).parent / "networks.py")
networks = importlib.util.module_from_spec(spec)
spec.loader.exec_module(networks)
images = networks.images


def rng(seed=0):
    return np.random.default_rng(seed)


def test_it_has_the_promised_number_of_parameters():
    start = CNNSmall().initial(images(1, size=28).layout, rng=rng())
    assert start.vector().size == 23_585


def test_forward_pass_equals_torchs_own_layers():
    examples = images(5)
    start = CNNSmall().initial(examples.layout, rng=rng())
    layers, n_in = [], 1
    for n_out in (16, 32, 64):
        layers += [torch.nn.Conv2d(n_in, n_out, 3, padding=1), torch.nn.GroupNorm(4, n_out), torch.nn.ReLU()]
        layers += [torch.nn.MaxPool2d(2)]
        n_in = n_out
    oracle = torch.nn.Sequential(*layers, torch.nn.AdaptiveAvgPool2d(1), torch.nn.Flatten(), torch.nn.Linear(64, 1))
    for held, array in zip(oracle.parameters(), start.values(), strict=True):
        held.data = torch.tensor(array)
    x = torch.tensor(examples.x)
    with torch.no_grad():
        torch.testing.assert_close(_Convolutions(start, "binary", shift=0, turn=0).outputs(x), oracle(x))


def test_it_learns_where_the_patch_is():
    learner, examples, unseen = CNNSmall(batch_size=16, learning_rate=0.003), images(120), images(80, seed=4)
    start = learner.initial(examples.layout, rng=rng())
    done = learner.fit(start, examples, instructions=Instructions(local_epochs=8), rng=rng(1))
    p = learner.predict(done.parameters, unseen)
    assert np.mean((p > 0.5) == unseen.y) > 0.9
    again = learner.fit(start, examples, instructions=Instructions(local_epochs=8), rng=rng(1))
    assert done.parameters == again.parameters


def test_several_classes_have_one_logit_each():
    examples = replace(images(6), layout=replace(images(6).layout, outcome="classes", classes=("a", "b", "c")))
    start = CNNSmall().initial(examples.layout, rng=rng())
    assert start["head.weight"].shape == (3, 64)
    assert CNNSmall().predict(start, examples).shape == (6, 3)


def test_images_are_moved_a_little_and_never_flipped():
    """A ramp from left to right still rises after moving; the mean position moves by no more than was allowed."""
    x = torch.linspace(0, 1, 28).repeat(200, 1, 28, 1)
    moved = _moved(x, rng(), shift=0.07, turn=10.0)
    assert ((moved[:, 0, :, -4:].mean((1, 2)) - moved[:, 0, :, :4].mean((1, 2))) > 0.6).all()
    away = (moved - x)[:, 0, 8:20, 8:20].mean((1, 2))
    assert 0.02 < float(away.abs().max()) < 0.1
    assert abs(float(away.mean())) < 0.01


def test_no_movement_asked_is_no_movement():
    x = torch.tensor(images(3, size=28).x)
    torch.testing.assert_close(_moved(x, rng(), shift=0.0, turn=0.0), x, atol=1e-5, rtol=1e-5)


def test_tables_small_images_and_wrong_options_are_refused():
    layout = images(1).layout
    with pytest.raises(StudyError, match="learns images; for a table choose 'mlp'"):
        CNNSmall().initial(replace(layout, image=None, features=("a",)), rng=rng())
    with pytest.raises(StudyError, match="at least 8 x 8 pixels, got 4 x 9"):
        CNNSmall().initial(replace(layout, image=(1, 4, 9)), rng=rng())
    with pytest.raises(StudyError, match="uses adam"):
        CNNSmall().fit(
            CNNSmall().initial(layout, rng=rng()), images(2), instructions=Instructions(plain_sgd=True), rng=rng()
        )
    for option, value in (("shift", 0.5), ("turn", 90.0), ("batch_size", 0), ("learning_rate", -1.0)):
        with pytest.raises(ValueError, match=option):
            CNNSmall(**{option: value})


def test_parts_name_normalisation_and_head():
    learner = CNNSmall()
    start = learner.initial(images(1).layout, rng=rng())
    parts = learner.parts(start)
    assert len(parts["norm"]) == 6
    assert set(parts["norm"] + parts["head"]) <= set(start)
