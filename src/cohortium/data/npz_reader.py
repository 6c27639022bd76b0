"""An NPZ file as a `Table`: images, fingerprints or plain columns, read without pickle and without surprise.

Every header is read first: object arrays are refused, and what an array declares must agree with the
archive's sizes before a byte of it is allocated (limit 8 GiB, a small file cannot claim a large array).

What the names mean: `images` [n, h, w] or [n, c, h, w], `labels` [n] or [n, k] (columns named by `tasks`),
any other array of n rows a column of its own. With `train_`, `val_` and `test_` before them, the three
are put together and a column `part` keeps the published split.
"""

from __future__ import annotations

import struct
import zipfile
import zlib
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, BinaryIO

import numpy as np
from numpy.lib import format as npy
from numpy.typing import NDArray

from cohortium.data.table import Table
from cohortium.errors import DataError

__all__ = ["MAX_NPZ_BYTES", "read_npz"]

MAX_NPZ_BYTES = 8 << 30
_MAX_DEFLATE = 1032  # zlib cannot compress better than 1 : 1032
_MAX_HEADER = 10_000
_SPLITS = {"train_": "train", "val_": "calibration", "test_": "test"}
_PACKED = (zipfile.ZIP_STORED, zipfile.ZIP_DEFLATED)
_BROKEN = (zipfile.BadZipFile, zlib.error, struct.error, EOFError, OSError, RuntimeError, ValueError)
"""What the standard library raises on archives that were cut or altered."""
_IMAGE_KINDS = ("uint8", "uint16", "float32")


@dataclass(frozen=True)
class _Member:
    name: str
    shape: tuple[int, ...]
    dtype: np.dtype[Any]
    size_bytes: int


def read_npz(path: Path, *, max_bytes: int = MAX_NPZ_BYTES) -> Table:
    """The rows of an NPZ file. Raises DataError, before allocating, when an array is hostile or too large."""
    try:
        with zipfile.ZipFile(path) as archive:
            members = [_inspect(archive, info, path.name) for info in archive.infolist()]
            total = sum(member.size_bytes for member in members)
            if total > max_bytes:
                raise DataError(f"{path.name}: declares {total} bytes of arrays; the limit is {max_bytes}")
            arrays = {member.name: _read(archive, member, path.name) for member in members}
    except _BROKEN as error:
        raise DataError(f"{path.name}: not a readable NPZ file ({type(error).__name__})") from None
    return _table(arrays, path.name)


def _inspect(archive: zipfile.ZipFile, info: zipfile.ZipInfo, name: str) -> _Member:
    """What one array declares, checked against the archive."""
    if info.compress_type not in _PACKED:
        raise DataError(f"{name}: '{info.filename}' is packed by an unknown method")
    if not info.filename.endswith(".npy"):
        raise DataError(f"{name}: holds '{info.filename}', which is no array")
    title = info.filename.removesuffix(".npy")
    with archive.open(info) as file:
        shape, dtype, start = _header(file, f"{name}: array '{title}'")
    if dtype.hasobject:
        raise DataError(f"{name}: array '{title}' holds Python objects; they are never read")
    declared = dtype.itemsize
    for side in shape:
        declared *= int(side)
    if declared + start != info.file_size or info.file_size > info.compress_size * _MAX_DEFLATE + 64:
        raise DataError(f"{name}: array '{title}' declares {declared} bytes, the file holds {info.file_size - start}")
    return _Member(title, shape, dtype, declared)


def _header(file: Any, where: str) -> tuple[tuple[int, ...], np.dtype[Any], int]:
    try:
        version = npy.read_magic(file)
        read = {(1, 0): npy.read_array_header_1_0, (2, 0): npy.read_array_header_2_0}[version]
        shape, _, dtype = read(file, max_header_size=_MAX_HEADER)
    except (ValueError, KeyError):
        raise DataError(f"{where} has no readable header") from None
    return shape, dtype, file.tell()


def _read(archive: zipfile.ZipFile, member: _Member, name: str) -> NDArray[Any]:
    try:
        with archive.open(f"{member.name}.npy") as file:
            return np.asarray(npy.read_array(_binary(file), allow_pickle=False, max_header_size=_MAX_HEADER))
    except ValueError:
        raise DataError(f"{name}: array '{member.name}' is truncated") from None


def _binary(file: Any) -> BinaryIO:
    binary: BinaryIO = file
    return binary


def _table(arrays: Mapping[str, NDArray[Any]], name: str) -> Table:
    split = {prefix: {k[len(prefix) :]: v for k, v in arrays.items() if k.startswith(prefix)} for prefix in _SPLITS}
    if all(split.values()):
        tables = [
            _rows(held, name).with_column("part", np.full(_length(held, name), _SPLITS[prefix]))
            for prefix, held in split.items()
        ]
        return Table.stacked(tables)
    return _rows(arrays, name)


def _rows(arrays: Mapping[str, NDArray[Any]], name: str) -> Table:
    n_rows = _length(arrays, name)
    columns: dict[str, NDArray[Any]] = {}
    for title, values in arrays.items():
        if title == "tasks" or values.ndim == 0 or len(values) != n_rows:
            continue  # names of tasks, settings of whoever wrote the file
        if title == "images" and (values.ndim not in (3, 4) or values.dtype.name not in _IMAGE_KINDS):
            raise DataError(
                f"{name}: images of shape {values.shape} and type {values.dtype}; "
                "expected [n, h, w] or [n, c, h, w] of uint8, uint16 or float32"
            )
        if title == "labels":
            columns |= _labels(values, arrays.get("tasks"))
        else:
            columns[title] = values
    return Table(columns)


def _labels(values: NDArray[Any], tasks: NDArray[Any] | None) -> dict[str, NDArray[Any]]:
    flat = values.reshape(len(values), -1)
    if flat.shape[1] == 1:
        return {"label": flat[:, 0]}
    known = tasks is not None and tasks.shape == (flat.shape[1],)
    titles = [str(t) for t in tasks] if known and tasks is not None else [f"label_{i}" for i in range(flat.shape[1])]
    return {title: flat[:, i] for i, title in enumerate(titles)}


def _length(arrays: Mapping[str, NDArray[Any]], name: str) -> int:
    """Rows: of the images, else of the labels, else of the longest array."""
    for title in ("images", "labels"):
        if title in arrays and arrays[title].ndim:
            return len(arrays[title])
    sizes = [len(values) for values in arrays.values() if values.ndim]
    if not sizes:
        raise DataError(f"{name}: holds no array with rows; expected 'images' and 'labels'")
    return max(sizes)
