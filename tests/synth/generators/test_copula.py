"""The copula of many sites is the copula of the pooled table; pairs of flags are as frequent as counted."""

import numpy as np
import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st

from cohortium.errors import UsageError
from cohortium.synth.exchange import fit_by_sums
from cohortium.synth.generators import GENERATORS
from cohortium.synth.generators.copula import Copula
from cohortium.synth.rows import Rows
from cohortium.synth.validation.curves import km_gap, tau_of
from cohortium.synth.validation.fidelity import classic_pair


@pytest.fixture(scope="module")
def fitted(world):
    copula = Copula(facts=world.facts)
    return copula, fit_by_sums(copula, [world.training])


@pytest.fixture(scope="module")
def drawn(world, fitted):
    copula, state = fitted
    return copula.sample(state, 4000, rng=np.random.default_rng(2))


def test_the_registry_names_it():
    assert GENERATORS.resolve("copula") is Copula


@settings(max_examples=3, deadline=None)
@given(st.integers(1, 45), st.integers(0, 2**16))
@example(45, 0)
def test_any_partition_gives_the_same_bits(world, fitted, n_sites, seed):
    site = np.random.default_rng(seed).integers(0, n_sites, len(world.training))
    site[0] = n_sites  # one site of a single patient
    parts = [world.training.take(site == k) for k in range(n_sites + 2)]  # and one of none
    assert fit_by_sums(fitted[0], parts).digest == fitted[1].digest


def test_a_float_sum_would_be_noticed(world, fitted):
    copula, state = fitted[0], fitted[0].initial(None, rng=None)
    while not copula.finished(state):
        answer = copula.answer(state, world.training)
        assert {array.dtype.kind for array in answer.values()} == {"i"}
        state = copula.advance(state, answer)
    assert state.digest == fitted[1].digest
    fewer = world.training.take(np.arange(1, len(world.training)))
    assert fit_by_sums(copula, [fewer]).digest != state.digest


def test_pairs_of_flags_are_as_frequent_as_counted(world, drawn):
    real = world.training
    genes = [fact.name for fact in world.facts.of_group("gene")]
    for a in genes:
        for b in genes:
            there = ~np.isnan(real[a]) & ~np.isnan(real[b])
            wanted = (real[a][there] * real[b][there]).mean()
            assert np.nanmean(drawn[a] * drawn[b]) == pytest.approx(wanted, abs=0.02), (a, b)


def test_margins_gaps_and_survival_are_kept(world, drawn):
    real = world.training
    for fact in world.facts.columns:
        assert np.isnan(drawn[fact.name]).mean() == pytest.approx(np.isnan(real[fact.name]).mean(), abs=0.03)
        assert abs(np.nanmean(real[fact.name]) - np.nanmean(drawn[fact.name])) < 0.12 * (np.nanstd(real[fact.name]))
    pairs = [(rows["os_years"], rows["died"]) for rows in (real, drawn)]
    assert km_gap(*pairs, tau_of(real["os_years"])) < 0.03


def test_it_is_close_to_the_real_table(world, drawn):
    csf, gsf = classic_pair(world.training, drawn)
    assert csf > 0.95
    assert gsf > 0.93


def test_constant_columns_and_an_empty_one_are_no_problem(world):
    columns = {name: world.training[name].copy() for name in world.facts.names}
    columns["complex"][:] = 0.0
    columns["ferritin"][:] = np.nan
    copula = Copula(facts=world.facts)
    state = fit_by_sums(copula, [Rows(world.facts, columns)])
    found = copula.sample(state, 300, rng=np.random.default_rng(0))
    assert (found["complex"] == 0).all()
    assert np.isnan(found["ferritin"]).all()


def test_an_unfinished_one_draws_nobody(world):
    copula = Copula(facts=world.facts)
    with pytest.raises(UsageError, match="not finished"):
        copula.sample(copula.initial(None, rng=None), 5, rng=np.random.default_rng(0))


def test_options_out_of_range_are_refused(world):
    with pytest.raises(ValueError, match="min_cell"):
        Copula(facts=world.facts, min_cell=0)


def test_its_correlations_lie_within_one(fitted):
    found = fitted[0].correlations(fitted[1])
    assert np.abs(found).max() <= 1.0
    assert found == pytest.approx(found.T, abs=1e-12)
