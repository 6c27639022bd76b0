"""What a noisy step of the GAN takes from a patient is bounded, and the rest takes nothing from anybody."""

import numpy as np
import pytest

torch = pytest.importorskip("torch", reason="torch is not installed")

from cohortium.privacy.dp.grid import Grid  # noqa: E402
from cohortium.synth.generators.critic import Critic  # noqa: E402
from cohortium.synth.generators.gan_cells import GanCells  # noqa: E402
from cohortium.synth.generators.gan_network import GanNetwork  # noqa: E402
from cohortium.synth.generators.judged_patients import JudgedPatients  # noqa: E402


@pytest.fixture(scope="module")
def patients(world):
    network = GanNetwork(GanCells.of(world.generator, world.state), 8, 16)
    modal = network.cells.encode(world.training.take(np.arange(40)), np.random.default_rng(0))
    return JudgedPatients(network, Critic(network.width + network.asked_width, 16, 1, 0.0), modal)


@pytest.fixture
def weights(patients):
    rng = np.random.default_rng(0)
    made = patients.network.initial(rng) | patients.critic.initial(rng)
    return {name: np.array(array) for name, array in made.items()}


class Middle:
    """A stream that always asks for the variable in the middle."""

    def integers(self, low, high, n):
        return np.full(n, (low + high) // 2)


def by_hand(patients, weights, row, norm):
    """One patient's gradient by the tape, built whole and cut; its length."""
    held = {name: torch.from_numpy(weights[name].copy()).requires_grad_() for name in patients.names}
    network, variable = patients.network, len(patients.network.cells.named) // 2
    asked = np.zeros((1, network.asked_width), dtype=np.float32)
    level = int(patients.modal.codes[row, variable])
    place = int(np.flatnonzero(network.heads.flags == variable)[0])
    asked[0, place] = 2 * level - 1
    shown = torch.from_numpy(np.hstack([network.real(patients.modal)[row : row + 1], asked]))
    h = torch.nn.functional.leaky_relu(shown @ held["critic.0.weight"].t() + held["critic.0.bias"], 0.2)
    h = torch.nn.functional.leaky_relu(h @ held["critic.1.weight"].t() + held["critic.1.bias"], 0.2)
    said = h @ held["critic.2.weight"].t() + held["critic.2.bias"]
    found = torch.autograd.grad(-said.sum(), list(held.values()))
    length = float(torch.sqrt(sum((one**2).sum() for one in found)))
    return [one.numpy() * min(1.0, norm / length) for one in found], length


def test_the_sum_is_that_of_gradients_built_one_by_one_and_cut(patients, weights):
    norm = float(np.median([by_hand(patients, weights, row, 1.0)[1] for row in range(12)]))
    alone = [by_hand(patients, weights, row, norm) for row in range(12)]
    found = patients.clipped(weights, np.arange(12), norm=norm, chance=Middle())
    assert 0 < found.n_whole == sum(length <= norm for _, length in alone) < 12
    assert tuple(found.sums) == tuple(patients.names)
    for at, name in enumerate(patients.names):
        np.testing.assert_allclose(found.sums[name], sum(one[at] for one, _ in alone), rtol=1e-4, atol=1e-4)


def moved_by_one(patients, weights, norm):
    """How far the sum moves when one patient comes, the longest of ten."""
    with_all = patients.clipped(weights, np.arange(10), norm=norm, chance=Middle()).sums
    without = [patients.clipped(weights, np.delete(np.arange(10), at), norm=norm, chance=Middle()).sums
               for at in range(10)]  # fmt: skip
    return max(np.sqrt(sum(float(((with_all[n] - one[n]) ** 2).sum()) for n in with_all)) for one in without)


def test_no_patient_moves_the_sum_by_more_than_the_norm_and_a_doubled_cut_would_be_seen(patients, weights):
    grid = Grid(n=sum(weights[name].size for name in patients.names), norm=0.1)
    assert 0.09 < moved_by_one(patients, weights, grid.clipped_to) < grid.sensitivity / grid.units
    assert moved_by_one(patients, weights, 2 * grid.clipped_to) > 1.9 * grid.sensitivity / grid.units


def test_an_empty_draw_is_nothing_in_the_arrays_of_the_critic(patients, weights):
    found = patients.clipped(weights, np.zeros(0, dtype=np.int64), norm=1.0, chance=Middle())
    assert tuple(found.sums) == tuple(patients.names)
    assert not any(array.any() for array in found.sums.values())


def test_what_needs_no_patient_is_the_same_whoever_the_patients_are(patients, weights):
    nobody = JudgedPatients(patients.network, patients.critic, None)
    found, again = (one.public(weights, norm=0.1, chance=np.random.default_rng(3)) for one in (patients, nobody))
    assert set(found) == set(weights)
    assert all(np.array_equal(found[name], again[name]) for name in found)
    assert np.linalg.norm(found["generator.out.weight"]) > 0


def test_critic_and_generator_at_rest_is_where_invented_patients_are_the_real_ones(patients, weights, world):
    """Cut alike, the two halves of the critic's gradient cancel: without it a critic would drift for ever."""
    norm = 0.05
    drawn = patients.network.cells.encode(world.training.take(np.arange(400)), np.random.default_rng(0))
    many = JudgedPatients(patients.network, patients.critic, drawn)
    real = many.clipped(weights, np.arange(400), norm=norm, chance=np.random.default_rng(1)).sums
    public = many.public(weights, norm=norm, chance=np.random.default_rng(2))
    wide = many.public(weights, norm=1e9, chance=np.random.default_rng(2))
    last = "critic.2.bias"  # the penalty has nothing to say about it
    assert abs(public[last] + real[last] / 400) < 0.3 * abs(real[last] / 400)
    assert abs(wide[last] + real[last] / 400) > 10 * abs(real[last] / 400)
