"""Columns out of an Arrow C stream, with ctypes alone: what polars, duckdb, pyarrow and pandas hand over.

Covers what a clinical table holds: integers, floats, booleans, text (plain, large, view), dictionaries,
dates and all-null columns. Nested types are refused.
Source: the Arrow C data and C stream interfaces (arrow.apache.org/docs/format/CDataInterface.html).
"""

from __future__ import annotations

import ctypes
from ctypes import CFUNCTYPE, POINTER, Structure, c_char_p, c_int, c_int64, c_void_p
from itertools import pairwise
from typing import Any

import numpy as np
from numpy.typing import NDArray

__all__ = ["read_stream"]


class _Schema(Structure):
    pass


class _Array(Structure):
    pass


class _Stream(Structure):
    pass


_Schema._fields_ = [
    ("format", c_char_p),
    ("name", c_char_p),
    ("metadata", c_void_p),
    ("flags", c_int64),
    ("n_children", c_int64),
    ("children", POINTER(POINTER(_Schema))),
    ("dictionary", POINTER(_Schema)),
    ("release", CFUNCTYPE(None, POINTER(_Schema))),
    ("private_data", c_void_p),
]
_Array._fields_ = [
    ("length", c_int64),
    ("null_count", c_int64),
    ("offset", c_int64),
    ("n_buffers", c_int64),
    ("n_children", c_int64),
    ("buffers", POINTER(c_void_p)),
    ("children", POINTER(POINTER(_Array))),
    ("dictionary", POINTER(_Array)),
    ("release", CFUNCTYPE(None, POINTER(_Array))),
    ("private_data", c_void_p),
]
_Stream._fields_ = [
    ("get_schema", CFUNCTYPE(c_int, POINTER(_Stream), POINTER(_Schema))),
    ("get_next", CFUNCTYPE(c_int, POINTER(_Stream), POINTER(_Array))),
    ("get_last_error", CFUNCTYPE(c_char_p, POINTER(_Stream))),
    ("release", CFUNCTYPE(None, POINTER(_Stream))),
    ("private_data", c_void_p),
]

_NUMBERS = {"c": "i1", "C": "u1", "s": "i2", "S": "u2", "i": "i4", "I": "u4", "l": "i8", "L": "u8"}
_NUMBERS |= {"e": "f2", "f": "f4", "g": "f8"}
_VIEW_INLINE = 12  # a string view of at most 12 bytes holds them itself


def read_stream(capsule: Any) -> dict[str, NDArray[Any]]:
    """Name -> values of all batches, copied. Raises ValueError on a type a clinical table has no use for."""
    pointer = ctypes.pythonapi.PyCapsule_GetPointer
    pointer.restype, pointer.argtypes = c_void_p, [ctypes.py_object, c_char_p]
    stream = ctypes.cast(pointer(capsule, b"arrow_array_stream"), POINTER(_Stream)).contents
    schema = _Schema()
    _check(stream, stream.get_schema(ctypes.byref(stream), ctypes.byref(schema)))
    try:
        if schema.format != b"+s":
            raise ValueError("the stream holds no table")
        fields = [schema.children[i].contents for i in range(schema.n_children)]
        chunks: list[list[NDArray[Any]]] = [[] for _ in fields]
        while (batch := _next(stream)) is not None:
            try:
                for held, field, child in zip(chunks, fields, range(batch.n_children), strict=True):
                    array = batch.children[child].contents
                    held.append(_values(field, array)[batch.offset : batch.offset + batch.length])
            finally:
                batch.release(ctypes.byref(batch))
        return {
            field.name.decode(): np.concatenate(held) if held else np.zeros(0)
            for field, held in zip(fields, chunks, strict=True)
        }
    finally:
        schema.release(ctypes.byref(schema))
        stream.release(ctypes.byref(stream))


