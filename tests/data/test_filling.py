"""Filling by means and by a multivariate normal: against an independent EM and known truth."""

from __future__ import annotations

import numpy as np
import pytest

from cohortium.core.examples import Examples, Layout
from cohortium.core.parameters import Parameters
from cohortium.data import filling
from cohortium.data.filling import GaussianFill, MeanFill
from cohortium.errors import TrainingFailed


def site(x) -> Examples:
    x = np.asarray(x, dtype=float)
    return Examples(layout=Layout(features=tuple(f"c{i}" for i in range(x.shape[1])), outcome="number"), x=x)


def correlated(n, seed=0, share=0.3):
    """Rows of a normal with correlations of 0.8 and 0.5, in odd units, and the same with holes."""
    rng = np.random.default_rng(seed)
    c = np.array([[1, 0.8, 0.0], [0.8, 1, 0.5], [0.0, 0.5, 1]])
    whole = rng.multivariate_normal(np.zeros(3), c, size=n) * [10, 1e-6, 1e5] + [100, 0, 3e5]
    holes = np.where(rng.random(whole.shape) < share, np.nan, whole)
    return whole, holes


def em_by_rows(z, rounds, shrink):
    """The textbook algorithm, row by row (Little and Rubin 11.2), on columns of unit scale."""
    n, p = z.shape
    m, c = np.zeros(p), np.eye(p)
    for _ in range(rounds):
        first, second = np.zeros(p), np.zeros((p, p))
        for row in z:
            o, u = ~np.isnan(row), np.isnan(row)
            full, extra = row.copy(), np.zeros((p, p))
            b = c[np.ix_(u, o)] @ np.linalg.inv(c[np.ix_(o, o)]) if o.any() else np.zeros((u.sum(), 0))
            full[u] = m[u] + b @ (row[o] - m[o])
            extra[np.ix_(u, u)] = c[np.ix_(u, u)] - b @ c[np.ix_(o, u)]
            first += full
            second += np.outer(full, full) + extra
        m = first / n
        c = second / n - np.outer(m, m)
        c = (1 - shrink) * c + shrink * np.diag(np.diag(c))
    return m, c


def test_means_fill_every_hole_and_touch_nothing_else(learn):
    parts = [site([[1.0, np.nan], [3.0, 7.0]]), site([[np.nan, np.nan], [8.0, np.nan]])]
    state = learn(MeanFill(), parts)
    assert MeanFill().apply(state, parts[0], own=Parameters()).x.tolist() == [[1, 7], [3, 7]]
    assert MeanFill().apply(state, parts[1], own=Parameters()).x.tolist() == [[4, 7], [8, 7]]


def test_a_column_nobody_has_is_filled_with_zero(learn):
    part = site([[1.0, np.nan], [3.0, np.nan]])
    assert MeanFill().apply(learn(MeanFill(), [part]), part, own=Parameters()).x[:, 1].tolist() == [0, 0]


def test_federated_em_equals_the_textbook_algorithm(learn):
    _, x = correlated(200)
    prepared = GaussianFill(rounds=12, tolerance=0)
    state = learn(prepared, [site(x[:50]), site(x[50:60]), site(x[60:])])
    z = (x - np.nanmean(x, axis=0)) / np.nanstd(x, axis=0)
    m, c = em_by_rows(z, 12, 0.05)
    assert int(state["step"][0]) == 13
    assert np.abs(state["m"] - m).max() < 1e-4
    assert np.abs(state["C"] - c).max() < 1e-4


def test_gaussian_filling_is_nearer_to_the_truth_than_means(learn):
    whole, x = correlated(600)
    parts = [site(x[:100]), site(x[100:])]
    holes = np.isnan(x)
    error = {}
    for preparation in (MeanFill(), GaussianFill()):
        state = learn(preparation, parts)
        filled = np.concatenate([preparation.apply(state, part, own=Parameters()).x for part in parts])
        assert np.array_equal(filled[~holes], x[~holes])
        assert not np.isnan(filled).any()
        error[type(preparation)] = (((filled - whole) / whole.std(axis=0))[holes] ** 2).mean()
    assert error[MeanFill] == pytest.approx(1, abs=0.12)
    assert error[GaussianFill] < 0.75 * error[MeanFill]


def test_em_stops_when_nothing_moves_and_never_after_its_rounds(learn):
    _, x = correlated(300)
    assert int(learn(GaussianFill(), [site(x)])["step"][0]) < 30
    assert int(learn(GaussianFill(rounds=3), [site(x)])["step"][0]) == 4
    assert GaussianFill(rounds=3).max_rounds == 4


def test_rows_without_any_value_get_the_mean(learn):
    _, x = correlated(100)
    x[5] = np.nan
    preparation = GaussianFill()
    state = learn(preparation, [site(x)])
    filled = preparation.apply(state, site(x), own=Parameters()).x[5]
    scale = np.nanstd(x, axis=0)
    expected = np.nanmean(x, axis=0) + state["m"] * scale
    assert (np.abs(filled - expected) < 1e-4 * scale).all()


def test_constant_and_equal_columns_do_no_harm(learn):
    _, x = correlated(80)
    x = np.column_stack([x, np.ones(80), x[:, 0]])
    preparation = GaussianFill(rounds=30)
    filled = preparation.apply(learn(preparation, [site(x)]), site(x), own=Parameters()).x
    assert np.isfinite(filled).all()
    assert (filled[:, 3] == 1).all()


def test_complete_rows_come_back_as_they_are(learn):
    whole, _ = correlated(40)
    state = learn(GaussianFill(), [site(whole)])
    assert np.array_equal(GaussianFill().apply(state, site(whole), own=Parameters()).x, whole)


def test_too_many_columns_are_refused_with_a_way_out():
    wide = Layout(features=tuple(f"g{i}" for i in range(301)), outcome="number")
    with pytest.raises(TrainingFailed, match="at most 300 columns, found 301; choose 'mean'"):
        GaussianFill().initial(wide, rng=np.random.default_rng(0))
    assert filling.MAX_GAUSSIAN_COLUMNS == 300


@pytest.mark.parametrize("preparation", [MeanFill(), GaussianFill()])
def test_images_are_refused(preparation):
    layout = Layout(features=(), outcome="binary", classes=("0", "1"), image=(1, 2, 2))
    with pytest.raises(TrainingFailed, match="images have no missing values"):
        preparation.initial(layout, rng=np.random.default_rng(0))


@pytest.mark.parametrize(("option", "value"), [("rounds", 0), ("shrink", 0), ("shrink", 1.1), ("tolerance", -1)])
def test_impossible_options_are_refused(option, value):
    with pytest.raises(ValueError, match=option):
        GaussianFill(**{option: value})
