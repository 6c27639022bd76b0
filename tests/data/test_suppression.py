"""No released table gives a small count back: exhaustive over 3 x 4 tables, against linear programming."""

from __future__ import annotations

import itertools

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy.optimize import linprog

from cohortium.data.suppression import HIDDEN, Policy, Shown, rare_columns, show_count, show_table

POLICY = Policy()


def whole(shown) -> np.ndarray:
    return np.block([[shown.cells, shown.rows[:, None]], [shown.columns, np.array([[shown.total]])]])


def equations(shown):
    """(A, b, hidden): what a reader knows of the hidden numbers, A h = b, one equation for each line."""
    table = whole(shown)
    hidden = np.argwhere(table == HIDDEN)
    rows, right = [], []
    for axis in (0, 1):
        for line in range(table.shape[axis]):
            sign = np.where(hidden[:, 1 - axis] == table.shape[1 - axis] - 1, -1.0, 1.0)
            rows.append(np.where(hidden[:, axis] == line, sign, 0.0))
            known = table.take(line, axis=axis)
            known = np.where(known == HIDDEN, 0, known)
            right.append(known[-1] - known[:-1].sum())
    return np.array(rows).reshape(len(rows), len(hidden)), np.array(right, dtype=float), hidden


def with_totals(cells):
    cells = np.asarray(cells)
    return np.block([[cells, cells.sum(axis=1)[:, None]], [cells.sum(axis=0), np.array([[cells.sum()]])]])


def differences_give_away(cells, shown=None) -> list[tuple[int, int]]:
    """Small cells or totals that linear combinations of released numbers determine."""
    shown = shown or show_table(cells, POLICY)
    a, _, hidden = equations(shown)
    truth = with_totals(cells)
    if not len(hidden):
        return []
    _, singular, basis = np.linalg.svd(a)
    free = basis[np.count_nonzero(singular > 1e-9) :]  # directions in which hidden numbers can move
    fixed = np.abs(free).max(axis=0, initial=0) < 1e-9
    return [tuple(cell) for cell, f in zip(hidden.tolist(), fixed, strict=True) if f and 0 < truth[tuple(cell)] < 5]


def bounds_give_away(cells) -> list[tuple[int, int]]:
    """Small cells or totals whose least and greatest value agree when counts cannot be negative."""
    shown = show_table(cells, POLICY)
    a, b, hidden = equations(shown)
    truth = with_totals(cells)
    given = []
    for place, cell in enumerate(map(tuple, hidden.tolist())):
        if 0 < truth[cell] < 5:
            goal = np.eye(len(hidden))[place]
            ends = [linprog(sign * goal, A_eq=a, b_eq=b, bounds=(0, None)) for sign in (1, -1)]
            high = np.inf if ends[1].status == 3 else -ends[1].fun
            if high - ends[0].fun < 1 - 1e-6:
                given.append(cell)
    return given


def check_lines(cells):
    """Every shown number is 0 or at least 5, true, and so is what the hidden cells of a line add up to."""
    shown, truth = whole(show_table(cells, POLICY)), with_totals(cells)
    known = shown != HIDDEN
    assert (shown[known] == truth[known]).all()
    assert ((shown[known] == 0) | (shown[known] >= 5)).all()
    for table, true in ((shown, truth), (shown.T, truth.T)):
        for line, numbers in zip(table, true, strict=True):
            remainder = numbers[:-1][line[:-1] == HIDDEN].sum()
            assert line[-1] == HIDDEN or remainder == 0 or remainder >= 5


def patterns(levels):
    """All 3 x 4 patterns of so many levels, one of each set that differs by order of rows or columns."""
    rows = list(itertools.product(range(levels), repeat=4))
    tables = np.array(list(itertools.combinations_with_replacement(rows, 3)), dtype=np.int64)
    weight = levels ** np.arange(4)
    keys = []
    for order in itertools.permutations(range(4)):
        codes = np.sort(tables[:, :, list(order)] @ weight, axis=1)
        keys.append(codes @ (levels**4) ** np.arange(3))
    _, first = np.unique(np.min(keys, axis=0), return_index=True)
    return tables[first]


