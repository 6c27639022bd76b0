"""What a digest covers: a canonical header and the array bytes in chunks of 1 MiB.

    digest = SHA-256("cohortium-payload-1" | SHA-256(header) | SHA-256(chunk 0) | SHA-256(chunk 1) | ...)

The body is all arrays behind one another, C order, little-endian. Hashing by chunk makes the digest
streaming, resumable and auditable by slice (design: swarm.md section 7). A header without context
belongs to parameters alone, so every leader and attestor gets the same digest for the same merge;
a site's update adds its context (site, run, round, study, 16 bytes of salt).
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Iterable, Iterator, Mapping

import numpy as np
from numpy.typing import NDArray

__all__ = ["CHUNK_BYTES", "DTYPES", "check_name", "chunk_digests", "chunks", "digest", "dtype_code", "header", "layout"]

CHUNK_BYTES = 1 << 20
DOMAIN = b"cohortium-payload-1"
MAX_NAME = 200

DTYPES: dict[str, np.dtype[np.generic]] = {
    "F64": np.dtype("<f8"),
    "F32": np.dtype("<f4"),
    "I64": np.dtype("<i8"),
    "I32": np.dtype("<i4"),
    "U64": np.dtype("<u8"),
    "U32": np.dtype("<u4"),
    "U16": np.dtype("<u2"),
    "U8": np.dtype("u1"),
    "I8": np.dtype("i1"),
}
_CODES = {dtype: code for code, dtype in DTYPES.items()}


def dtype_code(dtype: np.dtype[np.generic]) -> str | None:
    """The wire name of a dtype (`F32`, `I64`, ...), None where it is not allowed."""
    return _CODES.get(dtype.newbyteorder("<"))


def check_name(name: object) -> None:
    """Raise ValueError unless `name` is text of 1 to 200 printable characters."""
    if not isinstance(name, str) or not 1 <= len(name) <= MAX_NAME or not name.isprintable():
        raise ValueError(f"array name must be 1 to {MAX_NAME} printable characters, got {name!r:.40}")


def layout(arrays: Mapping[str, NDArray[np.generic]]) -> list[list[object]]:
    """[[name, dtype code, shape], ...] in order: what must agree before two sets can be added."""
    return [[name, dtype_code(array.dtype), list(array.shape)] for name, array in arrays.items()]


def header(arrays: Mapping[str, NDArray[np.generic]], context: Mapping[str, object] | None = None) -> bytes:
    """Canonical JSON of the layout and, for an update, its context; keys sorted, no white space."""
    content = {"context": dict(context or {}), "tensors": layout(arrays)}
    return json.dumps(content, sort_keys=True, separators=(",", ":"), ensure_ascii=True).encode()


def chunks(arrays: Iterable[NDArray[np.generic]]) -> Iterator[bytes | memoryview]:
    """The body in pieces of exactly 1 MiB but the last; whole pieces of large arrays are not copied."""
    held = bytearray()
    for array in arrays:
        flat = memoryview(np.ascontiguousarray(array).reshape(-1).view(np.uint8).data)
        at = 0
        while at < len(flat):
            if not held and len(flat) - at >= CHUNK_BYTES:
                yield flat[at : at + CHUNK_BYTES]
                at += CHUNK_BYTES
                continue
            taken = flat[at : at + CHUNK_BYTES - len(held)]
            held += taken
            at += len(taken)
            if len(held) == CHUNK_BYTES:
                yield bytes(held)
                held.clear()
    if held:
        yield bytes(held)


def chunk_digests(arrays: Iterable[NDArray[np.generic]]) -> list[bytes]:
    """SHA-256 of every chunk of the body."""
    return [hashlib.sha256(chunk).digest() for chunk in chunks(arrays)]


def digest(head: bytes, arrays: Iterable[NDArray[np.generic]]) -> bytes:
    """The payload's digest (32 bytes) from its header and arrays."""
    whole = hashlib.sha256(DOMAIN)
    whole.update(hashlib.sha256(head).digest())
    for chunk in chunks(arrays):
        whole.update(hashlib.sha256(chunk).digest())
    return whole.digest()
