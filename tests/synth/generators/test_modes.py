import numpy as np
import pytest

from cohortium.synth.generators.modes import Modes
from cohortium.synth.generators.normal_scores import Scores, coarse_counts, fine_counts, fine_grid, step_counts


def table_of(values, min_cell=10):
    whole = step_counts(values)
    grid = fine_grid(coarse_counts(values), whole, low=None, high=None)
    return Scores.joined(grid, fine_counts(values, grid), whole=whole, min_cell=min_cell)


def two_hills(n=4000):
    rng = np.random.default_rng(0)
    return np.round(np.where(rng.random(n) < 0.3, rng.normal(10, 1, n), rng.normal(50, 5, n)), 2)


def test_two_hills_are_found_on_the_published_histogram():
    modes = Modes.of(table_of(two_hills()))
    low = modes.means < 30
    assert modes.weights[low].sum() == pytest.approx(0.3, abs=0.02)
    assert np.average(modes.means[low], weights=modes.weights[low]) == pytest.approx(10, abs=0.3)
    assert np.average(modes.means[~low], weights=modes.weights[~low]) == pytest.approx(50, abs=0.6)
    assert len(modes) <= 10
    assert modes.weights.min() >= 0.005


def test_values_come_back_from_mode_and_distance():
    values = two_hills(500)
    modes = Modes.of(table_of(two_hills()))
    mode, place = modes.encode(values, np.random.default_rng(1))
    assert np.abs(place).max() <= 0.99
    inside = np.abs(place) < 0.99
    assert inside.mean() > 0.97
    np.testing.assert_allclose(modes.decode(mode, place)[inside], values[inside], atol=1e-9)


def test_a_constant_and_an_empty_column_have_one_mode():
    for values in (np.full(100, 3.0), np.full(10, np.nan)):
        modes = Modes.of(table_of(values))
        mode, place = modes.encode(values, np.random.default_rng(0))
        assert len(modes) == 1
        assert not mode.any()
        assert np.isfinite(place).all()


def test_missing_values_are_at_no_distance():
    mode, place = Modes.of(table_of(two_hills())).encode(np.array([np.nan, 50.0]), np.random.default_rng(0))
    assert (mode[0], place[0]) == (0, 0.0)
