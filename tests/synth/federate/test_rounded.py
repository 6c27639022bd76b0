import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from cohortium.core.parameters import Parameters
from cohortium.synth.exchange import fit_by_sums
from cohortium.synth.federate.rounded import is_count, rounded_counts
from cohortium.synth.generators.bn import BayesianNetwork
from cohortium.synth.generators.copula import Copula

NO_COUNTS = {"phase", "families", "climbs", "middle", "hazard pairs", "hazard steps"}


@pytest.mark.parametrize("made", [BayesianNetwork, Copula])
def test_a_rounded_model_holds_multiples_only_and_is_drawn_from_like_before(world, sites, made):
    generator, own = made(facts=world.facts), sites["a"][0]
    state = fit_by_sums(generator, [own])
    found = rounded_counts(state, min_cell=10)
    assert set(found) == set(state)
    for name, array in found.items():
        assert array.shape == state[name].shape
        if is_count(name):
            assert (array % 10 == 0).all(), name
        elif array.dtype.kind == "i":
            assert name in NO_COUNTS or name.endswith(("/first", "/upper")), f"is '{name}' no count of patients?"
    before, after = (generator.sample(one, 3000, rng=np.random.default_rng(0)) for one in (state, found))
    for fact in world.facts.columns:
        gaps = [np.isnan(rows[fact.name]) for rows in (before, after)]
        assert abs(gaps[0].mean() - gaps[1].mean()) < 0.03, fact.name
        if not fact.is_number:
            shares = [np.bincount(r[fact.name][~g].astype(int), minlength=5) / (~g).sum()
                      for r, g in zip((before, after), gaps, strict=True)]  # fmt: skip
            assert np.abs(shares[0] - shares[1]).max() < 0.04, fact.name
    if made is BayesianNetwork:
        filled = generator.impute(found, own, rng=np.random.default_rng(0))
        assert not any(np.isnan(filled[name]).any() for name in filled)
    assert rounded_counts(found, min_cell=10).digest == found.digest
    assert rounded_counts(state, min_cell=1).digest == state.digest


@given(st.integers(50, 3000), st.integers(0, 3000), st.integers(1, 30))
def test_whether_gaps_are_modelled_stays(n, missing, cell):
    state = Parameters({"n": np.array([n]), "missing": np.array([min(missing, n)])})
    found = rounded_counts(state, min_cell=cell)

    def modelled(one):
        return bool(one["missing"][0] >= 0.01 * one["n"][0] and one["missing"][0] > 0)

    assert modelled(found) == modelled(state)
    assert not found["missing"][0] % cell
    assert found["missing"][0] <= found["n"][0]


@given(st.lists(st.lists(st.integers(0, 60), min_size=3, max_size=3), min_size=1, max_size=20), st.integers(1, 20))
def test_totals_of_levels_stay_right_to_half_a_cell_and_nobody_stays_nobody(rows, cell):
    counts = np.array(rows, dtype=np.int64).T
    found = np.asarray(rounded_counts(Parameters({"counts/0": counts}), min_cell=cell)["counts/0"])
    assert (found >= 0).all()
    assert (found % cell == 0).all()
    assert (found[counts == 0] == 0).all()
    assert (2 * np.abs(found.sum(axis=1) - counts.sum(axis=1)) <= cell).all()


def test_counts_of_the_foundation_of_a_network_are_counts_and_its_weights_are_not():
    assert is_count("foundation/counts/12")
    assert is_count("foundation/table/os_years event/counts")
    assert is_count("whole table/hb/counts")
    assert not is_count("network/heads.weight")
    assert not is_count("mixture/weights")
    assert not is_count("foundation/table/hb/upper")
