from dataclasses import replace

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from cohortium.errors import DataError, TrainingFailed
from cohortium.models.risk_sets import MAX_CELLS, Spans, at_risk_sums, cell_sums, in_strata, n_cells, spans, spans_in


def rows(kit, time, event, entry=None, **more):
    return kit.survival(np.zeros((len(time), 1)), time, event, entry=entry, **more)


def test_cells_are_whole_multiples_of_the_resolution(kit):
    found = spans(rows(kit, [0, 29.9, 30, 61], [1, 1, 0, 1], resolution=30.0, horizon=90.0))
    assert found.stop.tolist() == [1, 1, 2, 3]
    assert found.start.tolist() == [0, 0, 0, 0]
    assert found.event.tolist() == [True, True, False, True]
    assert found.k == 3


def test_follow_up_beyond_the_grid_is_censored_in_its_last_cell(kit):
    found = spans(rows(kit, [5, 89.9, 90, 500], [1, 1, 1, 1], resolution=30.0, horizon=90.0))
    assert found.stop.tolist() == [1, 3, 3, 3]
    assert found.event.tolist() == [True, True, False, False]


def test_without_a_horizon_there_are_600_cells(kit):
    assert n_cells(kit.layout(1, "survival", resolution=0.5)) == MAX_CELLS == 600
    assert n_cells(kit.layout(1, "survival", resolution=30.0, horizon=100.0)) == 4
    with pytest.raises(DataError, match="a survival outcome is needed, got binary"):
        n_cells(kit.layout(1, "binary"))


def test_causes_are_told_apart(kit):
    both = rows(kit, [1, 2, 3], [1, 2, 0])
    assert spans(both).event.tolist() == [True, False, False]
    assert spans(both, cause=2).event.tolist() == [False, True, False]
    assert spans(both, cause=None).event.tolist() == [True, True, False]


def test_late_entry_counts_from_the_next_cell_and_never_after_the_own_end(kit):
    found = spans(rows(kit, [5, 5, 5, 9], [1, 1, 1, 0], entry=[0, 2, 5, 8.5], horizon=10.0))
    assert found.start.tolist() == [0, 3, 5, 9]
    assert found.stop.tolist() == [6, 6, 6, 10]
    beyond = spans(rows(kit, [50], [1], entry=[20], horizon=10.0))
    assert (beyond.start >= beyond.stop).all()


@given(st.lists(st.tuples(st.integers(0, 9), st.integers(0, 9), st.integers(-5, 5), st.booleans()), max_size=30))
def test_sums_equal_a_loop_over_patients_and_cells(table):
    start = np.array([min(a, b) for a, b, _, _ in table], dtype=np.int64)
    stop = np.array([max(a, b) + 1 for a, b, _, _ in table], dtype=np.int64)
    value = np.array([v for _, _, v, _ in table], dtype=np.int64)
    event = np.array([e for _, _, _, e in table], dtype=bool)
    found = Spans(start=start, stop=stop, event=event, k=10)
    expected = [int(value[(start <= c) & (c < stop)].sum()) for c in range(10)]
    assert at_risk_sums(found, value, what="x").tolist() == expected
    assert at_risk_sums(found, np.stack([value, -value], axis=1), what="x")[:, 1].tolist() == [-v for v in expected]
    ended = [int(value[(stop == c + 1) & event].sum()) for c in range(10)]
    assert cell_sums(found, value, event, what="x").tolist() == ended


def test_chosen_cells_keep_risk_sets_and_events():
    full = Spans(
        start=np.array([0, 0, 4, 0]), stop=np.array([3, 6, 9, 9]), event=np.array([True, True, False, True]), k=10
    )
    found = spans_in(full, np.array([2, 5, 8]), end=np.full(4, 10))
    assert found.start.tolist() == [0, 0, 1, 0]
    assert found.stop.tolist() == [1, 2, 3, 3]
    assert found.event.tolist() == [True, True, False, True]
    cut = spans_in(full, np.array([2, 5]), end=np.full(4, 6))
    assert cut.stop.tolist() == [1, 2, 2, 2]
    assert cut.event.tolist() == [True, True, False, False]


def test_strata_lie_behind_one_another():
    one = Spans(start=np.array([0, 1]), stop=np.array([2, 3]), event=np.ones(2, bool), k=5)
    found = in_strata(one, np.array([0, 2]), 3)
    assert (found.start.tolist(), found.stop.tolist(), found.k) == ([0, 11], [2, 13], 15)


@pytest.mark.parametrize(
    ("change", "sentence"),
    [
        ({"time": np.array([1.0, np.nan])}, "1 of 2 times are missing or negative"),
        ({"time": np.array([-1.0, 2.0])}, "1 of 2 times are missing or negative"),
        ({"event": np.array([0, -1], np.int8)}, "1 of 2 events are unknown"),
        ({"entry": np.array([0.0, 7.0])}, "1 of 2 entries are missing or after the end"),
        ({"time": None}, "the outcome has no follow-up time or event"),
    ],
)
def test_bad_follow_up_is_counted(kit, change, sentence):
    with pytest.raises(DataError, match=sentence):
        spans(replace(rows(kit, [1, 2], [1, 0]), **change))


def test_sums_that_may_overflow_are_refused():
    one = Spans(start=np.zeros(2, int), stop=np.ones(2, int), event=np.ones(2, bool), k=1)
    with pytest.raises(TrainingFailed, match="weights: 2 terms"):
        at_risk_sums(one, np.full(2, 2**61), what="weights")
