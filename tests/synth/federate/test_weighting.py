import numpy as np
import pytest

from cohortium.core.parameters import Parameters
from cohortium.errors import DataError
from cohortium.synth.exchange import fit_by_sums
from cohortium.synth.federate.weighting import fit_by_weighted_sums, scaled_back


def test_totals_are_rounded_to_the_nearest_whole_number_halves_up():
    found = scaled_back(Parameters({"a": np.array([-3, 511, 512, 1535, 1536])}), 1024)
    assert found["a"].tolist() == [0, 0, 1, 1, 2]


def test_equal_weights_are_the_plain_sum(world, sites):
    parts = [rows for rows, _ in sites.values()]
    weighted = fit_by_weighted_sums(world.generator, [(rows, 1024) for rows in parts], unit=1024)
    assert weighted.digest == fit_by_sums(world.generator, parts).digest


def test_half_a_copy_counts_half(world, sites):
    rows = sites["a"][0]
    found = fit_by_weighted_sums(world.generator, [(rows, 2), (rows, 1)], unit=2)
    assert int(found["n"][0]) == len(rows) + len(rows) // 2


def test_no_row_at_all_is_refused(world):
    with pytest.raises(DataError, match="no patient"):
        fit_by_weighted_sums(world.generator, [(world.training.take(np.zeros(0, dtype=int)), 1)], unit=1)
