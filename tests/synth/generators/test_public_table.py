"""Cells everybody knows beforehand, and the table of a number on them."""

import numpy as np
import pytest

from cohortium.synth.facts import Fact
from cohortium.synth.generators.public_table import N_CELLS, PublicTable, has_range, nearest_counts, public_edges


def test_whole_numbers_of_a_narrow_range_have_a_cell_each():
    edges = public_edges(Fact(name="ecog", kind="numeric", low=0, high=4, whole=True))
    assert edges == pytest.approx([-0.5, 0.5, 1.5, 2.5, 3.5, 4.5])


def test_others_have_as_many_cells_that_widen():
    edges = public_edges(Fact(name="wbc", kind="numeric", low=0, high=500))
    assert len(edges) == N_CELLS + 1
    assert (edges[0], edges[-1]) == pytest.approx((0, 500))
    assert (np.diff(edges, 2) > 0).all()


def test_no_range_is_refused_with_what_to_do():
    with pytest.raises(ValueError, match=r"'hb' has no range.*\[cohort\] ranges"):
        public_edges(Fact(name="hb", kind="numeric"))


def test_a_range_has_two_ends_in_order():
    ends = ((0, 500), (None, 5), (0, None), (5, 5))
    assert [has_range(Fact(name="hb", kind="numeric", low=a, high=b)) for a, b in ends] == [True, False, False, False]


def test_noisy_counts_become_counts_of_the_same_total():
    assert nearest_counts(np.array([5.0, 3.0, 2.0]), 10.0) == pytest.approx([5, 3, 2])
    found = nearest_counts(np.array([9.0, 4.0, -3.0]), 10.0)  # by hand: 1.5 too many among the two that stay
    assert found == pytest.approx([7.5, 2.5, 0.0])


def test_values_come_back_in_their_cells_and_steps():
    table = PublicTable(np.array([0.0, 1.0, 2.0, 4.0]), np.array([10.0, 0.0, 30.0]), 0.5)
    values = table.value(np.linspace(0.001, 0.999, 400))
    assert ((values <= 1.0) | (values >= 2.0)).all()
    assert (values <= 1.0).mean() == pytest.approx(0.25, abs=0.03)
    assert (np.round(values * 2) == values * 2).all()
    assert table.score(np.array([0.5, np.nan, 3.0, 99.0])).tolist() == [table.z[0], 0.0, table.z[2], table.z[2]]
    assert 0 < table.kept < 1
