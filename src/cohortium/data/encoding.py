"""One agreed column out of a site's table: typed values, a mask of what is missing, and what was wrong.

Every rule gives a `Finding` with row numbers; what becomes of the rows is decided in `cohort`, so all of
a table's problems are told at once. Nothing here puts a patient's value into a message.
"""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Any

import numpy as np
from numpy.typing import NDArray

from cohortium.data.flow import Action, Finding, find
from cohortium.data.mapping import SiteColumn, SiteMapping
from cohortium.data.schema import DAYS_PER, MAX_FOLLOW_UP_D, Column
from cohortium.data.table import Table, parse_number
from cohortium.data.units import find_conversion
from cohortium.errors import DataError

__all__ = ["Encoded", "encode", "names_digest"]

MAX_BLOCK_ABSENT = 0.05
_MAX_EVENT = 100


@dataclass
class Encoded:
    """values: study name (or name/time, name/event, name/entry) -> array of n rows, 0 where missing.

    missing: True where a row has no value. absent: source columns this table does not have.
    """

    values: dict[str, NDArray[Any]]
    missing: NDArray[np.bool_]
    findings: list[Finding] = field(default_factory=list)
    absent: tuple[str, ...] = ()


def encode(table: Table, column: Column, mapping: SiteMapping) -> Encoded:
    """One agreed column. Raises DataError where the whole column cannot be read (unit, shape, names)."""
    return _ENCODERS[column.kind](table, column, mapping)


def names_digest(names: tuple[str, ...]) -> str:
    """`sha256:...` over the sorted names of a block, one a line: what sites compare."""
    return "sha256:" + hashlib.sha256("\n".join(sorted(names)).encode()).hexdigest()


def _number(table: Table, column: Column, mapping: SiteMapping) -> Encoded:
    source = mapping.source(column.name)
    encoded, values = _read_numbers(table, column.name, source, "blank")
    if source.unit and column.unit:
        quantity = column.quantity or column.name
        values = find_conversion(quantity, source.unit, column.unit, column=column.name)(values)
    elif source.unit != column.unit and source.unit:
        raise DataError(f"column '{column.name}': the site says '{source.unit}', the study agreed on no unit")
    if column.kind == "count":
        with np.errstate(invalid="ignore"):
            wrong = ~encoded.missing & ((values < 0) | (values != np.rint(values)))
        encoded.findings += find("not_a_count", column.name, wrong)
        encoded.missing |= wrong
    if column.range is not None:
        low, high = column.range
        wrong = ~encoded.missing & ((values < low) | (values > high))
        expected = f"expected {low:g} to {high:g}{' ' + column.unit if column.unit else ''}"
        encoded.findings += find("out_of_range", column.name, wrong, expected=expected)
        encoded.missing |= wrong
    values = np.where(encoded.missing, 0.0, values)
    encoded.values[column.name] = values.astype(np.int64) if column.kind == "count" else values
    return encoded


def _codes(table: Table, column: Column, mapping: SiteMapping) -> Encoded:
    source = mapping.source(column.name)
    if source.column not in table:
        return _absent(table, column.name, source.column, np.zeros(len(table), dtype=np.int8))
    words = table.texts(source.column)
    different, place = np.unique(words, return_inverse=True)
    agreed = {value: code for code, value in enumerate(column.values)}
    codes = [agreed.get(source.values.get(word, word), -2 if word else -1) for word in different.tolist()]
    held = np.array(codes, dtype=np.int8)[place] if len(different) else np.zeros(0, dtype=np.int8)
    encoded = Encoded({}, held < 0)
    expected = f"expected {', '.join(column.values[:8])}{', ...' if len(column.values) > 8 else ''}"
    encoded.findings += find("unknown_value", column.name, held == -2, expected=expected)
    encoded.values[column.name] = np.where(held < 0, 0, held).astype(np.int8)
    return encoded


