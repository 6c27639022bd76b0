import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from scipy.stats import norm

from cohortium.synth.generators.normal_scores import (
    STEPS,
    Scores,
    coarse_counts,
    fine_counts,
    fine_grid,
    normal_quantile,
    scores_of,
    step_counts,
    written_shares,
)


def scored(values, *, min_cell=10, low=None, high=None):
    values = np.asarray(values, dtype=float)
    whole = step_counts(values)
    grid = fine_grid(coarse_counts(values), whole, low=low, high=high)
    return Scores.joined(grid, fine_counts(values, grid), whole=whole, min_cell=min_cell)


def test_normal_quantiles_are_scipys():
    p = np.concatenate([np.logspace(-12, -1, 50), np.linspace(0.1, 0.9, 50), 1 - np.logspace(-12, -1, 50)])
    assert np.allclose(normal_quantile(p), norm.ppf(p), rtol=1e-12, atol=1e-12)


def test_values_come_back_with_their_distribution_and_their_step():
    rng = np.random.default_rng(0)
    values = np.round(rng.gamma(2.0, 3.0, 5000) * 2) / 2
    table = scored(values)
    drawn = table.value(rng.random(5000))
    assert set(np.unique(drawn * 2 % 1)) == {0.0}
    for q in (0.1, 0.5, 0.9):
        assert abs(np.quantile(drawn, q) - np.quantile(values, q)) <= 0.5


def test_extremes_are_never_drawn_since_they_are_patients():
    values = np.concatenate([np.arange(2000) % 60 + 20.0, [107.0, 3.0]])
    table = scored(values)
    assert table.low >= 18
    assert table.high <= 82


def test_no_cell_holds_fewer_patients_than_the_limit():
    values = np.random.default_rng(1).normal(size=400)
    assert scored(values, min_cell=25).counts.min() >= 25


def test_the_middle_has_score_zero_and_missing_has_none():
    table = scored(np.repeat([1.0, 2.0, 3.0], 100))
    assert table.score(np.array([2.0, np.nan, 1.0]))[0] == pytest.approx(0.0, abs=1e-9)
    assert np.isnan(table.score(np.array([np.nan]))[0])
    assert table.score(np.array([1.0]))[0] < 0


def test_a_state_gives_the_table_back():
    table = scored(np.random.default_rng(2).normal(size=300))
    again = scores_of(table.to_parameters())
    p = np.linspace(0.01, 0.99, 20)
    assert np.array_equal(again.value(p), table.value(p))


def test_written_steps_are_told_apart_from_chance():
    rng = np.random.default_rng(3)
    halves, tenths = np.round(rng.random(4000) * 100) / 2, np.round(rng.random(6000) * 500) / 10
    shares = dict(zip(STEPS, written_shares(step_counts(np.concatenate([halves, tenths]))), strict=True))
    assert shares[0.5] + shares[1.0] == pytest.approx(0.4, abs=0.03)
    assert shares[0.1] == pytest.approx(0.6, abs=0.03)


@given(st.lists(st.floats(-1e6, 1e6, allow_nan=False), min_size=1, max_size=60), st.integers(1, 59))
def test_counts_add_up_over_any_split(values, cut):
    values = np.array(values)
    parts = values[:cut], values[cut:]
    for count in (coarse_counts, step_counts):
        assert np.array_equal(count(values), count(parts[0]) + count(parts[1]))


def test_nothing_and_one_value_make_a_table():
    assert scored([]).value(np.array([0.5])).shape == (1,)
    assert scored([7.0] * 20).value(np.array([0.1, 0.9])).tolist() == [7.0, 7.0]


def test_what_lies_below_a_rare_value_and_is_counted_elsewhere_is_not_drawn():
    grid = np.array([-0.5, 1.0, 8.0, 1.0])
    fine = np.array([20, 0, 0, 30, 20, 0, 0, 0])
    whole = step_counts(np.arange(70.0))
    p = (np.arange(700) + 0.5) / 700
    spread = Scores.joined(grid, fine, whole=whole, min_cell=5)
    apart = Scores.joined(grid, fine, whole=whole, min_cell=5, gone=[1, 2])
    assert set(spread.value(p)) == {0.0, 1.0, 2.0, 3.0, 4.0}
    assert set(apart.value(p)) == {0.0, 3.0, 4.0}
    assert apart.score(np.array([0.0, 3.0, 4.0])).tolist() == spread.score(np.array([0.0, 3.0, 4.0])).tolist()
