import csv
import io

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from cohortium.data import csv_reader
from cohortium.data.csv_reader import CsvFormat, parse_csv, read_csv
from cohortium.errors import DataError


def test_numbers_and_text_and_missing_markers():
    table = parse_csv(b"age,sex,chol\n61,f,NA\n50,,2.5\n44,m,?\n")
    assert table.column("age").tolist() == [61, 50, 44]
    assert table.column("sex").tolist() == ["f", "", "m"]
    assert table.missing("chol").tolist() == [True, False, True]


def test_byte_order_mark_and_utf16_are_understood():
    text = "größe;x\n1;a\n"
    for content in (text.encode("utf-8-sig"), text.encode("utf-16")):
        assert parse_csv(content).names == ("größe", "x")


def test_comma_decimals_of_spreadsheets_are_numbers():
    table = parse_csv(b"os;crp\n1,5;3\n-0,25;4\n")
    assert table.column("os").tolist() == [1.5, -0.25]
    assert table.column("crp").tolist() == [3, 4]


def test_points_anywhere_keep_commas_text():
    table = parse_csv(b"a;b\n1,5;2.5\n3,5;4.5\n")
    assert table.is_text("a")
    assert parse_csv(b"a;b\n1,5;2.5\n3,5;4.5\n", CsvFormat(decimal=",")).column("a").tolist() == [1.5, 3.5]


def test_the_delimiter_is_the_most_frequent_one_of_the_header():
    for mark in ",;\t|":
        assert parse_csv(f"a{mark}b\n1{mark}2\n".encode()).names == ("a", "b")
    assert parse_csv(b"only\n1\n2\n").column("only").tolist() == [1, 2]


def test_codes_stay_text():
    table = parse_csv(b"id,long,n\n007,12345678901234567,1\n008,12345678901234568,2\n")
    assert table.column("id").tolist() == ["007", "008"]
    assert table.is_text("long")
    assert not table.is_text("n")


def test_infinite_numbers_are_numbers_so_that_they_can_be_refused():
    assert np.isinf(parse_csv(b"a,b\ninf,1\n2,2\n").column("a")[0])


def test_quoted_cells_may_hold_delimiters_and_lines():
    assert parse_csv(b'a,b\n"x,\ny",2\n').column("a").tolist() == ["x,\ny"]


def test_a_header_without_rows_gives_empty_columns():
    table = parse_csv(b"a,b\n")
    assert table.names == ("a", "b")
    assert table.n_rows == 0


@pytest.mark.parametrize(
    ("content", "sentence"),
    [
        (b"", "t.csv: empty; expected a header and one row per patient"),
        (b"a,,c\n1,2,3\n", "t.csv: column 2 has no name; a header is required"),
        (b"1,2\n3,4\n", "t.csv: the first row holds numbers only; a header is required"),
        (b"a,b,a\n1,2,3\n", "t.csv: duplicate column names: a; every column needs its own"),
        (b"a,b\n1,2\n1\n3,4\n1,2,3\n", "t.csv: 2 rows of another width (rows 2, 4); expected 2 cells"),
        (b"a,b\n1,\xe9\n", "t.csv: line 2 is not utf-8; save the table as UTF-8 (spreadsheets call it 'CSV UTF-8')"),
        (b'a,b\n"x,2\n', "t.csv: not valid CSV: unexpected end of data"),
    ],
)
def test_what_cannot_be_read_is_one_sentence(content, sentence):
    with pytest.raises(DataError) as refusal:
        parse_csv(content, name="t.csv")
    assert str(refusal.value) == sentence


def test_a_named_encoding_is_used():
    assert parse_csv(b"a\n\xe9\n", CsvFormat(encoding="latin-1")).column("a").tolist() == ["é"]


@pytest.mark.parametrize(
    ("options", "part"),
    [
        ({"delimiter": ";;"}, "delimiter must be one character"),
        ({"decimal": "'"}, "decimal must be '.' or ','"),
        ({"decimal": ",", "delimiter": ","}, "decimal and delimiter are both ','"),
        ({"encoding": "klingon"}, "encoding 'klingon' is unknown"),
    ],
)
def test_impossible_formats_are_refused(options, part):
    with pytest.raises(ValueError, match=part):
        CsvFormat(**options)


def test_a_file_beyond_the_limit_is_refused_before_it_is_read(tmp_path, monkeypatch):
    path = tmp_path / "big.csv"
    path.write_bytes(b"a\n1\n2\n")
    monkeypatch.setattr(csv_reader, "MAX_CSV_BYTES", 4)
    with pytest.raises(DataError, match=r"big\.csv: 6 bytes; CSV is read up to 4"):
        read_csv(path)


CELL = st.text(
    st.characters(blacklist_categories=("Cs", "Cc"), blacklist_characters="\x85\u2028\u2029"), min_size=1, max_size=8
)


@settings(max_examples=60, deadline=None)
@given(st.lists(st.tuples(st.floats(allow_nan=False), CELL), min_size=1, max_size=20))
def test_what_is_written_is_read_back(rows):
    file = io.StringIO()
    writer = csv.writer(file)
    writer.writerow(["number", "word"])
    writer.writerows([(repr(number), f"w{word}") for number, word in rows])
    table = parse_csv(file.getvalue().encode())
    assert table.column("number").tolist() == [number for number, _ in rows]
    assert table.column("word").tolist() == [f"w{word}".strip() for _, word in rows]
