"""`Table`: named columns of equal length, as they came from a file or a frame, before any schema.

A column is one of three things, never Python objects: numbers (float64, NaN = missing), text
(str, "" = missing), or an array per row (uint8, uint16, float32 or float64 of two or more
dimensions: images, gene blocks, packed fingerprints). What the columns mean is `schema`'s business.
"""

from __future__ import annotations

import datetime
import hashlib
import math
import numbers
import re
from collections.abc import Collection, Iterable, Mapping
from dataclasses import dataclass
from functools import cached_property
from types import MappingProxyType
from typing import Any

import numpy as np
from numpy.typing import NDArray

from cohortium.errors import DataError

__all__ = ["MAX_TEXT", "Table", "is_code", "number_text", "parse_number"]

MAX_TEXT = 1000
"""Characters kept of one text cell; longer ones are free text, which never becomes a feature."""

_ARRAY_KINDS = ("uint8", "uint16", "float32", "float64")
_EXACT = 2**53  # integers beyond this are identifiers: float64 would join different ones
_MISSING_TYPES = frozenset({"NAType", "NaTType"})  # pandas' markers, recognised without importing it

_NUMBER = re.compile(r"[+-]?(?:(?:\d+(?:[.]\d*)?|[.]\d+)(?:[eE][+-]?\d+)?|(?i:inf|infinity))", re.ASCII)
_CODE = re.compile(r"[+-]?(?:0\d+|\d{16,})", re.ASCII)

Column = NDArray[Any]


@dataclass(frozen=True, eq=False)
class Table:
    """Ordered columns of `n_rows` rows each. Build one with `from_columns` or `from_any`.

    Raises DataError when columns differ in length or hold something that is neither number nor text.
    """

    columns: Mapping[str, Column]

    def __post_init__(self) -> None:
        held = {name: _normal(name, values) for name, values in self.columns.items()}
        sizes = {len(values) for values in held.values()}
        if len(sizes) > 1:
            longest = max(sizes)
            short = next(name for name, values in held.items() if len(values) != longest)
            raise DataError(f"column '{short}': {len(held[short])} rows; expected {longest} as in the other columns")
        for values in held.values():
            values.flags.writeable = False
        object.__setattr__(self, "columns", MappingProxyType(held))

    @classmethod
    def from_columns(cls, columns: Mapping[str, object]) -> Table:
        """A table from anything array-like by name; None, NaN and pandas' markers become missing."""
        return cls({str(name): np.asarray(values) for name, values in columns.items()})

    @classmethod
    def from_any(cls, source: object) -> Table:
        """A table from a table, a mapping, a data frame of any library, or a structured array.

        Data frames are read through `__arrow_c_stream__`, `__dataframe__` or `__array__`; no frame
        library is imported. Raises DataError when `source` offers none of them.
        """
        if isinstance(source, Table):
            return source
        if isinstance(source, Mapping):
            return cls.from_columns(source)
        from cohortium.data.frames import columns_of

        return cls.from_columns(columns_of(source))

    @property
    def names(self) -> tuple[str, ...]:
        """Column names in order."""
        return tuple(self.columns)

    @property
    def n_rows(self) -> int:
        """Rows of every column."""
        return len(next(iter(self.columns.values()))) if self.columns else 0

    def __len__(self) -> int:
        return self.n_rows

    def __contains__(self, name: object) -> bool:
        return name in self.columns

    def column(self, name: str) -> Column:
        """One column. Raises DataError that lists the columns there are."""
        if name not in self.columns:
            raise DataError(f"no column '{name}'; found: {', '.join(self.names[:20])}")
        return self.columns[name]

    def is_text(self, name: str) -> bool:
        """Whether a column holds text."""
        return self.column(name).dtype.kind == "U"

    def is_array(self, name: str) -> bool:
        """Whether a column holds an array per row: an image, a block, a fingerprint."""
        return self.column(name).ndim > 1

    def missing(self, name: str) -> NDArray[np.bool_]:
        """Where a column holds nothing; for arrays, where a row holds nothing but NaN."""
        values = self.column(name)
        if values.dtype.kind == "U":
            return np.asarray(values == "")
        if values.dtype.kind != "f":
            return np.zeros(len(values), dtype=np.bool_)
        gone = np.isnan(values).reshape(len(values), math.prod(values.shape[1:]))
        return np.asarray(gone.all(axis=1), dtype=np.bool_)

    def texts(self, name: str) -> NDArray[np.str_]:
        """A column as text, numbers in their shortest form ("2", "2.5"), missing as ""."""
        values = self.column(name)
        if values.dtype.kind == "U":
            return values
        if values.ndim > 1:
            raise DataError(f"column '{name}': holds an array per row; expected numbers or text")
        different, place = np.unique(values, return_inverse=True)
        return np.array([number_text(value) for value in different.tolist()], dtype=np.str_)[place]

    def take(self, rows: NDArray[np.integer] | NDArray[np.bool_]) -> Table:
        """The named rows (indices or mask), in that order."""
        return Table({name: values[rows] for name, values in self.columns.items()})

    def without(self, names: Collection[str]) -> Table:
        """All columns but those named."""
        return Table({name: values for name, values in self.columns.items() if name not in names})

    def with_column(self, name: str, values: object) -> Table:
        """The same table with one column more, or replaced in its place."""
        return Table({**self.columns, name: np.asarray(values)})

    @classmethod
    def stacked(cls, tables: Iterable[Table]) -> Table:
        """Rows of all tables below one another, columns in order of appearance, missing where a table lacks one."""
        parts = list(tables)
        names = dict.fromkeys(name for table in parts for name in table.names)
        return cls({name: _stack(name, parts) for name in names})

    @cached_property
    def digest(self) -> bytes:
        """SHA-256 over names, kinds, shapes and values (32 bytes)."""
        state = hashlib.sha256(b"cohortium-table-1")
        for name, values in self.columns.items():
            kind = "text" if values.dtype.kind == "U" else values.dtype.name
            state.update(f"{len(name)}:{name}:{kind}:{values.shape}:".encode())
            if kind == "text":
                cells = [cell.encode() for cell in values.tolist()]
                state.update(np.array([len(cell) for cell in cells], dtype="<u4").tobytes())
                state.update(b"".join(cells))
            else:
                state.update(np.ascontiguousarray(values, dtype=values.dtype.newbyteorder("<")).tobytes())
        return state.digest()


