"""A CSV file as a `Table`, with the standard library; nothing is guessed beyond "number or text".

A column is numbers when every cell that is not missing is one; codes such as 007 and numbers of more
than 15 digits are identifiers and stay text. Meaning (flag, category, survival) is `schema`'s business.
"""

from __future__ import annotations

import codecs
import csv
import io
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from cohortium.data.flow import describe_rows
from cohortium.data.table import MAX_TEXT, Table, is_code, parse_number
from cohortium.errors import DataError

__all__ = ["MAX_CSV_BYTES", "MISSING_MARKERS", "CsvFormat", "parse_csv", "read_csv"]

MAX_CSV_BYTES = 2 << 30
MISSING_MARKERS = ("", "NA", "N/A", "n/a", "NaN", "nan", "NULL", "null", "None", "<NA>", ".", "?")

_DELIMITERS = (",", ";", "\t", "|")


@dataclass(frozen=True, kw_only=True)
class CsvFormat:
    """How a site writes its CSV; the `[source]` table of its cohort.toml.

    delimiter: None = the one of , ; tab | that is most frequent in the header.
    decimal: None = a point; a comma where the delimiter is not one and the file has comma numbers only.
    missing: cells that mean "not known" (after stripping blanks).
    """

    encoding: str = "utf-8"
    delimiter: str | None = None
    decimal: str | None = None
    missing: tuple[str, ...] = MISSING_MARKERS

    def __post_init__(self) -> None:
        if self.delimiter is not None and len(self.delimiter) != 1:
            raise ValueError(f"delimiter must be one character, got {self.delimiter!r}")
        if self.decimal not in (None, ".", ","):
            raise ValueError(f"decimal must be '.' or ',', got {self.decimal!r}")
        if self.decimal is not None and self.decimal == self.delimiter:
            raise ValueError(f"decimal and delimiter are both {self.decimal!r}")
        try:
            codecs.lookup(self.encoding)
        except LookupError:
            raise ValueError(f"encoding {self.encoding!r} is unknown; common: utf-8, cp1252, latin-1") from None


def read_csv(path: Path, form: CsvFormat | None = None) -> Table:
    """The table in a file of at most 2 GiB. Raises DataError naming the file."""
    size = path.stat().st_size
    if size > MAX_CSV_BYTES:
        raise DataError(f"{path.name}: {size} bytes; CSV is read up to {MAX_CSV_BYTES}, larger tables as Parquet")
    return parse_csv(path.read_bytes(), form, name=path.name)


def parse_csv(content: bytes, form: CsvFormat | None = None, *, name: str = "table.csv") -> Table:
    """The table in CSV bytes: header required, byte-order mark allowed. Raises DataError.

    Refused: no header, an empty or repeated column name, rows of another width, wrong encoding.
    """
    form = form or CsvFormat()
    text = _decode(content, form.encoding, name)
    delimiter = form.delimiter or _delimiter(text)
    try:
        rows = [row for row in csv.reader(io.StringIO(text, newline=""), delimiter=delimiter, strict=True) if row]
    except csv.Error as error:
        raise DataError(f"{name}: not valid CSV: {error}") from None
    header = _header(rows, name)
    body = rows[1:]
    wrong = [number for number, row in enumerate(body, start=1) if len(row) != len(header)]
    if wrong:
        raise DataError(
            f"{name}: {len(wrong)} rows of another width ({describe_rows(wrong)}); expected {len(header)} cells"
        )
    columns = [_cells(column, form.missing) for column in zip(*body, strict=True)] or [np.array([], "U1")] * len(header)
    decimal = form.decimal or _decimal(columns, delimiter)
    return Table({title: _numbers_or_text(cells, decimal) for title, cells in zip(header, columns, strict=True)})


def _decode(content: bytes, encoding: str, name: str) -> str:
    if content.startswith((codecs.BOM_UTF16_LE, codecs.BOM_UTF16_BE)):
        encoding = "utf-16"
    elif content.startswith(codecs.BOM_UTF8):
        encoding = "utf-8-sig"
    try:
        return content.decode(encoding)
    except UnicodeDecodeError as error:
        line = content.count(b"\n", 0, error.start) + 1
        raise DataError(
            f"{name}: line {line} is not {encoding}; save the table as UTF-8 (spreadsheets call it 'CSV UTF-8')"
        ) from None


def _delimiter(text: str) -> str:
    counts = Counter(text.partition("\n")[0])
    return max(_DELIMITERS, key=lambda mark: counts[mark])  # the first of them when none occurs: one column


def _header(rows: list[list[str]], name: str) -> list[str]:
    header = [title.strip() for title in rows[0]] if rows else []
    if not header:
        raise DataError(f"{name}: empty; expected a header and one row per patient")
    if "" in header:
        raise DataError(f"{name}: column {header.index('') + 1} has no name; a header is required")
    if all(parse_number(title) is not None for title in header):
        raise DataError(f"{name}: the first row holds numbers only; a header is required")
    twice = sorted(title for title, count in Counter(header).items() if count > 1)
    if twice:
        raise DataError(f"{name}: duplicate column names: {', '.join(twice)}; every column needs its own")
    return header


def _cells(column: Sequence[str], missing: tuple[str, ...]) -> NDArray[np.str_]:
    gone = frozenset(missing)
    return np.array(["" if (cell := raw.strip()) in gone else cell[:MAX_TEXT] for raw in column], dtype=np.str_)


def _decimal(columns: Sequence[NDArray[np.str_]], delimiter: str) -> str:
    """Spreadsheets of comma countries write ; between cells and , inside numbers."""
    if delimiter == ",":
        return "."
    comma = [cells for cells in columns if np.char.count(cells, ",").any()]
    point = any(_as_numbers(cells, ".") is not None for cells in columns if np.char.count(cells, ".").any())
    return "," if not point and any(_as_numbers(cells, ",") is not None for cells in comma) else "."


def _numbers_or_text(cells: NDArray[np.str_], decimal: str) -> NDArray[np.str_] | NDArray[np.float64]:
    numbers = _as_numbers(cells, decimal)
    return cells if numbers is None else numbers


def _as_numbers(cells: NDArray[np.str_], decimal: str) -> NDArray[np.float64] | None:
    """float64 with NaN where empty; None when a cell is something else."""
    different, place = np.unique(cells, return_inverse=True)
    words = different.tolist()
    if decimal == ",":
        if any("." in word for word in words):
            return None
        words = [word.replace(",", ".") for word in words]
    numbers = [parse_number(word) if word else np.nan for word in words]
    if None in numbers or any(is_code(word) for word in words):
        return None
    return np.array(numbers, dtype=np.float64)[place]
