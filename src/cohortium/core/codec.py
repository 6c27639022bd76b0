"""`Parameters` on disk in the safetensors layout, which any safetensors reader understands.

    8 bytes little-endian header length | JSON header, padded with spaces to a multiple of 64 | arrays

Nothing is ever unpickled. Reading checks everything before it allocates: lengths, names, dtypes, shapes,
offsets without holes or overlaps. What travels between peers is framed by `frames.py`.
Source: the format description of the safetensors project (Hugging Face), version 0.4.
"""

from __future__ import annotations

import json
import math
from collections.abc import Iterator, Mapping
from typing import Any

import numpy as np

from cohortium.core import payload
from cohortium.core.foreign_json import read_json
from cohortium.core.parameters import Parameters
from cohortium.errors import FrameError

__all__ = ["MAX_ARRAYS", "MAX_HEADER_BYTES", "decode", "encode"]

MAX_HEADER_BYTES = 1 << 20
MAX_ARRAYS = 10_000
_ALIGN = 64


def encode(parameters: Parameters, metadata: Mapping[str, str] | None = None) -> Iterator[bytes | memoryview]:
    """The file in pieces: header, then each array's bytes without a copy. metadata: text by name."""
    header: dict[str, Any] = {"__metadata__": dict(metadata)} if metadata else {}
    at = 0
    for name, array in parameters.items():
        end = at + array.nbytes
        code = payload.dtype_code(array.dtype)
        header[name] = {"dtype": code, "shape": list(array.shape), "data_offsets": [at, end]}
        at = end
    text = json.dumps(header, separators=(",", ":"), ensure_ascii=True).encode()
    text += b" " * (-(len(text) + 8) % _ALIGN)
    if len(text) > MAX_HEADER_BYTES:
        raise ValueError(f"header of {len(text)} bytes is larger than {MAX_HEADER_BYTES}")
    yield len(text).to_bytes(8, "little") + text
    for array in parameters.values():
        yield memoryview(array.reshape(-1).view(np.uint8).data)


def decode(data: bytes | memoryview) -> tuple[Parameters, dict[str, str]]:
    """(parameters, metadata) of a file. Raises FrameError naming what was found and expected."""
    view = memoryview(data)
    if len(view) < 8:
        raise FrameError(f"file of {len(view)} bytes is too short for a header length")
    length = int.from_bytes(view[:8], "little")
    if not 2 <= length <= MAX_HEADER_BYTES or 8 + length > len(view):
        raise FrameError(f"header length {length} is not between 2 and {min(MAX_HEADER_BYTES, len(view) - 8)}")
    header = _header(bytes(view[8 : 8 + length]))
    metadata = header.pop("__metadata__", {})
    if not isinstance(metadata, dict) or not all(isinstance(value, str) for value in metadata.values()):
        raise FrameError("metadata must be text by name")
    if len(header) > MAX_ARRAYS:
        raise FrameError(f"{len(header)} arrays are more than {MAX_ARRAYS}")
    body = view[8 + length :]
    arrays = sorted((_entry(name, entry) for name, entry in header.items()), key=lambda found: found[3])
    at = 0
    for name, _, _, begin, end in arrays:
        if begin != at:
            raise FrameError(f"array {name!r} starts at byte {begin}, expected {at}: hole or overlap")
        at = end
    if at != len(body):
        raise FrameError(f"arrays end at byte {at}, the file's data at {len(body)}")
    return Parameters(
        {name: np.frombuffer(body[begin:end], dtype=dtype).reshape(shape) for name, dtype, shape, begin, end in arrays}
    ), metadata


def _header(text: bytes) -> dict[str, Any]:
    try:
        header = read_json(text, max_depth=4)
    except ValueError as error:
        raise FrameError(f"header is not JSON as expected: {error}") from None
    if not isinstance(header, dict):
        raise FrameError("header is not a JSON object")
    return header


def _entry(name: str, entry: object) -> tuple[str, np.dtype[np.generic], tuple[int, ...], int, int]:
    try:
        payload.check_name(name)
    except ValueError as error:
        raise FrameError(str(error)) from None
    if not isinstance(entry, dict) or set(entry) != {"dtype", "shape", "data_offsets"}:
        raise FrameError(f"array {name!r} must have dtype, shape and data_offsets")
    code, shape, offsets = entry["dtype"], entry["shape"], entry["data_offsets"]
    dtype = payload.DTYPES.get(code) if isinstance(code, str) else None
    if dtype is None:
        raise FrameError(f"array {name!r} has dtype {code!r:.20}; allowed: {', '.join(payload.DTYPES)}")
    if not _counts(shape) or len(shape) > 8 or math.prod(length or 1 for length in shape) >= 1 << 48:
        raise FrameError(f"array {name!r} has no valid shape")
    if not _counts(offsets) or len(offsets) != 2 or offsets[0] > offsets[1]:
        raise FrameError(f"array {name!r} has no valid offsets")
    if math.prod(shape) * dtype.itemsize != offsets[1] - offsets[0]:
        raise FrameError(f"array {name!r}: {offsets[1] - offsets[0]} bytes do not hold shape {shape} of {code}")
    return name, dtype, tuple(shape), offsets[0], offsets[1]


def _counts(values: object) -> bool:
    return isinstance(values, list) and all(type(v) is int and 0 <= v < 1 << 48 for v in values)
