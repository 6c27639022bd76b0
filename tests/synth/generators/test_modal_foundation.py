import numpy as np
import pytest

from cohortium.synth.exchange import fit_by_sums
from cohortium.synth.generators.bn import BayesianNetwork
from cohortium.synth.generators.modal_foundation import ModalFoundation, modes_of, number_tables
from cohortium.synth.generators.modes import Modes


@pytest.fixture(scope="module")
def fitted(world):
    learner = ModalFoundation(inner=BayesianNetwork(facts=world.facts))
    parts = [world.training.take(np.arange(k, len(world.training), 3)) for k in range(3)]
    return learner, fit_by_sums(learner, [world.training]), fit_by_sums(learner, parts)


def test_three_sites_learn_the_modes_of_the_pooled_table_bit_for_bit(fitted):
    learner, pooled, parts = fitted
    assert learner.finished(pooled)
    assert parts.digest == pooled.digest


def test_everything_but_the_modes_is_the_network(fitted, world):
    _, pooled, _ = fitted
    assert pooled.without([n for n in pooled if n.startswith("modes/")]).digest == world.state.digest


def test_modes_by_patients_lie_near_those_of_the_histogram(fitted, world):
    learner, pooled, _ = fitted
    coding = learner.coding(pooled)
    names, tables = number_tables(coding)
    assert names[-1] == "os_years"
    by_em, by_table = modes_of(coding, pooled), modes_of(coding, world.state)
    for name, table, one, other in zip(names, tables, by_em, by_table, strict=True):
        if not int(table.counts.sum()):
            continue
        values = world.training[name]
        spread = np.nanstd(values)
        middles = [float(modes.weights @ modes.means) for modes in (one, other)]
        assert abs(middles[0] - middles[1]) < 0.1 * spread, name
        assert isinstance(one, Modes)


def test_patients_are_drawn_as_from_the_network(fitted, world):
    learner, pooled, _ = fitted
    drawn = learner.sample(pooled, 50, rng=np.random.default_rng(2))
    same = world.generator.sample(world.state, 50, rng=np.random.default_rng(2))
    assert all(np.array_equal(drawn[name], same[name], equal_nan=True) for name in drawn)
