import datetime
from decimal import Decimal

import numpy as np
import pandas as pd
import pytest

from cohortium.data.table import MAX_TEXT, Table, is_code, number_text, parse_number
from cohortium.errors import DataError


def test_numbers_flags_and_text_get_one_of_two_kinds():
    table = Table.from_columns({"age": [61, 50], "ill": [True, False], "sex": [" f", "m "], "dose": [None, 2.5]})
    assert table.columns["age"].dtype == np.float64
    assert table.column("ill").tolist() == [1.0, 0.0]
    assert table.column("sex").tolist() == ["f", "m"]
    assert np.isnan(table.column("dose")[0])
    assert table.column("dose")[1] == 2.5
    assert table.names == ("age", "ill", "sex", "dose")
    assert table.n_rows == len(table) == 2


def test_missing_markers_of_frames_are_missing():
    table = Table.from_columns({"a": np.array([1, pd.NA, None, np.nan, Decimal("2.5")], dtype=object)})
    assert table.missing("a").tolist() == [False, True, True, True, False]
    assert table.column("a")[4] == 2.5


def test_mixed_cells_become_text_and_keep_their_numbers():
    table = Table.from_columns({"a": np.array([1, 2.5, "x", None], dtype=object)})
    assert table.column("a").tolist() == ["1", "2.5", "x", ""]


def test_large_identifiers_stay_apart():
    near = np.array([2**53 + 1, 2**53 + 2], dtype=np.int64)
    assert Table.from_columns({"id": near}).column("id").tolist() == [str(2**53 + 1), str(2**53 + 2)]
    objects = np.array([2**70, 2**70 + 1], dtype=object)
    assert len(set(Table.from_columns({"id": objects}).column("id").tolist())) == 2


def test_dates_become_text_and_durations_days():
    table = Table.from_columns(
        {
            "seen": np.array(["2020-02-29", "NaT"], dtype="datetime64[D]"),
            "stay": np.array([36, "NaT"], dtype="timedelta64[h]"),
            "born": np.array([datetime.date(1950, 1, 2), None], dtype=object),
        }
    )
    assert table.column("seen").tolist() == ["2020-02-29T00:00:00", ""]
    assert table.column("stay")[0] == 1.5
    assert np.isnan(table.column("stay")[1])
    assert table.column("born").tolist() == ["1950-01-02", ""]


def test_free_text_is_cut():
    assert len(Table.from_columns({"note": ["x" * 5000, "y"]}).column("note")[0]) == MAX_TEXT


@pytest.mark.parametrize(
    ("columns", "sentence"),
    [
        ({"a": [1, 2], "b": [1]}, "column 'b': 1 rows; expected 2 as in the other columns"),
        ({"a": np.array([{}, []], dtype=object)}, "column 'a': holds dict objects; expected numbers or text"),
        ({"a": np.array([1j, 2j])}, "column 'a': values of type complex128; expected numbers or text"),
        ({"a": 3.0}, "column 'a': a single value; expected one value per row"),
        ({"": [1.0]}, "a column has no name; every column needs one"),
        (
            {"a": np.zeros((2, 2), dtype=np.int64)},
            "column 'a': arrays of int64; expected uint8, uint16, float32, float64",
        ),
    ],
)
def test_what_is_no_table_is_refused(columns, sentence):
    with pytest.raises(DataError) as refusal:
        Table.from_columns(columns)
    assert str(refusal.value) == sentence


def test_an_unknown_column_is_named_with_those_there_are():
    with pytest.raises(DataError, match="no column 'agee'; found: age, sex"):
        Table.from_columns({"age": [1], "sex": ["m"]}).column("agee")


def test_columns_cannot_be_changed():
    table = Table.from_columns({"a": [1.0, 2.0]})
    with pytest.raises(ValueError, match="read-only"):
        table.column("a")[0] = 9
    with pytest.raises(TypeError):
        table.columns["b"] = np.zeros(2)  # type: ignore[index]


def test_rows_and_columns_are_taken_in_the_order_asked():
    table = Table.from_columns({"a": [1, 2, 3], "s": ["x", "y", "z"]})
    assert table.take(np.array([2, 0])).column("s").tolist() == ["z", "x"]
    assert table.take(np.array([True, False, False])).n_rows == 1
    assert table.without(["a"]).names == ("s",)
    assert table.with_column("b", [4, 5, 6]).names == ("a", "s", "b")
    assert table.n_rows == 3  # the first is what it was


def test_tables_stack_with_missing_where_one_lacks_a_column():
    both = Table.stacked([Table.from_columns({"a": [1.0], "s": ["x"]}), Table.from_columns({"a": ["u"], "b": [2.0]})])
    assert both.column("a").tolist() == ["1", "u"]
    assert both.column("s").tolist() == ["x", ""]
    assert np.isnan(both.column("b")[0])
    with pytest.raises(DataError, match="arrays of different shape"):
        Table.stacked([Table.from_columns({"i": np.zeros((1, 2))}), Table.from_columns({"i": np.zeros((1, 3))})])


def test_equal_tables_have_equal_digests_and_any_change_shows():
    base = {"a": [1.0, np.nan], "s": ["x", "yz"]}
    digest = Table.from_columns(base).digest
    assert Table.from_columns({"a": np.array([1.0, np.nan]), "s": np.array(["x", "yz"], dtype="U9")}).digest == digest
    for other in ({**base, "a": [1.0, 2.0]}, {**base, "s": ["xy", "z"]}, {"b": base["a"], "s": base["s"]}):
        assert Table.from_columns(other).digest != digest


def test_numbers_as_text_are_short_and_arrays_have_none():
    table = Table.from_columns({"a": [2.0, 2.5, np.nan], "i": np.zeros((3, 2))})
    assert table.texts("a").tolist() == ["2", "2.5", ""]
    assert number_text(float("inf")) == "inf"
    with pytest.raises(DataError, match="column 'i': holds an array per row"):
        table.texts("i")
    assert table.is_array("i")
    assert not table.is_text("a")
    assert table.missing("i").tolist() == [False] * 3


@pytest.mark.parametrize("word", ["1", "-2.5", "+.5", "3.", "1e-3", "inf", "-Infinity"])
def test_numbers_are_read(word):
    assert parse_number(word) == float(word)


@pytest.mark.parametrize("word", ["", "1_0", "0x1", "1,5", "nan", "٣", "1e", "--1"])
def test_what_only_python_calls_a_number_is_text(word):
    assert parse_number(word) is None


def test_leading_zeros_and_long_digits_are_codes():
    assert is_code("007")
    assert is_code("1234567890123456")
    assert not is_code("0")
    assert not is_code("0.5")


def test_a_table_is_its_own_table():
    table = Table.from_columns({"a": [1]})
    assert Table.from_any(table) is table
    assert Table.from_any({"a": [1]}).digest == table.digest
