import itertools

import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from cohortium.core.parameters import Parameters
from cohortium.errors import UsageError
from cohortium.synth.exchange import fit_by_sums
from cohortium.synth.validation.census import Census, on_the_grid


@settings(max_examples=15, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(cuts=st.lists(st.integers(0, 960), max_size=6))
def test_any_partition_counts_as_the_pooled_table(world, cuts):
    census = Census(facts=world.facts)
    edges = [0, *sorted(cuts), len(world.training)]
    parts = [world.training.take(np.arange(a, b)) for a, b in itertools.pairwise(edges)]
    assert fit_by_sums(census, parts).digest == fit_by_sums(census, [world.training]).digest


def test_everything_that_leaves_is_a_whole_number(world):
    census = Census(facts=world.facts)
    state = census.initial(None, rng=None)
    while not census.finished(state):
        answer = census.answer(state, world.training)
        assert {array.dtype.kind for array in answer.values()} == {"i"}
        state = census.advance(state, answer)


def test_a_census_like_another_uses_its_grid_and_bins(world):
    census = Census(facts=world.facts)
    real = fit_by_sums(census, [world.training])
    made = fit_by_sums(census.like(real), [world.synthetic])
    for name in real:
        if name.startswith(("grid/", "bins/")):
            assert np.array_equal(real[name], made[name])
    assert int(made["n"][0]) == len(world.synthetic)


def test_cells_keep_the_order_of_values_and_gaps_stay(world):
    state = fit_by_sums(Census(facts=world.facts), [world.training])
    cells = on_the_grid(world.facts, state, world.training)
    order = np.argsort(world.training["hb"], kind="stable")
    there = ~np.isnan(world.training["hb"][order])
    assert (np.diff(cells["hb"][order][there]) >= 0).all()
    assert np.array_equal(np.isnan(cells["ferritin"]), np.isnan(world.training["ferritin"]))


def test_totals_that_are_no_counts_fail_the_merge(world):
    """A lying site's numbers, in every exchange; sums of ranks may be larger than any number of patients."""
    census = Census(facts=world.facts)
    state, seen = census.initial(None, rng=None), []
    while not census.finished(state):
        total = census.answer(state, world.training)
        name = next(one for one in sorted(total) if one not in ("sum", "square", "product"))
        for wrong in (-1, 1 << 60):
            lie = np.asarray(total[name]).copy()
            lie.flat[0] = wrong
            with pytest.raises(ValueError, match=f"totals '{name}' are no counts of patients"):
                census.advance(state, total | Parameters({name: lie}))
        seen.append(name)
        state = census.advance(state, total)
    assert seen == ["coarse/age", "burden", "both"]
    large = total | Parameters({"square": np.asarray(total["square"]) + (1 << 50)})
    assert census.advance(state | Parameters({"phase": np.array([2])}), large)


def test_a_census_predicts_nothing(world):
    with pytest.raises(UsageError, match="predicts nothing"):
        Census(facts=world.facts).predict(None, None)
