import numpy as np
import pytest

from cohortium.data.csv_reader import read_csv
from cohortium.data.csv_writer import csv_bytes
from cohortium.data.table import Table
from cohortium.errors import UsageError


def test_what_is_written_is_read_back_equal(tmp_path):
    table = Table.from_columns(
        {"n": [1.0, np.nan, 0.1 + 0.2], "code": ["a,b", "", 'say "x"'], "flag": [0.0, 1.0, np.nan]}
    )
    path = tmp_path / "t.csv"
    path.write_bytes(csv_bytes(table))
    again = read_csv(path, None)
    assert again.names == table.names
    for name in table.names:
        assert np.array_equal(again.column(name), table.column(name), equal_nan=not table.is_text(name))


def test_whole_numbers_have_no_point():
    assert csv_bytes(Table.from_columns({"a": [1.0, 20.0]})) == b"a\n1\n20\n"


def test_an_array_per_row_is_refused():
    with pytest.raises(UsageError, match="'image'"):
        csv_bytes(Table.from_columns({"image": np.zeros((2, 3, 3), dtype=np.float32)}))