def _survival(table: Table, column: Column, mapping: SiteMapping) -> Encoded:
    encoded, time = _read_numbers(table, column.time, mapping.source(column.time), "skip")
    second, event = _read_numbers(table, column.event, mapping.source(column.event), "skip", codes=True)
    encoded.findings += second.findings
    encoded.absent += second.absent
    encoded.missing |= second.missing
    there = ~encoded.missing
    days = time * DAYS_PER[mapping.source(column.time).unit or column.unit]
    negative, long = there & (days < 0), there & (days > MAX_FOLLOW_UP_D)
    encoded.findings += find("negative_time", column.time, negative)
    encoded.findings += find("long_time", column.time, long)
    wrong = there & ((event < 0) | (event > _MAX_EVENT) | (event != np.rint(event)))
    encoded.findings += find("bad_event", column.event, wrong)
    encoded.missing |= negative | long | wrong
    zero = ~encoded.missing & (days == 0)
    encoded.findings += find("zero_time", column.time, zero)
    days = np.where(zero, column.resolution_d / 2, days)
    if column.entry:
        third, entry = _read_numbers(table, column.entry, mapping.source(column.entry), "skip")
        encoded.findings += third.findings
        encoded.absent += third.absent
        entry = np.where(third.missing, 0.0, entry * DAYS_PER[column.unit])
        late = ~encoded.missing & (entry >= days)
        encoded.findings += find("entry_after_time", column.entry, late)
        encoded.missing |= late
        encoded.values[f"{column.name}/entry"] = np.where(encoded.missing, 0.0, entry)
    encoded.values[f"{column.name}/time"] = np.where(encoded.missing, 0.0, days)
    encoded.values[f"{column.name}/event"] = np.where(encoded.missing, 0, event).astype(np.int8)
    return encoded


def _block(table: Table, column: Column, mapping: SiteMapping) -> Encoded:
    if (name := mapping.source(column.name).column) in table and table.is_array(name):
        matrix = table.column(name)
        if matrix.shape[1:] != (column.n,):
            raise DataError(f"block '{column.name}': rows of shape {matrix.shape[1:]}; expected ({column.n},)")
        return _matrix(column, np.asarray(matrix, dtype=np.float32), ())
    names = column.names or tuple(sorted(n for n in table.names if column.prefix and n.startswith(column.prefix)))
    there = [name for name in names if name in table]
    if column.names_digest and names_digest(tuple(there)) != column.names_digest:
        raise DataError(f"block '{column.name}': {len(there)} columns whose names are not the agreed ones")
    if there and len(names) != len(column.features):
        raise DataError(f"block '{column.name}': {len(names)} columns; expected {len(column.features)}")
    absent = tuple(name for name in names if name not in table)
    if there and len(absent) > MAX_BLOCK_ABSENT * len(names):
        raise DataError(f"block '{column.name}': {len(absent)} of {len(names)} columns absent; at most 5 % may be")
    if text := [name for name in there if table.is_text(name)]:
        raise DataError(f"block '{column.name}': {len(text)} columns hold text, e.g. '{text[0]}'; expected numbers")
    held = np.full((len(table), len(column.features)), np.nan, dtype=np.float32)
    for at, name in enumerate(names):
        if name in table:
            held[:, at] = table.column(name)
    return _matrix(column, held, absent if there else (column.name,))


def _matrix(column: Column, matrix: NDArray[np.float32], absent: tuple[str, ...]) -> Encoded:
    """A block keeps NaN inside: its mask says which rows are missing altogether."""
    if column.transform == "log2":
        with np.errstate(divide="ignore", invalid="ignore"):
            matrix = np.where(matrix > 0, np.log2(matrix), np.nan).astype(np.float32)
    elif column.transform:
        raise DataError(f"block '{column.name}': unknown transform '{column.transform}'; known: log2")
    encoded = Encoded({}, np.asarray(np.isnan(matrix).all(axis=1), dtype=np.bool_), absent=absent)
    infinite = np.isinf(matrix)
    where = np.asarray(infinite.any(axis=1), dtype=np.bool_)
    encoded.findings += find("non_finite", column.name, where)
    encoded.values[column.name] = np.where(infinite, np.float32(np.nan), matrix)
    return encoded


