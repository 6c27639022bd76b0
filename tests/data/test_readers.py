import sys

import numpy as np
import pandas as pd
import pytest

from cohortium.data.csv_reader import CsvFormat
from cohortium.data.readers import read
from cohortium.errors import DataError, MissingExtra


def test_every_suffix_gives_the_same_table(tmp_path):
    frame = pd.DataFrame({"age": [61.0, np.nan], "sex": ["f", "m"]})
    frame.to_csv(tmp_path / "a.csv", index=False)
    frame.to_csv(tmp_path / "a.tsv", index=False, sep="\t")
    frame.to_parquet(tmp_path / "a.parquet")
    digests = {read(tmp_path / f"a.{suffix}").digest for suffix in ("csv", "tsv", "parquet")}
    assert len(digests) == 1
    np.savez(tmp_path / "a.npz", labels=np.array([0, 1]))
    assert read(tmp_path / "a.npz").names == ("label",)


def test_the_sites_format_is_used(tmp_path):
    (tmp_path / "a.txt").write_bytes(b"x|y\n1,5|\xe9\n")
    table = read(str(tmp_path / "a.txt"), CsvFormat(delimiter="|", decimal=",", encoding="cp1252"))
    assert table.column("x").tolist() == [1.5]
    assert table.column("y").tolist() == ["é"]


def test_unknown_absent_and_broken_files_are_one_sentence(tmp_path):
    with pytest.raises(DataError, match=r"a\.xlsx: unknown kind of file '\.xlsx'; known: \.csv, \.tsv"):
        read(tmp_path / "a.xlsx")
    with pytest.raises(DataError, match=r"b\.csv: no such file"):
        read(tmp_path / "b.csv")
    (tmp_path / "c.parquet").write_bytes(b"PAR1 but not really")
    with pytest.raises(DataError, match=r"c\.parquet: not a readable Parquet file"):
        read(tmp_path / "c.parquet")


def test_parquet_without_its_extra_says_how_to_get_it(tmp_path, monkeypatch):
    (tmp_path / "c.parquet").write_bytes(b"")
    monkeypatch.setitem(sys.modules, "pyarrow", None)
    monkeypatch.setattr("cohortium.data.readers.find_spec", lambda name: None)
    with pytest.raises(
        MissingExtra, match=r"reading Parquet needs the extra 'frames': pip install 'cohortium\[frames\]'"
    ):
        read(tmp_path / "c.parquet")
