"""Novelty: distances, the spread from a histogram, and what a site's oddity adds."""

import numpy as np
import pytest

from cohortium.quality.novelty import (
    CELLS,
    Spread,
    basis_of,
    cell_of,
    distances,
    record_oddity,
    site_novelty,
    site_oddity,
    spread_of,
)


def test_distances_inside_and_outside_agree_with_a_hand_calculation():
    x = np.array([[2.0, 0, 0, 0], [-2, 0, 0, 0], [0, 1, 0, 0], [0, -1, 0, 0], [0, 0, 0.5, 0], [0, 0, -0.5, 0]])
    basis = basis_of(len(x), x.sum(axis=0), x.T @ x)
    assert basis.variance == pytest.approx([8 / 6, 2 / 6, 0.5 / 6])
    assert not basis.has_rest  # d = 4, k = 3: no dimension to spare
    found = distances(np.array([[2.0, 1.0, 0.0, 9.0]]), basis)
    assert found == pytest.approx(np.log([[4 / (8 / 6) + 1 / (2 / 6)]]))


def test_with_dimensions_to_spare_the_rest_counts_apart():
    rng = np.random.default_rng(0)
    x = rng.normal(size=(4000, 30)) * np.linspace(3, 0.2, 30)
    basis = basis_of(len(x), x.sum(axis=0), x.T @ x)
    assert basis.has_rest
    assert basis.variance.shape == (20,)
    odd = np.zeros((1, 30))
    odd[0, -1] = 5.0
    assert distances(odd, basis)[0, 1] > distances(x, basis)[:, 1].max()


def test_an_inverted_image_is_unlike_the_mean_image_and_a_brighter_one_is_not():
    rng = np.random.default_rng(2)
    usual = rng.random(36)
    images = np.clip(usual * rng.normal(1.0, 0.1, (800, 1)) + rng.normal(0, 0.1, (800, 36)), 0, 1)
    mean, sd = images.mean(axis=0), images.std(axis=0)
    x = (images - mean) / sd
    basis = basis_of(len(x), x.sum(axis=0), x.T @ x, scale=np.array([mean, sd]))
    assert distances(x, basis).shape == (800, 2)
    found = distances(x, basis, images=True)[:, 2]
    one = images[:1]
    inverted, brighter, blank = ((y - mean) / sd for y in (1 - one, 0.5 * one + 0.4, np.full((1, 36), 0.5)))
    assert distances(inverted, basis, images=True)[0, 2] > found.max() + 1
    assert distances(inverted, basis, images=True)[0, 2] == pytest.approx(-found[0])
    assert distances(brighter, basis, images=True)[0, 2] == pytest.approx(found[0])
    assert distances(blank, basis, images=True)[0, 2] == pytest.approx(0.0, abs=1e-6)
    small = basis_of(len(x), x[:, :4].sum(axis=0), x[:, :4].T @ x[:, :4], scale=np.array([mean[:4], sd[:4]]))
    assert distances(x[:, :4], small, images=True).shape == (800, 1)


def test_median_and_spread_of_a_histogram_are_those_of_the_values():
    values = np.random.default_rng(1).normal(2.5, 0.7, size=20_000)
    found = spread_of(np.bincount(cell_of(values), minlength=CELLS))
    assert found.median == pytest.approx(np.median(values), abs=0.01)
    assert found.sd == pytest.approx(1.4826 * np.median(np.abs(values - np.median(values))), abs=0.02)
    assert spread_of(np.zeros(CELLS, dtype=np.int64)) == Spread(0.0, 1.0)


def test_values_outside_the_histogram_count_in_its_outermost_cells():
    assert cell_of(np.array([-1e9, 1e9])).tolist() == [0, CELLS - 1]


def test_the_larger_distance_makes_the_oddity_and_it_is_cut():
    found = record_oddity(np.array([[1.0, 9.0], [0.0, 0.0], [400.0, 0.0]]), (Spread(1.0, 1.0), Spread(3.0, 2.0)))
    assert found.tolist() == [3.0, -1.0, 8.0]


def test_a_sites_novelty_agrees_with_a_hand_calculation():
    assert site_oddity(np.array([-3.0, 2.0, 5.0])) == pytest.approx(2.0)
    assert site_oddity(np.array([-3.0, 2.0, 5.0]), highest=3.0) == pytest.approx(4 / 3)
    assert site_novelty(2.0, usual=0.25, n=3) == pytest.approx(2.0)
    assert site_novelty(2.0, usual=0.25, n=1) == pytest.approx(2 / 3)
    assert site_novelty(0.9, usual=0.25, n=50) == 0.0
    assert site_novelty(8.0, usual=0.0, n=50) == 6.0
