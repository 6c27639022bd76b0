import datetime

import numpy as np
import pyarrow as pa
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from cohortium.data.arrow_stream import read_stream


def read(table):
    return read_stream(table.__arrow_c_stream__())


@pytest.mark.parametrize(
    "kind", [pa.int8(), pa.uint16(), pa.int32(), pa.int64(), pa.uint64(), pa.float32(), pa.float64()]
)
def test_every_width_of_number_is_read(kind):
    found = read(pa.table({"a": pa.array([1, 2, 3], kind)}))["a"]
    assert found.tolist() == [1, 2, 3]


def test_half_floats_and_booleans_are_read():
    found = read(pa.table({"h": pa.array(np.array([0.5, 2], np.float16)), "b": pa.array([True, None])}))
    assert found["h"].tolist() == [0.5, 2]
    assert found["b"].tolist() == [True, None]


@pytest.mark.parametrize("kind", [pa.string(), pa.large_string(), pa.string_view()])
def test_every_layout_of_text_is_read(kind):
    words = ["", "ä", None, "a text of more than twelve bytes", "x" * 12, "y" * 13]
    assert read(pa.table({"s": pa.array(words, kind)}))["s"].tolist() == words


def test_dictionaries_dates_and_nulls_are_read():
    day = datetime.date(2020, 2, 29)
    found = read(
        pa.table(
            {
                "d": pa.array(["a", None, "b"]).dictionary_encode(),
                "day": pa.array([day, None, day]),
                "at": pa.array([datetime.datetime(2020, 1, 1), None, None], pa.timestamp("us")),
                "gone": pa.nulls(3),
            }
        )
    )
    assert found["d"].tolist() == ["a", None, "b"]
    assert found["day"][0] == np.datetime64("2020-02-29")
    assert np.isnat(found["day"][1])
    assert np.isnat(found["at"][1:]).all()
    assert np.isnan(found["gone"]).all()


def test_a_table_of_nested_values_is_refused():
    with pytest.raises(ValueError, match="column 'l' has the Arrow type"):
        read(pa.table({"l": pa.array([[1], [2]])}))


def test_a_table_without_rows_keeps_its_columns():
    assert list(read(pa.table({"a": pa.array([], pa.int64())}))) == ["a"]


@settings(max_examples=50, deadline=None)
@given(
    st.lists(
        st.tuples(
            st.none() | st.integers(-(2**40), 2**40), st.none() | st.text(max_size=20), st.none() | st.booleans()
        ),
        max_size=30,
    ),
    st.integers(0, 5),
    st.integers(1, 7),
)
def test_any_slice_in_any_chunks_gives_what_pyarrow_says(rows, start, chunk):
    numbers, words, flags = zip(*rows, strict=True) if rows else ((), (), ())
    table = pa.table(
        {"n": pa.array(numbers, pa.int64()), "s": pa.array(words, pa.string()), "b": pa.array(flags, pa.bool_())}
    ).slice(start)
    pieces = [table.slice(at, chunk) for at in range(0, len(table), chunk)]
    found = read(pa.concat_tables(pieces) if pieces else table)
    for name in ("n", "s", "b"):
        assert found[name].tolist() == table[name].to_pylist()