def _next(stream: Any) -> Any:
    batch = _Array()
    _check(stream, stream.get_next(ctypes.byref(stream), ctypes.byref(batch)))
    return batch if batch.release else None


def _check(stream: Any, code: int) -> None:
    if code:
        raise ValueError(f"the data frame could not be read (code {code})")


def _values(field: Any, array: Any) -> NDArray[Any]:
    """One column of one batch; an object array with None where values are missing or are text."""
    kind = field.format.decode()
    end = array.offset + array.length
    if field.dictionary:
        words = np.array([*_values(field.dictionary.contents, array.dictionary.contents).tolist(), None], dtype=object)
        codes = _raw(array, 1, _NUMBERS[kind], end)[array.offset :].astype(np.int64)
        return np.asarray(words[np.where(_valid(array, end), codes, len(words) - 1)], dtype=object)
    if kind == "n":
        return np.full(array.length, np.nan)
    if kind in _NUMBERS:
        values: NDArray[Any] = _raw(array, 1, _NUMBERS[kind], end)[array.offset :].copy()
    elif kind == "b":
        bits = _raw(array, 1, "u1", (end + 7) // 8)
        values = np.unpackbits(bits, bitorder="little")[array.offset : end].astype(np.bool_)
    elif kind in ("u", "U"):
        values = _strings(array, "i4" if kind == "u" else "i8", end)
    elif kind == "vu":
        values = _views(array, end)
    elif kind == "tdD":
        values = _raw(array, 1, "i4", end)[array.offset :].astype("datetime64[D]")
    elif kind[:2] == "ts":
        values = _raw(array, 1, "i8", end)[array.offset :].astype(f"datetime64[{_unit(kind)}]")
    else:
        raise ValueError(f"column '{field.name.decode()}' has the Arrow type '{kind}'")
    valid = _valid(array, end)
    if valid.all():
        return values
    if values.dtype.kind == "M":
        return np.where(valid, values, np.datetime64("NaT"))
    out = values.astype(object)
    out[~valid] = None
    return out


def _unit(kind: str) -> str:
    return {"s": "s", "m": "ms", "u": "us", "n": "ns"}[kind[2]]


def _raw(array: Any, index: int, dtype: str, count: int) -> NDArray[Any]:
    address, size = array.buffers[index], np.dtype(dtype).itemsize * count
    if not address or not size:
        return np.zeros(count, dtype=dtype)
    held = ctypes.cast(address, POINTER(ctypes.c_uint8))
    return np.ctypeslib.as_array(held, shape=(size,)).view(dtype)


def _valid(array: Any, end: int) -> NDArray[np.bool_]:
    if array.null_count == 0 or not array.buffers[0]:
        return np.ones(array.length, dtype=np.bool_)
    bits = _raw(array, 0, "u1", (end + 7) // 8)
    return np.unpackbits(bits, bitorder="little")[array.offset : end].astype(np.bool_)


def _strings(array: Any, dtype: str, end: int) -> NDArray[Any]:
    ends = _raw(array, 1, dtype, end + 1)[array.offset :].tolist()
    first = ends[0]
    text = _raw(array, 2, "u1", ends[-1])[first:].tobytes()
    cells = [text[a - first : b - first].decode() for a, b in pairwise(ends)]
    return np.array(cells, dtype=object)


def _views(array: Any, end: int) -> NDArray[Any]:
    headers = _raw(array, 1, "u1", 16 * end)[16 * array.offset :].tobytes()
    cells = []
    for at in range(0, len(headers), 16):
        length = int.from_bytes(headers[at : at + 4], "little")
        if length <= _VIEW_INLINE:
            cells.append(headers[at + 4 : at + 4 + length].decode())
        else:
            buffer = int.from_bytes(headers[at + 8 : at + 12], "little")
            start = int.from_bytes(headers[at + 12 : at + 16], "little")
            cells.append(ctypes.string_at(array.buffers[2 + buffer] + start, length).decode())
    return np.array(cells, dtype=object)