def number_text(value: float) -> str:
    """The shortest text of a number: 2.0 gives "2", NaN gives ""."""
    if math.isnan(value):
        return ""
    return str(int(value)) if math.isfinite(value) and value == int(value) else repr(float(value))


def parse_number(word: str) -> float | None:
    """The number a text means, with a decimal point; None where it means none."""
    return float(word) if _NUMBER.fullmatch(word) else None


def is_code(word: str) -> bool:
    """Whether digits are an identifier, not a number: 007, or more of them than float64 keeps."""
    return _CODE.fullmatch(word) is not None


def _stack(name: str, tables: list[Table]) -> Column:
    held = [table.columns[name] for table in tables if name in table]
    if any(values.ndim > 1 for values in held):
        if len(held) < len(tables) or len({(values.dtype, values.shape[1:]) for values in held}) > 1:
            raise DataError(f"column '{name}': arrays of different shape or missing in a table")
        return np.concatenate(held)
    text = any(values.dtype.kind == "U" for values in held)
    blank: Column = np.array([""]) if text else np.array([np.nan])
    return np.concatenate(
        [
            np.repeat(blank, len(table)) if name not in table else table.texts(name) if text else table.columns[name]
            for table in tables
        ]
    )


def _normal(name: str, values: Column) -> Column:
    """One column in one of the allowed kinds; arrays of many dimensions are not copied."""
    if not name:
        raise DataError("a column has no name; every column needs one")
    if values.ndim == 0:
        raise DataError(f"column '{name}': a single value; expected one value per row")
    kind = values.dtype.kind
    if values.ndim > 1:
        if values.dtype.name not in _ARRAY_KINDS:
            raise DataError(f"column '{name}': arrays of {values.dtype}; expected {', '.join(_ARRAY_KINDS)}")
        return values.view()
    if kind == "f":
        return np.array(values, dtype=np.float64)
    if kind in "iu":
        far = len(values) and (int(values.max()) > _EXACT or int(values.min()) < -_EXACT)
        return values.astype(np.str_) if far else values.astype(np.float64)
    if kind == "b":
        return values.astype(np.float64)
    if kind == "U":
        return _text(values)
    if kind in "mM":
        days = values.astype("datetime64[s]" if kind == "M" else "timedelta64[s]")
        if kind == "m":
            return np.where(np.isnat(days), np.nan, days.astype(np.int64) / 86_400.0)
        return np.where(np.isnat(days), "", np.datetime_as_string(days))
    if kind == "O":
        return _from_objects(name, values.tolist())
    raise DataError(f"column '{name}': values of type {values.dtype}; expected numbers or text")


def _text(values: Column) -> NDArray[np.str_]:
    if values.dtype.itemsize > 4 * MAX_TEXT:
        values = values.astype(f"<U{MAX_TEXT}")
    return np.char.strip(values)


def _from_objects(name: str, cells: list[object]) -> Column:
    """Numbers when all cells are numbers, else text. Dates become ISO text."""
    if all(cell is None or isinstance(cell, str) for cell in cells):
        return _text(np.array(["" if cell is None else str(cell)[:MAX_TEXT] for cell in cells], dtype=np.str_))
    plain = [_plain(name, cell) for cell in cells]
    if all(cell is None or isinstance(cell, float) for cell in plain):
        return np.array([np.nan if cell is None else cell for cell in plain], dtype=np.float64)
    words = ["" if cell is None else number_text(cell) if isinstance(cell, float) else str(cell) for cell in plain]
    return _text(np.array(words, dtype=np.str_))


def _plain(name: str, cell: object) -> float | str | None:
    if cell is None or type(cell).__name__ in _MISSING_TYPES:
        return None
    if isinstance(cell, str):
        return cell.strip()[:MAX_TEXT] or None
    if isinstance(cell, numbers.Integral) and abs(int(cell)) > _EXACT:
        return str(int(cell))
    if isinstance(cell, (numbers.Real, np.bool_)) or type(cell).__name__ == "Decimal":
        number = float(cell)  # type: ignore[arg-type]
        return None if math.isnan(number) else number
    if isinstance(cell, (datetime.date, datetime.time)):
        return cell.isoformat()
    raise DataError(f"column '{name}': holds {type(cell).__name__} objects; expected numbers or text")
