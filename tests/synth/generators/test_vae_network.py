import numpy as np
import pytest

torch = pytest.importorskip("torch", reason="torch is not installed")

from cohortium.synth.generators.cells import Cells, Encoded  # noqa: E402
from cohortium.synth.generators.vae_network import LARGEST_SCORE, Targets, VaeNetwork  # noqa: E402


@pytest.fixture(scope="module")
def network(world):
    return VaeNetwork(Cells.of(world.generator, world.state), 16, 4, 0.0, 1.0)


@pytest.fixture(scope="module")
def encoded(world, network):
    return network.cells.encode(world.training.take(np.arange(50)))


class Still:
    """A stream whose draws are all the mean."""

    def standard_normal(self, size, dtype):
        return np.zeros(size, dtype)


def loss_of(network, weights, batch):
    held = {name: torch.from_numpy(np.array(weights[name])) for name in network.names}
    return float(network.loss(held, batch, Still()))


def test_the_loss_is_the_one_written_column_by_column(network, encoded):
    weights = network.initial(np.random.default_rng(0))
    w = {name: np.asarray(weights[name], dtype=np.float64) for name in network.names}
    code = np.maximum(network.inputs(encoded) @ w["encoder.weight"].T + w["encoder.bias"], 0) @ w["code.weight"].T
    code += w["code.bias"]
    mean, spread = code[:, :4], code[:, 4:]
    middle, sd, flags, levels = network.decode(weights, mean)
    total = 0.5 * (mean**2 + np.exp(spread) - 1 - spread).sum()
    for patient in range(len(encoded)):
        for at, z in enumerate(np.clip(encoded.z[patient], -LARGEST_SCORE, LARGEST_SCORE)):
            if not np.isnan(z):
                total += 0.5 * ((z - middle[patient, at]) / sd[patient, at]) ** 2 + np.log(sd[patient, at])
        for at, variable in enumerate(network.cells.heads.flags):
            p = 1 / (1 + np.exp(-flags[patient, at]))
            total -= np.log(p if encoded.codes[patient, variable] == 1 else 1 - p)
        for at, variable in enumerate(network.cells.heads.blocks):
            mine = levels[patient, at, : network.cells.sizes[variable]]
            total -= mine[encoded.codes[patient, variable]] - np.log(np.exp(mine).sum())
    assert loss_of(network, weights, network.targets(encoded)) == pytest.approx(total / len(encoded), rel=1e-4)


def test_cells_nobody_knows_cost_nothing(network, encoded):
    weights = network.initial(np.random.default_rng(0))
    blank = Encoded(np.full_like(encoded.z, np.nan), np.full_like(encoded.codes, -1))
    silent = network.targets(blank)
    half = Targets(**{**vars(network.targets(encoded)), "inputs": silent.inputs})
    unseen = {name: torch.zeros_like(held) for name, held in vars(half).items() if name.endswith("_seen")}
    only_kl = loss_of(network, weights, Targets(**{**vars(half), **unseen}))
    assert loss_of(network, weights, silent) == pytest.approx(only_kl)
    assert loss_of(network, weights, half) > only_kl


def test_inputs_hold_scores_flags_and_one_level_of_each_block(network, encoded):
    inputs = network.inputs(encoded)
    levels = inputs[:, network.cells.n_numbers + len(network.cells.heads.flags) :]
    assert inputs.shape[1] == network.n_inputs
    np.testing.assert_array_equal(levels.sum(axis=1), len(network.cells.heads.blocks))
