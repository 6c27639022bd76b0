"""The network of many sites is the network of the pooled table, and its patients are like the real ones."""

import numpy as np
import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st

from cohortium.errors import UsageError
from cohortium.synth.exchange import fit_by_sums
from cohortium.synth.generators import GENERATORS
from cohortium.synth.generators.bn import BayesianNetwork
from cohortium.synth.rows import Rows


def test_the_registry_names_it():
    assert GENERATORS.resolve("bn") is BayesianNetwork


@settings(max_examples=4, deadline=None)
@given(st.integers(1, 45), st.integers(0, 2**16))
@example(45, 0)
def test_any_partition_gives_the_same_bits(world, n_sites, seed):
    site = np.random.default_rng(seed).integers(0, n_sites, len(world.training))
    site[0] = n_sites  # one site of a single patient
    parts = [world.training.take(site == k) for k in range(n_sites + 1)]
    assert fit_by_sums(world.generator, parts).digest == world.state.digest


def test_one_patient_more_gives_another_state(world):
    fewer = world.training.take(np.arange(len(world.training) - 1))
    assert fit_by_sums(world.generator, [fewer]).digest != world.state.digest


def test_sites_answer_whole_numbers_only(world):
    state = world.generator.initial(None, rng=None)
    while not world.generator.finished(state):
        answer = world.generator.answer(state, world.training)
        assert {array.dtype.kind for array in answer.values()} == {"i"}
        state = world.generator.advance(state, answer)


def test_means_frequencies_and_gaps_are_kept(world):
    for fact in world.facts.columns:
        real, made = world.training[fact.name], world.synthetic[fact.name]
        assert np.isnan(made).mean() == pytest.approx(np.isnan(real).mean(), abs=0.05)
        spread = np.nanstd(real) or 1.0
        assert abs(np.nanmean(real) - np.nanmean(made)) < 0.2 * spread, fact.name


def test_splicing_genes_stay_exclusive(world):
    both = (world.synthetic["SF3B1"] == 1) & (world.synthetic["SRSF2"] == 1)
    assert both.sum() <= 2


def test_a_harder_life_stays_shorter(world):
    risk = world.generator.log_risk(world.state, world.synthetic)
    time = world.synthetic["os_years"]
    assert np.median(time[risk > np.median(risk)]) < np.median(time[risk <= np.median(risk)])


def test_no_training_patient_is_copied(world):
    real = {row.tobytes() for row in np.nan_to_num(world.training.matrix(), nan=-9.0)}
    assert not any(row.tobytes() in real for row in np.nan_to_num(world.synthetic.matrix(), nan=-9.0))


def test_constant_columns_and_a_site_that_lacks_one_are_no_problem(world):
    columns = {name: world.training[name].copy() for name in world.facts.names}
    columns["complex"][:] = 0.0
    columns["ferritin"][:] = np.nan
    rows = Rows(world.facts, columns)
    state = fit_by_sums(world.generator, [rows])
    drawn = world.generator.sample(state, 500, rng=np.random.default_rng(0))
    assert (drawn["complex"] == 0).all()
    assert np.isnan(drawn["ferritin"]).all()


def test_an_unfinished_generator_draws_nobody(world):
    with pytest.raises(UsageError, match="not finished"):
        world.generator.sample(world.generator.initial(None, rng=None), 5, rng=np.random.default_rng(0))


@pytest.mark.parametrize("wrong", [{"max_parents": 9}, {"penalty": "bdeu"}, {"min_cell": 0}, {"max_climbs": 0}])
def test_options_out_of_range_are_refused(world, wrong):
    with pytest.raises(ValueError, match=next(iter(wrong))):
        BayesianNetwork(facts=world.facts, **wrong)


def test_bic_gives_a_sparser_graph_than_aic(world):
    sparse = BayesianNetwork(facts=world.facts, penalty="bic")
    state = fit_by_sums(sparse, [world.training])
    assert sparse.network(state).n_edges < world.generator.network(world.state).n_edges
