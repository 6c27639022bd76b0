import numpy as np

from cohortium.synth.exchange import fit_by_sums
from cohortium.synth.facts import Fact, Facts
from cohortium.synth.generators.bn import BayesianNetwork
from cohortium.synth.generators.coding import spikes_of
from cohortium.synth.rows import Rows

FACTS = Facts(columns=(Fact(name="blasts", kind="numeric"), Fact(name="flag", kind="flag", levels=("0", "1"))))


def made(values, flag):
    return Rows(FACTS, {"blasts": np.array(values, dtype=float), "flag": np.array(flag, dtype=float)})


def test_values_that_many_share_are_spikes():
    fine = np.array([50, 3, 2, 40, 5])
    values, rest = spikes_of(fine, np.array([-0.5, 1.0, 5.0, 1.0]), zeros=50, min_cell=10)
    assert values.tolist() == [0.0, 3.0]
    assert rest.tolist() == [0, 3, 2, 0, 5]


def test_in_wide_cells_only_zero_can_be_told():
    fine = np.array([80, 20])
    values, rest = spikes_of(fine, np.array([-0.5, 10.0, 2.0, 1.0]), zeros=70, min_cell=5)
    assert values.tolist() == [0.0]
    assert rest.tolist() == [10, 20]


def test_a_spike_goes_to_the_network_and_comes_back_exactly():
    rng = np.random.default_rng(0)
    flag = rng.integers(0, 2, 3000)
    values = np.where((flag == 1) & (rng.random(3000) < 0.8), 0.0, np.round(rng.gamma(3, 4, 3000), 1) + 0.1)
    generator = BayesianNetwork(facts=FACTS)
    state = fit_by_sums(generator, [made(values, flag)])
    drawn = generator.sample(state, 6000, rng=rng)
    for level in (0, 1):
        real, synthetic = (values[flag == level] == 0).mean(), (drawn["blasts"][drawn["flag"] == level] == 0).mean()
        assert abs(real - synthetic) < 0.03


def test_missing_values_are_as_frequent_as_they_were_and_as_dependent():
    rng = np.random.default_rng(1)
    flag = rng.integers(0, 2, 3000)
    values = np.where((flag == 1) & (rng.random(3000) < 0.5), np.nan, np.round(rng.normal(10, 2, 3000), 1))
    generator = BayesianNetwork(facts=FACTS)
    state = fit_by_sums(generator, [made(values, flag)])
    drawn = generator.sample(state, 6000, rng=rng)
    assert np.isnan(drawn["blasts"][drawn["flag"] == 1]).mean() > 0.45
    assert np.isnan(drawn["blasts"][drawn["flag"] == 0]).mean() < 0.02