def filled(pattern, seed):
    """Counts for a pattern: 0 = large, 1 = small, 2 = zero."""
    rng = np.random.default_rng(seed)
    return np.choose(
        pattern, [rng.integers(5, 40, pattern.shape), rng.integers(1, 5, pattern.shape), np.zeros(pattern.shape, int)]
    )


def test_there_are_87_patterns_of_small_and_large():
    assert len(patterns(2)) == 87


def test_no_pattern_of_small_and_large_cells_gives_a_small_one_away():
    for number, pattern in enumerate(patterns(2)):
        cells = filled(pattern, number)
        check_lines(cells)
        assert differences_give_away(cells) == [], cells.tolist()


def test_nor_do_all_ones():
    """[[1, 1], [1, 1]] with its totals of 2 would have one solution if totals were shown."""
    for pattern in patterns(2)[::4]:
        cells = np.where(pattern == 1, 1, 6)
        check_lines(cells)
        assert bounds_give_away(cells) == [], cells.tolist()


@pytest.mark.slow
def test_no_3_by_4_table_of_zero_small_and_large_cells_gives_a_small_one_away():
    found = patterns(3)
    assert len(found) == 5053
    for number, pattern in enumerate(found):
        cells = filled(pattern, number)
        check_lines(cells)
        assert differences_give_away(cells) == [], cells.tolist()
        if number % 40 == 0:
            assert bounds_give_away(cells) == [], cells.tolist()


@settings(max_examples=60, deadline=None)
@given(st.integers(1, 4), st.integers(1, 5), st.integers(0, 2**32 - 1))
def test_tables_of_other_shapes_give_nothing_away_either(n_rows, n_columns, seed):
    rng = np.random.default_rng(seed)
    cells = rng.poisson(rng.choice([1, 4, 12], (n_rows, n_columns)))
    check_lines(cells)
    assert differences_give_away(cells) == []


def test_hiding_the_small_cell_alone_would_be_seen_through():
    """The test of the test: a table with one hidden cell is solved."""
    cells = np.array([[3, 9], [9, 9]])
    alone = Shown(np.array([[HIDDEN, 9], [9, 9]]), cells.sum(axis=1), cells.sum(axis=0), 30, 5)
    assert differences_give_away(cells, alone) == [(0, 0)]


def test_a_table_without_small_cells_is_shown_whole():
    cells = [[7, 0, 9], [10, 5, 20]]
    shown = show_table(cells, POLICY)
    assert shown.cells.tolist() == cells
    assert (shown.rows.tolist(), shown.columns.tolist(), shown.total) == ([16, 35], [17, 5, 29], 51)


def test_one_small_cell_takes_the_cheapest_loop_with_it():
    shown = show_table([[7, 8, 90], [10, 3, 20], [30, 40, 50]], POLICY)
    assert shown.text() == [
        ["<5", "<5", "90", "105"],
        ["<5", "<5", "20", "33"],
        ["30", "40", "50", "120"],
        ["47", "51", "160", "258"],
    ]


def test_single_counts():
    assert [show_count(n, POLICY) for n in (0, 1, 4, 5, 12)] == ["0", "<5", "<5", "5", "12"]
    assert show_count(9, Policy(min_cell=10)) == "<10"


def test_a_site_may_only_raise_the_smallest_cell():
    assert POLICY.raised(10).min_cell == 10
    assert POLICY.raised(3).min_cell == 5


def test_sums_need_sites_and_records():
    assert POLICY.allows_sum(n_sites=3, n_records=50)
    assert not POLICY.allows_sum(n_sites=2, n_records=5000)
    assert not POLICY.allows_sum(n_sites=9, n_records=49)
    assert POLICY.splits(10)
    assert not POLICY.splits(9)


def test_columns_with_few_carriers_are_rare_on_either_side():
    assert rare_columns(np.array([14, 15, 90]), np.array([100, 100, 100]), POLICY).tolist() == [True, False, True]


@pytest.mark.parametrize("table", [[], [[1, -1]], [1, 2]])
def test_what_is_no_table_of_counts_is_refused(table):
    with pytest.raises(ValueError, match="a table of counts must have rows and columns"):
        show_table(np.array(table), POLICY)


@pytest.mark.parametrize("option", ["min_cell", "min_sites", "min_records", "min_carriers"])
def test_impossible_options_are_refused(option):
    with pytest.raises(ValueError, match=option):
        Policy(**{option: -1})
