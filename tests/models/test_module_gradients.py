"""Clipped gradients of users' modules: both paths give the same sums, and a batch of one is all a module sees."""

import importlib.util
from pathlib import Path

import numpy as np
import pytest

torch = pytest.importorskip("torch", reason="torch is not installed")

from torch import nn  # noqa: E402

from cohortium.errors import StudyError  # noqa: E402
from cohortium.models.module import Module  # noqa: E402
from cohortium.models.module_gradients import ChainGradients, ModuleGradients  # noqa: E402
from cohortium.models.optimisers import OptimiserPlan  # noqa: E402
from cohortium.models.torch_training import row_losses  # noqa: E402

spec = importlib.util.spec_from_file_location("networks", Path(__file__).parent / "networks.py")
networks = importlib.util.module_from_spec(spec)
spec.loader.exec_module(networks)

RNG = np.random.default_rng(0)


def chain():
    return nn.Sequential(nn.Linear(6, 5), nn.Tanh(), nn.Sequential(nn.Linear(5, 4), nn.ReLU()), nn.Linear(4, 1))


class Centred(nn.Module):
    """Takes the batch's mean away: nobody's loss would be their own."""

    def __init__(self):
        super().__init__()
        self.linear = nn.Linear(6, 1)

    def forward(self, x):
        return self.linear(x - x.mean(0) + 1)


def weights_of(model, rows):
    start = model.initial(rows.layout, rng=np.random.default_rng(1))
    return {name: np.array(array) for name, array in start.items()}


def test_a_chain_in_one_pass_equals_one_patient_at_a_time():
    rows, model = networks.rows(30), Module(factory=chain)
    weights = weights_of(model, rows)
    fast = model.patient_gradients(rows.layout)
    assert isinstance(fast, ChainGradients)
    loss = lambda outputs, y: row_losses("binary", outputs.reshape(len(outputs), -1), y).mean()  # noqa: E731
    slow = ModuleGradients(built=chain(), plan=OptimiserPlan(), loss=loss)
    one, other = (g.clipped(weights, rows, norm=0.5, chance=RNG) for g in (fast, slow))
    assert one.n_whole == other.n_whole
    for name in weights:
        assert np.allclose(one.sums[name], other.sums[name], atol=2e-6)


def test_a_module_that_mixes_patients_sees_them_one_by_one():
    rows, model = networks.rows(30), Module(factory=Centred)
    weights = weights_of(model, rows)
    gradients = model.patient_gradients(rows.layout)
    assert isinstance(gradients, ModuleGradients)
    whole = gradients.clipped(weights, rows, norm=0.5, chance=RNG)
    without = gradients.clipped(weights, rows.take(np.arange(1, 30)), norm=0.5, chance=RNG)
    moved = np.sqrt(sum(((whole.sums[n] - without.sums[n]) ** 2).sum() for n in weights))
    assert moved <= 0.5 + 1e-6


def test_a_loss_of_ones_own_and_a_working_in_place_take_the_slow_and_safe_path():
    rows = networks.rows(10)
    ranking = Module(factory=chain, loss=lambda outputs, y: (outputs[:, 0] - y).abs().mean())
    in_place = Module(factory=lambda: nn.Sequential(nn.Linear(6, 3), nn.ReLU(inplace=True), nn.Linear(3, 1)))
    for model in (ranking, in_place):
        gradients = model.patient_gradients(rows.layout)
        assert isinstance(gradients, ModuleGradients)
        assert gradients.clipped(weights_of(model, rows), rows, norm=1.0, chance=RNG).sums


def test_batch_normalisation_is_refused_by_name():
    model = Module(factory=lambda: nn.Sequential(nn.Linear(6, 3), nn.BatchNorm1d(3), nn.Linear(3, 1)))
    with pytest.raises(StudyError, match="BatchNorm1d, which looks at all patients of a batch at once"):
        model.patient_gradients(networks.rows(5).layout)


@pytest.mark.parametrize("factory", [chain, Centred])
def test_nobody_drawn_gives_zeros_and_torchs_own_stream_is_put_back(factory):
    rows, model = networks.rows(10), Module(factory=factory)
    weights, gradients = weights_of(model, rows), model.patient_gradients(rows.layout)
    before = torch.random.get_rng_state()
    gradients.clipped(weights, rows, norm=1.0, chance=RNG)
    assert torch.equal(before, torch.random.get_rng_state())
    none = gradients.clipped(weights, rows.take(np.zeros(0, dtype=np.int64)), norm=1.0, chance=RNG)
    assert not any(array.any() for array in none.sums.values())


def test_images_through_a_chain_that_flattens_them():
    rows = networks.images(12)
    model = Module(factory=lambda: nn.Sequential(nn.Flatten(), nn.Linear(144, 3), nn.ReLU(), nn.Linear(3, 1)))
    assert isinstance(model.patient_gradients(rows.layout), ChainGradients)
    found = model.patient_gradients(rows.layout).clipped(weights_of(model, rows), rows, norm=1.0, chance=RNG)
    assert found.sums["1.weight"].shape == (3, 144)