def _fingerprint(table: Table, column: Column, mapping: SiteMapping) -> Encoded:
    name, width = mapping.source(column.name).column, (column.n + 7) // 8
    if name not in table:
        return _absent(table, column.name, name, np.zeros((len(table), width), dtype=np.uint8))
    packed = table.column(name)
    if packed.dtype != np.uint8 or packed.shape[1:] != (width,):
        raise DataError(
            f"fingerprint '{column.name}': rows of {packed.dtype} {packed.shape[1:]}; expected {width} bytes"
        )
    return Encoded({column.name: packed}, np.zeros(len(table), dtype=np.bool_))


def _image(table: Table, column: Column, mapping: SiteMapping) -> Encoded:
    name, shape = mapping.source(column.name).column, column.shape or (0, 0, 0)
    if name not in table:
        raise DataError(f"image '{column.name}': no column '{name}'; found: {', '.join(table.names[:20])}")
    pixels = table.column(name)
    if pixels.shape[1:] not in (shape, shape[1:] if shape[0] == 1 else shape):
        raise DataError(f"image '{column.name}': shape {pixels.shape[1:]}; expected {shape}")
    pixels = pixels.reshape((len(pixels), *shape))
    encoded = Encoded({column.name: pixels}, np.zeros(len(pixels), dtype=np.bool_))
    if pixels.dtype.kind == "f":
        wrong = np.asarray(~np.isfinite(pixels).reshape(len(pixels), -1).all(axis=1), dtype=np.bool_)
        encoded.findings += find("bad_image", column.name, wrong)
        encoded.missing |= wrong
    return encoded


def _read_numbers(
    table: Table, name: str, source: SiteColumn, action: Action, *, codes: bool = False
) -> tuple[Encoded, NDArray[np.float64]]:
    """Finite numbers of one source column; what is none is found and missing (value 0)."""
    if source.column not in table:
        return Encoded({}, np.ones(len(table), dtype=np.bool_), absent=(source.column,)), np.zeros(len(table))
    if table.is_array(source.column):
        raise DataError(f"column '{name}': holds an array per row; expected numbers")
    if table.is_text(source.column) or (codes and source.values):
        values, wrong = _parsed(table.texts(source.column), source.values)
    else:
        values, wrong = table.column(source.column), np.zeros(len(table), dtype=np.bool_)
    infinite = np.isinf(values)
    encoded = Encoded({}, np.isnan(values) | infinite)
    encoded.findings += find("text_for_number", name, wrong, action=action)
    encoded.findings += find("non_finite", name, infinite, action=action)
    return encoded, np.where(encoded.missing, 0.0, values)


def _parsed(words: NDArray[np.str_], codes: Mapping[str, str]) -> tuple[NDArray[np.float64], NDArray[np.bool_]]:
    different, place = np.unique(words, return_inverse=True)
    numbers, wrong = np.full(len(different), np.nan), np.zeros(len(different), dtype=np.bool_)
    for at, word in enumerate(different.tolist()):
        number = parse_number(codes.get(word, word)) if word else np.nan
        wrong[at] = number is None
        numbers[at] = np.nan if number is None else number
    return numbers[place], wrong[place]


def _absent(table: Table, name: str, source: str, values: NDArray[Any]) -> Encoded:
    return Encoded({name: values}, np.ones(len(table), dtype=np.bool_), absent=(source,))


_ENCODERS: dict[str, Callable[[Table, Column, SiteMapping], Encoded]] = {
    "number": _number,
    "count": _number,
    "days": _number,
    "flag": _codes,
    "category": _codes,
    "ordered": _codes,
    "survival": _survival,
    "block": _block,
    "fingerprint": _fingerprint,
    "image": _image,
}
