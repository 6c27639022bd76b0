"""Draws of halves: balanced, repeatable, and not subtractable under masks."""

import numpy as np
import pytest

from cohortium.quality.halves import draw_halves, group_bound, thinnest


def test_every_bisection_is_a_half_and_its_rest():
    member = draw_halves(83, halves=8, rng=np.random.default_rng(0))
    assert (member[:, 0::2] ^ member[:, 1::2]).all()
    assert member[:, 0::2].sum(axis=0).tolist() == [41] * 4


def test_the_same_stream_draws_the_same_halves():
    first, second = (draw_halves(20, halves=8, rng=np.random.default_rng([1, 2])) for _ in range(2))
    assert (first == second).all()


@pytest.mark.parametrize("n_sites", [8, 11, 12, 16, 25, 83])
def test_masked_draws_cannot_be_subtracted_to_fewer_sites_than_a_group(n_sites):
    member = draw_halves(n_sites, halves=8, rng=np.random.default_rng(5), masked=True)
    assert thinnest(member) >= group_bound(n_sites)


def test_ten_sites_get_the_best_there_is_and_never_fewer_than_three():
    member = draw_halves(10, halves=8, rng=np.random.default_rng(5), masked=True)
    assert 3 <= thinnest(member) < group_bound(10)


def test_a_difference_of_two_sites_is_noticed():
    member = np.zeros((12, 4), dtype=bool)
    member[:6, 0] = True
    member[[0, 1, 2, 3, 4, 6], 2] = True  # differs from half 0 in two sites
    member[:, 1::2] = ~member[:, 0::2]
    assert thinnest(member) == 2


def test_two_equal_halves_are_no_two_bisections():
    half = np.arange(12) < 6
    assert thinnest(np.column_stack([half, ~half, half, ~half])) == 0
