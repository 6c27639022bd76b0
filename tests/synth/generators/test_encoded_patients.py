import numpy as np
import pytest

torch = pytest.importorskip("torch", reason="torch is not installed")

from cohortium.synth.generators.cells import Cells  # noqa: E402
from cohortium.synth.generators.encoded_patients import EncodedPatients  # noqa: E402
from cohortium.synth.generators.vae_network import VaeNetwork  # noqa: E402


class Still:
    """A stream whose draws are all the mean."""

    def standard_normal(self, size, dtype):
        return np.zeros(size, dtype)


@pytest.fixture(scope="module")
def patients(world):
    network = VaeNetwork(Cells.of(world.generator, world.state), 16, 4, 0.0, 1.0)
    rows = world.training.take(np.arange(40))
    return EncodedPatients(network, network.targets(network.cells.encode(rows)))


@pytest.fixture
def weights(patients):
    return {name: np.array(array) for name, array in patients.network.initial(np.random.default_rng(0)).items()}


def by_hand(patients, weights, row, norm):
    """One patient's gradient, built whole and cut."""
    held = {name: torch.from_numpy(array.copy()).requires_grad_() for name, array in weights.items()}
    batch = patients.targets.take(torch.tensor([row]))
    found = torch.autograd.grad(patients.network.loss(held, batch, Still()), [held[n] for n in patients.network.names])
    length = float(torch.sqrt(sum((one**2).sum() for one in found)))
    factor = min(1.0, norm / length)
    return (
        {n: one.numpy() * factor for n, one in zip(patients.network.names, found, strict=True)},
        length <= norm,
        length,
    )


def test_the_sum_is_that_of_gradients_built_one_by_one_and_cut(patients, weights):
    norm = float(np.median([by_hand(patients, weights, row, 1e9)[2] for row in range(12)]))
    alone = [by_hand(patients, weights, row, norm) for row in range(12)]
    found = patients.clipped(weights, np.arange(12), norm=norm, chance=Still())
    assert 0 < found.n_whole == sum(whole for _, whole, _ in alone) < 12
    for name in weights:
        np.testing.assert_allclose(found.sums[name], sum(one[name] for one, _, _ in alone), rtol=1e-3, atol=1e-3)


def test_no_patient_moves_the_sum_by_more_than_the_norm(patients, weights):
    with_all, without = (patients.clipped(weights, np.arange(k), norm=0.5, chance=Still()) for k in (10, 9))
    moved = sum(float(((with_all.sums[n] - without.sums[n]) ** 2).sum()) for n in weights)
    assert 0.49 < np.sqrt(moved) < 0.5001


def test_an_empty_draw_is_nothing(patients, weights):
    found = patients.clipped(weights, np.zeros(0, dtype=np.int64), norm=1.0, chance=Still())
    assert found.n_whole == 0
    assert all(not array.any() for array in found.sums.values())


def test_all_arrays_learn_from_patients_and_from_nothing_else(patients, weights):
    assert set(patients.names) == set(weights)
    assert patients.public(weights, norm=1.0, chance=Still()) == {}
