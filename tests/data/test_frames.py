import numpy as np
import pandas as pd
import pytest

from cohortium.data.frames import columns_of
from cohortium.data.table import Table
from cohortium.errors import DataError

FRAME = pd.DataFrame(
    {
        "age": [61, 50, 44],
        "dose": [1.5, np.nan, 2.0],
        "sex": ["f", None, "m"],
        "ill": [True, False, True],
        "stage": pd.Categorical(["II", None, "I"]),
        "n": pd.array([1, None, 3], dtype="Int64"),
        "small": np.array([1, 2, 3], dtype=np.int8),
        "ratio": np.array([0.5, 0.25, 0.125], dtype=np.float32),
    }
)
EXPECTED = {
    "age": [61.0, 50.0, 44.0],
    "dose": [1.5, np.nan, 2.0],
    "sex": ["f", "", "m"],
    "ill": [1.0, 0.0, 1.0],
    "stage": ["II", "", "I"],
    "n": [1.0, np.nan, 3.0],
    "small": [1.0, 2.0, 3.0],
    "ratio": [0.5, 0.25, 0.125],
}


class OnlyInterchange:
    """A frame that offers nothing but `__dataframe__`, like pandas without pyarrow."""

    def __init__(self, frame):
        self.frame = frame

    def __dataframe__(self, nan_as_null=False, allow_copy=True):
        return self.frame.__dataframe__(nan_as_null, allow_copy)


def check(table):
    assert table.names == tuple(EXPECTED)
    for name, values in EXPECTED.items():
        found = table.column(name)
        np.testing.assert_array_equal(found, np.array(values, dtype=found.dtype))


def test_a_pandas_frame_is_read():
    check(Table.from_any(FRAME))


def test_the_interchange_protocol_gives_the_same():
    check(Table.from_any(OnlyInterchange(FRAME)))


def test_a_slice_of_a_frame_is_read_from_its_offset():
    assert Table.from_any(OnlyInterchange(FRAME.iloc[1:])).column("sex").tolist() == ["", "m"]
    assert Table.from_any(OnlyInterchange(FRAME[["n"]].iloc[1:])).column("n")[1] == 3


def test_a_frame_of_mixed_objects_is_read_cell_by_cell():
    table = Table.from_any(pd.DataFrame({"a": np.array([1, "x", None], dtype=object)}))
    assert table.column("a").tolist() == ["1", "x", ""]


def test_dates_of_a_frame_become_text():
    frame = pd.DataFrame({"seen": pd.to_datetime(["2020-02-29", None])})
    assert Table.from_any(frame).column("seen").tolist() == ["2020-02-29T00:00:00", ""]


def test_a_structured_array_is_a_table_and_a_plain_one_is_not():
    array = np.array([(1, "x"), (2, "y")], dtype=[("a", "i4"), ("s", "U2")])
    assert Table.from_any(array).column("s").tolist() == ["x", "y"]
    with pytest.raises(DataError, match="an array without column names"):
        columns_of(np.zeros((2, 2)))


def test_something_else_is_refused_with_what_is_expected():
    with pytest.raises(DataError, match="cannot read a table from int; expected a mapping or a data frame"):
        Table.from_any(3)
