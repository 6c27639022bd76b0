import numpy as np
import pandas as pd
import pytest

from cohortium.errors import DataError, UsageError
from cohortium.models.glm import Logistic
from cohortium.models.local_fit import (
    Survival,
    exchange_until_finished,
    fit_sites,
    known_errors,
    read_columns,
    read_survival,
    sites_of,
    time_grid,
    together,
)


def test_columns_of_frames_keep_their_names_and_arrays_are_numbered():
    x, names = read_columns(pd.DataFrame({"age": [60, 70], "sex": [True, False]}))
    assert (x.tolist(), names) == ([[60, 1], [70, 0]], ("age", "sex"))
    assert read_columns([[1, 2], [3, 4]])[1] == ("x0", "x1")


@pytest.mark.parametrize(
    ("table", "sentence"),
    [
        ([["a"], ["b"]], "no numbers; turn categories into 0/1 columns"),
        ([1.0, 2.0], "must have rows and columns, got 1 dimensions"),
        ([[1.0], [np.nan]], "1 missing or infinite values"),
    ],
)
def test_tables_that_are_no_numbers_are_refused(table, sentence):
    with pytest.raises(DataError, match=sentence):
        read_columns(table)


def test_every_spelling_of_follow_up_is_read():
    structured = np.array([(True, 3.0), (False, 5.0)], dtype=[("event", "?"), ("time", "<f8")])
    for y in (
        structured,
        (np.array([3, 5]), np.array([1, 0])),
        [[3, 1], [5, 0]],
        pd.DataFrame({"t": [3, 5], "e": [1, 0]}),
    ):
        found = read_survival(y)
        assert (found.time.tolist(), found.event.tolist()) == ([3, 5], [1, 0])
    with pytest.raises(DataError, match=r"y must hold time and event, got shape \(3,\)"):
        read_survival([1, 2, 3])
    with pytest.raises(DataError, match="y: 1 events are no whole numbers"):
        read_survival(([1.0, 2.0], [0.5, 1.0]))


def test_whole_times_are_their_own_cells_and_others_are_cut_finely():
    whole = Survival(time=np.array([1.0, 99.0]), event=np.ones(2, np.int8))
    broken = Survival(time=np.array([0.5, 10.0]), event=np.ones(2, np.int8))
    assert time_grid([whole], None) == (1.0, 100.0)
    assert time_grid([whole, broken], None)[0] == pytest.approx(99 / 2000)
    assert time_grid([whole], 30.0) == (30.0, 120.0)
    for resolution in (0.0, -1.0, 1e-9):
        with pytest.raises(UsageError, match="resolution must be positive and give at most 20000 time cells"):
            time_grid([whole], resolution)


def test_sites_or_one_table_but_not_both():
    assert sites_of(1, 2, None) == [(1, 2)]
    assert sites_of(None, None, {"b": (3, 4), "a": (1, 2)}) == [(1, 2), (3, 4)]
    with pytest.raises(UsageError, match="either X and y, or sites"):
        sites_of(1, None, {"a": (1, 2)})
    with pytest.raises(UsageError, match="at least one site"):
        sites_of(None, None, {})


def test_sites_with_other_columns_are_refused():
    with pytest.raises(DataError, match="sites hold different columns"):
        together([(np.zeros((2, 3)), [0, 1]), (np.zeros((2, 4)), [0, 1])])


def test_a_fit_scales_by_all_sites_and_finds_the_way_back(kit):
    examples = kit.binary(200)
    wide = kit.table(examples.x * [100, 1, 0.01, 5] + [7, 0, 0, -3], examples.y, "binary")
    fit = fit_sites(Logistic(l2=0.0), kit.split(wide, 3))
    same, rounds = exchange_until_finished(Logistic(l2=0.0), [fit.prepared(wide.x, y=wide.y)])
    assert same == fit.state
    assert rounds == fit.rounds
    theta = fit.to_raw @ np.concatenate([fit.state["intercept"], fit.state["coefficients"]])
    eta = fit.prepared(wide.x).x @ fit.state["coefficients"] + fit.state["intercept"]
    assert np.allclose(theta[0] + wide.x @ theta[1:], eta, atol=1e-12)


def test_errors_of_zero_are_none():
    assert np.isnan(known_errors(np.array([0.0, 2.0]))).tolist() == [True, False]
