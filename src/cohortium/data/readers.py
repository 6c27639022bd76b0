"""`read`: a file of a site as a `Table`, chosen by its suffix.

.csv .tsv .txt      standard library (csv_reader)
.parquet            pyarrow, extra `frames`
.npz                images, fingerprints, arrays (npz_reader)
"""

from __future__ import annotations

from importlib.util import find_spec
from pathlib import Path

from cohortium.data.csv_reader import CsvFormat, read_csv
from cohortium.data.npz_reader import read_npz
from cohortium.data.table import Table
from cohortium.errors import DataError, MissingExtra

__all__ = ["SUFFIXES", "read"]

SUFFIXES = (".csv", ".tsv", ".txt", ".parquet", ".npz")


def read(path: str | Path, form: CsvFormat | None = None) -> Table:
    """The rows of a file. form: how a CSV is written, where that is not plain.

    Raises DataError when the file is absent, of another kind or broken; MissingExtra for Parquet
    without pyarrow.
    """
    path = Path(path)
    suffix = path.suffix.lower()
    if suffix not in SUFFIXES:
        raise DataError(f"{path.name}: unknown kind of file '{suffix}'; known: {', '.join(SUFFIXES)}")
    if not path.is_file():
        raise DataError(f"{path}: no such file")
    if suffix == ".parquet":
        return _read_parquet(path)
    if suffix == ".npz":
        return read_npz(path)
    if suffix == ".tsv" and form is None:
        form = CsvFormat(delimiter="\t")
    return read_csv(path, form)


def _read_parquet(path: Path) -> Table:
    if find_spec("pyarrow") is None:
        raise MissingExtra("reading Parquet", extra="frames")
    import pyarrow
    from pyarrow import parquet

    try:
        return Table.from_any(parquet.read_table(path))
    except pyarrow.ArrowException as error:
        raise DataError(f"{path.name}: not a readable Parquet file ({type(error).__name__})") from None
