"""Columns of any library's data frame, read through the standard protocols; no frame library is imported.

Tried in this order: the Arrow C stream (`arrow_stream`: pyarrow, polars, duckdb, pandas with pyarrow),
the interchange protocol (`__dataframe__`: pandas without pyarrow), a structured `__array__`.
Source: Python dataframe interchange protocol 2022 (data-apis.org).
"""

from __future__ import annotations

import ctypes
from typing import Any

import numpy as np
from numpy.typing import NDArray

from cohortium.data.arrow_stream import read_stream
from cohortium.errors import DataError

__all__ = ["columns_of"]

_INT, _UINT, _FLOAT, _BOOL, _STRING, _DATETIME, _CATEGORICAL = 0, 1, 2, 20, 21, 22, 23
_NOT_NULLABLE, _USE_NAN, _USE_SENTINEL, _USE_BITMASK, _USE_BYTEMASK = range(5)


def columns_of(frame: Any) -> dict[str, NDArray[Any]]:
    """Name -> values of a data frame. Raises DataError when the object offers no known protocol."""
    if hasattr(frame, "__arrow_c_stream__"):
        try:
            return read_stream(frame.__arrow_c_stream__())
        except (ImportError, ValueError, TypeError, NotImplementedError):
            pass  # pandas without pyarrow, or with columns of mixed objects: the ways below can read them
    if hasattr(frame, "__dataframe__"):
        try:
            exchange = frame.__dataframe__(allow_copy=True)
            return {str(name): _column(exchange.get_column_by_name(name)) for name in exchange.column_names()}
        except NotImplementedError:
            pass
    if hasattr(frame, "columns") and hasattr(frame, "to_numpy"):
        return {str(name): np.asarray(frame[name]) for name in frame.columns}
    if hasattr(frame, "__array__"):
        array = np.asarray(frame)
        if array.dtype.names:
            return {name: array[name] for name in array.dtype.names}
        raise DataError("an array without column names; pass a mapping of names to columns")
    raise DataError(
        f"cannot read a table from {type(frame).__name__}; expected a mapping or a data frame "
        "(with __arrow_c_stream__, __dataframe__ or a structured __array__)"
    )


def _column(column: Any) -> NDArray[Any]:
    kind = int(column.dtype[0])
    chunks = list(column.get_chunks()) if column.num_chunks() > 1 else [column]
    return np.concatenate([_chunk(chunk, kind) for chunk in chunks])


def _chunk(column: Any, kind: int) -> NDArray[Any]:
    null, sentinel = column.describe_null
    if kind == _CATEGORICAL:
        categories = column.describe_categorical["categories"]
        words = np.array([*_column(categories).tolist(), None], dtype=object)
        codes = _numbers(column, column.get_buffers()["data"]).astype(np.int64)
        codes[_nulls(column, int(null), sentinel, codes)] = len(words) - 1
        return np.asarray(words[codes], dtype=object)
    if kind == _STRING:
        return _strings(column, int(null), sentinel)
    values = _numbers(column, column.get_buffers()["data"])
    gone = _nulls(column, int(null), sentinel, values)
    if kind == _DATETIME:
        raise NotImplementedError("dates are read by the caller's own accessor")
    if not gone.any():
        return values
    out = values.astype(object)
    out[gone] = None
    return out


def _numbers(column: Any, held: Any) -> NDArray[Any]:
    buffer, (kind, bits, _, _) = held
    size, start = column.size(), column.offset
    if int(kind) == _BOOL and bits == 1:
        raw = _bytes(buffer.ptr, buffer.bufsize)
        return np.unpackbits(raw, bitorder="little")[start : start + size].astype(np.bool_)
    letter = {_INT: "i", _UINT: "u", _FLOAT: "f", _BOOL: "b", _DATETIME: "i"}.get(int(kind), "i")
    raw = _bytes(buffer.ptr, buffer.bufsize)
    return raw.view(np.dtype(f"{letter}{bits // 8}"))[start : start + size].copy()


def _strings(column: Any, null: int, sentinel: Any) -> NDArray[Any]:
    buffers = column.get_buffers()
    data = _bytes(buffers["data"][0].ptr, buffers["data"][0].bufsize).tobytes()
    bits = buffers["offsets"][1][1]
    offsets = _bytes(buffers["offsets"][0].ptr, buffers["offsets"][0].bufsize).view(np.dtype(f"i{bits // 8}"))
    start, size = column.offset, column.size()
    ends = offsets[start : start + size + 1].tolist()
    gone = _nulls(column, null, sentinel, np.zeros(size))
    cells = [None if gone[i] else data[ends[i] : ends[i + 1]].decode() for i in range(size)]
    return np.array(cells, dtype=object)


def _nulls(column: Any, null: int, sentinel: Any, values: NDArray[Any]) -> NDArray[np.bool_]:
    size, start = column.size(), column.offset
    if null == _USE_NAN:
        return np.isnan(values) if values.dtype.kind == "f" else np.zeros(size, dtype=np.bool_)
    if null == _USE_SENTINEL:
        return np.asarray(values == sentinel)
    held = column.get_buffers()["validity"]
    if null == _NOT_NULLABLE or held is None:
        return np.zeros(size, dtype=np.bool_)
    raw = _bytes(held[0].ptr, held[0].bufsize)
    marks = np.unpackbits(raw, bitorder="little") if null == _USE_BITMASK else raw
    return np.asarray(marks[start : start + size] == sentinel)


def _bytes(address: int, size: int) -> NDArray[np.uint8]:
    if not size or not address:
        return np.zeros(0, dtype=np.uint8)
    return np.ctypeslib.as_array(ctypes.cast(address, ctypes.POINTER(ctypes.c_uint8)), shape=(size,))
