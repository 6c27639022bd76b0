from types import SimpleNamespace

import numpy as np
import pytest

from cohortium.core.parameters import Parameters
from cohortium.errors import DataError
from cohortium.synth.exchange import fit_by_sums, fit_network, fit_privately
from cohortium.synth.generators.network_training import Budget


def test_three_sites_give_the_state_of_the_pooled_table(world):
    thirds = [world.training.take(np.arange(k, len(world.training), 3)) for k in range(3)]
    assert fit_by_sums(world.generator, thirds).digest == world.state.digest


def test_nobody_is_nothing_to_learn_from(world):
    with pytest.raises(DataError, match="no patient"):
        fit_by_sums(world.generator, [world.training.take(np.zeros(0, dtype=int))])


class OneNumber:
    """A network of a single weight, whose stages leave a trace."""

    def __init__(self, world):
        self._world, self.budgets = world, []

    def foundation(self):
        return self._world.generator

    def begin(self, foundation, *, rng):
        return Parameters({"w": np.zeros(1)})

    def budget(self, foundation):
        return Budget(whole=7, warm=2, private_warm=0)

    def train(self, weights, foundation, rows, *, budget, rng):
        self.budgets.append((budget, len(rows)))
        return SimpleNamespace(weights=Parameters({"w": weights["w"] * 10 + len(rows)}))

    def closing(self, weights, foundation):
        return None

    def assembled(self, foundation, weights, closing):
        assert len(closing) == 0
        return weights | Parameters({"n": foundation["n"]})


def test_a_network_is_begun_warmed_trained_on_all_rows_and_assembled(world):
    halves = [world.training.take(np.arange(k, len(world.training), 2)) for k in range(2)]
    generator, n = OneNumber(world), len(world.training)
    state = fit_network(generator, halves, rng=np.random.default_rng(0))
    assert generator.budgets == [(2, n), (7, n)]  # as many invented rows as patients, then the patients
    assert state["w"][0] == 10 * n + n
    assert state["n"][0] == len(world.training)


def test_noise_for_an_epsilon_is_shared_out_so_that_the_sum_has_all_of_it():
    pytest.importorskip("dp_accounting", reason="dp-accounting is not installed: pip install 'cohortium[dp]'")
    given = []

    class Counting:
        def initial(self, layout, *, rng):
            return Parameters({"n": np.zeros(1)})

        def answer(self, state, rows, *, steps):
            given.append(steps.noise_multiplier)
            return Parameters({"n": np.ones(1)})

        def advance(self, state, total):
            return Parameters({"n": state["n"] + total["n"]})

        def finished(self, state):
            return float(state["n"][0]) > 4

    rows = [[1], [1], [1], [1]]
    fit_privately(Counting(), rows, epsilon=1.0, delta=1e-5, entropy=bytes)
    whole = [np.sqrt(sum(one**2 for one in given[at : at + 4])) for at in (0, 4)]
    from cohortium.core.spending import MechanismEvent
    from cohortium.privacy.dp.accounting import epsilon

    assert 0.99 < epsilon([MechanismEvent.gaussian(sigma=float(one)) for one in whole], delta=1e-5) <= 1.0001
    with pytest.raises(DataError, match="no patient"):
        fit_privately(Counting(), [[]], epsilon=1.0, delta=1e-5, entropy=bytes)
