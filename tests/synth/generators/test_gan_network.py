import numpy as np
import pytest

torch = pytest.importorskip("torch", reason="torch is not installed")

from cohortium.synth.generators.gan_cells import GanCells  # noqa: E402
from cohortium.synth.generators.gan_conditions import Asked  # noqa: E402
from cohortium.synth.generators.gan_network import GanNetwork, Soft  # noqa: E402


@pytest.fixture(scope="module")
def network(world):
    return GanNetwork(GanCells.of(world.generator, world.state), 8, 16)


@pytest.fixture(scope="module")
def held(network):
    weights = network.initial(np.random.default_rng(0))
    assert tuple(weights) == network.names
    return {name: torch.from_numpy(np.array(held)) for name, held in weights.items()}


def soft_of(network, held, n=60):
    inputs = torch.from_numpy(np.random.default_rng(1).normal(size=(n, 8 + network.asked_width)).astype(np.float32))
    return network.soft(held, inputs, np.random.default_rng(2))


def test_invented_patients_look_like_real_ones_to_the_critic(world, network, held):
    soft = soft_of(network, held).data.numpy()
    real = network.real(network.cells.encode(world.training, np.random.default_rng(0)))
    assert soft.shape[1] == real.shape[1] == network.width
    n, f = network.cells.n_numbers, len(network.heads.flags)
    for rows in (soft, real):
        assert np.abs(rows[:, :n]).max() <= 1.0
        assert rows[:, n:].min() >= 0.0
        np.testing.assert_allclose(rows[:, n + f :].sum(axis=1), len(network.heads.blocks), rtol=1e-4)
    assert (np.maximum(soft[:, n : n + f], 1 - soft[:, n : n + f]) > 0.9).mean() > 0.5  # nearly drawn


def test_no_distance_without_a_mode(network, held):
    soft = soft_of(network, held, n=2000).data
    named, cells = len(network.cells.named), network.cells
    n, f = cells.n_numbers, len(network.heads.flags)
    for k, m in enumerate(cells.n_modes):
        variable = named + k
        if m and variable in network.heads.blocks and cells.sizes[variable] > m:
            first = n + f + int(network.heads.level_at[list(network.heads.blocks).index(variable), 0])
            has_mode = soft[:, first : first + m].sum(dim=1)
            assert float((soft[:, k].abs() - has_mode).max()) <= 1e-4


def test_questions_name_one_flag_or_one_level(network):
    named = len(network.cells.named)
    sizes = np.array(network.cells.sizes[:named])
    variable = np.arange(named)
    question = network.question(Asked(variable, sizes - 1), named)
    assert question.shape == (named, network.asked_width)
    np.testing.assert_array_equal(np.abs(question).sum(axis=1), 1.0)
    assert np.linalg.matrix_rank(question) == named
    flag = int(network.heads.flags[0])
    assert network.question(Asked(np.array([flag]), np.array([0])), 1).min() == -1.0
    assert not network.question(None, 3).any()


def test_missing_what_was_asked_costs_the_cross_entropy(network, held):
    soft = soft_of(network, held, n=2)
    flag = int(network.heads.flags[1])
    asked = Asked(np.array([flag, flag]), np.array([1, 0]))
    p = torch.sigmoid(soft.flags[:, 1])
    wanted = -(torch.log(p[0]) + torch.log(1 - p[1])) / 2
    assert float(network.miss(soft, asked)) == pytest.approx(float(wanted), rel=1e-5)
    assert isinstance(soft, Soft)
    named = [at for at in network.heads.blocks if at < len(network.cells.named)]
    if named:
        wide = soft.levels[:, : network.cells.sizes[named[0]]]
        chance = torch.softmax(wide, dim=1)
        asked = Asked(np.array([named[0]] * 2), np.array([0, 1]))
        wanted = -(torch.log(chance[0, 0]) + torch.log(chance[1, 1])) / 2
        assert float(network.miss(soft, asked)) == pytest.approx(float(wanted), rel=1e-4)
