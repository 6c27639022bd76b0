"""Arrays from outside: a payload's header and chunks, checked before anything is allocated.

What a digest covers is written in `payload.py`; this module is the suspicious reader. A header names
every array, so its size is known before a byte of the body is accepted; a chunk is kept only if its
own digest was promised by the manifest, and the manifest's digest follows from header and chunk
digests alone. On disk a payload is one blob: length of the header (4 bytes, little-endian), header,
body. Every refusal is a FrameError; nothing else leaves this module, whatever the bytes are.
"""

from __future__ import annotations

import hashlib
import json
import math
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field

import msgspec
import numpy as np
from numpy.typing import NDArray

from cohortium.core import payload
from cohortium.core.parameters import Parameters
from cohortium.errors import FrameError

__all__ = [
    "Intake",
    "Limits",
    "Packed",
    "Sketch",
    "blob_parts",
    "decode_blob",
    "digest_of",
    "pack",
    "parameters_of",
    "read_header",
]

Layout = Sequence[Sequence[object]]
"""[[name, dtype code, shape], ...] as `payload.layout` gives it."""


@dataclass(frozen=True, kw_only=True)
class Limits:
    """What a reader accepts at most: bytes of header and body, number of arrays, dimensions of one."""

    header_bytes: int = 1 << 20
    body_bytes: int = 2 << 30
    arrays: int = 10_000
    dimensions: int = 8


_DEFAULT = Limits()


class _Header(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    context: dict[str, str | int]
    tensors: list[tuple[str, str, list[int]]]


_HEADER = msgspec.json.Decoder(_Header)


@dataclass(frozen=True, kw_only=True)
class Sketch:
    """What a header promises: the layout, the context of an update (empty for a merge), the body's size."""

    header: bytes
    tensors: tuple[tuple[str, str, tuple[int, ...]], ...]
    context: Mapping[str, str | int]
    size_bytes: int

    @property
    def layout(self) -> list[list[object]]:
        """The layout in the form of `payload.layout`."""
        return [[name, code, list(shape)] for name, code, shape in self.tensors]

    @property
    def n_chunks(self) -> int:
        """Pieces of 1 MiB the body comes in."""
        return -(-self.size_bytes // payload.CHUNK_BYTES)


def read_header(header: bytes, *, limits: Limits = _DEFAULT, expected: Layout | None = None) -> Sketch:
    """What a header promises, if it is canonical, within the limits and of the expected layout."""
    if len(header) > limits.header_bytes:
        raise FrameError(f"payload header of {len(header)} bytes; at most {limits.header_bytes} are accepted")
    try:
        read = _HEADER.decode(header)
    except (msgspec.MsgspecError, ValueError, RecursionError) as broken:
        raise FrameError("payload header is not the agreed JSON") from broken
    if len(read.tensors) > limits.arrays:
        raise FrameError(f"payload names {len(read.tensors)} arrays; at most {limits.arrays} are accepted")
    tensors = tuple((name, code, tuple(shape)) for name, code, shape in read.tensors)
    size = sum(_tensor_bytes(*tensor, limits=limits) for tensor in tensors)
    if size > limits.body_bytes:
        raise FrameError(f"payload of {size} bytes; at most {limits.body_bytes} are accepted")
    if len({name for name, _, _ in tensors}) != len(tensors):
        raise FrameError("payload names an array twice")
    sketch = Sketch(header=header, tensors=tensors, context=read.context, size_bytes=size)
    if _canonical(sketch) != header:
        raise FrameError("payload header is not canonical")
    if expected is not None and sketch.layout != [list(entry) for entry in expected]:
        raise FrameError(f"payload's arrays are not those the study implies: {_difference(sketch.layout, expected)}")
    return sketch


def _tensor_bytes(name: str, code: str, shape: tuple[int, ...], *, limits: Limits) -> int:
    try:
        payload.check_name(name)
    except ValueError as wrong:
        raise FrameError(str(wrong)) from wrong
    if code not in payload.DTYPES:
        raise FrameError(f"array {name!r} has dtype {code!r:.20}; accepted: {', '.join(payload.DTYPES)}")
    if len(shape) > limits.dimensions or any(not 0 <= length < 1 << 48 for length in shape):
        raise FrameError(f"array {name!r} has a shape of {len(shape)} dimensions outside the limits")
    if 0 in shape and math.prod(length or 1 for length in shape) > limits.body_bytes:  # numpy refuses it, if empty
        raise FrameError(f"array {name!r} has a shape beyond the {limits.body_bytes} bytes accepted")
    return math.prod(shape) * payload.DTYPES[code].itemsize


def _canonical(sketch: Sketch) -> bytes:
    content = {"context": dict(sketch.context), "tensors": sketch.layout}
    return json.dumps(content, sort_keys=True, separators=(",", ":"), ensure_ascii=True).encode()


def _difference(found: Layout, expected: Layout) -> str:
    for got, wanted in zip(found, expected, strict=False):
        if list(got) != list(wanted):
            return f"found {got[0]} {got[1]} {got[2]}, expected {wanted[0]} {wanted[1]} {wanted[2]}"
    return f"found {len(found)} arrays, expected {len(expected)}"


def digest_of(header: bytes, chunk_digests: Iterable[bytes]) -> bytes:
    """The payload digest that header and chunk digests imply (32 bytes)."""
    whole = hashlib.sha256(payload.DOMAIN)
    whole.update(hashlib.sha256(header).digest())
    for chunk in chunk_digests:
        whole.update(chunk)
    return whole.digest()


@dataclass(frozen=True, kw_only=True)
class Packed:
    """A payload ready to be offered: header, body, digest of every chunk and of the whole."""

    header: bytes
    body: memoryview
    chunk_digests: tuple[bytes, ...]
    digest: bytes

    def chunk(self, index: int) -> memoryview:
        """The chunk with that number, 1 MiB but for the last."""
        return self.body[index * payload.CHUNK_BYTES : (index + 1) * payload.CHUNK_BYTES]


def pack(parameters: Parameters, context: Mapping[str, str | int] | None = None) -> Packed:
    """Header, body and digests of one set of arrays; `context` only for a site's own payload."""
    header = payload.header(parameters, context)
    body = memoryview(b"".join(payload.chunks(parameters.values())))
    return _packed(header, body)


def _packed(header: bytes, body: memoryview) -> Packed:
    step = payload.CHUNK_BYTES
    digests = tuple(hashlib.sha256(body[at : at + step]).digest() for at in range(0, len(body), step))
    return Packed(header=header, body=body, chunk_digests=digests, digest=digest_of(header, digests))


def _unpacked(sketch: Sketch, body: memoryview) -> Parameters:
    arrays: list[tuple[str, NDArray[np.generic]]] = []
    at = 0
    for name, code, shape in sketch.tensors:
        dtype = payload.DTYPES[code]
        count = math.prod(shape)
        arrays.append((name, np.frombuffer(body, dtype=dtype, count=count, offset=at).reshape(shape)))
        at += count * dtype.itemsize
    return Parameters.over(arrays)


@dataclass
class Intake:
    """One payload being received: fed chunk by chunk, in any order, each at most once.

    digest: what the payload must hash to. The promise (header and chunk digests) is checked against it on
    construction, so a chunk is checked alone and a broken stream resumes where it stopped.
    """

    digest: bytes
    header: bytes
    chunk_digests: tuple[bytes, ...]
    limits: Limits = _DEFAULT
    expected: Layout | None = None
    sketch: Sketch = field(init=False)
    _body: bytearray = field(init=False, repr=False)
    _missing: set[int] = field(init=False, repr=False)

    def __post_init__(self) -> None:
        self.sketch = read_header(self.header, limits=self.limits, expected=self.expected)
        if len(self.chunk_digests) != self.sketch.n_chunks:
            raise FrameError(f"payload promises {len(self.chunk_digests)} chunks, its header {self.sketch.n_chunks}")
        if digest_of(self.header, self.chunk_digests) != self.digest:
            raise FrameError("payload's header and chunks do not hash to the digest on the ledger")
        self._body = bytearray(self.sketch.size_bytes)
        self._missing = set(range(self.sketch.n_chunks))

    @property
    def complete(self) -> bool:
        """Whether every chunk has come."""
        return not self._missing

    def missing(self) -> tuple[int, ...]:
        """Numbers of the chunks still to come, sorted."""
        return tuple(sorted(self._missing))

    def add(self, index: int, chunk: bytes | memoryview) -> bool:
        """Keep one chunk. False if it was held already. FrameError if it is not the promised one."""
        if not 0 <= index < len(self.chunk_digests):
            raise FrameError(f"chunk {index} of a payload with {len(self.chunk_digests)} chunks")
        start = index * payload.CHUNK_BYTES
        if len(chunk) != min(payload.CHUNK_BYTES, self.sketch.size_bytes - start):
            raise FrameError(f"chunk {index} has {len(chunk)} bytes, not the promised number")
        if hashlib.sha256(chunk).digest() != self.chunk_digests[index]:
            raise FrameError(f"chunk {index} does not hash to what its manifest promised")
        if index not in self._missing:
            return False
        self._missing.discard(index)
        self._body[start : start + len(chunk)] = chunk
        return True

    def packed(self) -> Packed:
        """The payload as it can be offered to others. FrameError while chunks are missing."""
        if self._missing:
            raise FrameError(f"{len(self._missing)} chunks are still missing")
        return Packed(
            header=self.header,
            body=memoryview(self._body).toreadonly(),
            chunk_digests=self.chunk_digests,
            digest=self.digest,
        )


def blob_parts(packed: Packed) -> tuple[bytes, bytes, memoryview]:
    """One payload as the bytes that lie on disk, one part behind the other, so that a large body is not copied."""
    return len(packed.header).to_bytes(4, "little"), packed.header, packed.body


def decode_blob(blob: bytes, *, limits: Limits = _DEFAULT, expected: Layout | None = None) -> Packed:
    """A payload from its bytes; FrameError unless length, header and layout are as agreed."""
    length = int.from_bytes(blob[:4], "little")
    if len(blob) < 4 or length > limits.header_bytes or len(blob) < 4 + length:
        raise FrameError(f"payload of {len(blob)} bytes is truncated")
    sketch = read_header(bytes(blob[4 : 4 + length]), limits=limits, expected=expected)
    if len(blob) != 4 + length + sketch.size_bytes:
        raise FrameError(f"payload has {len(blob) - 4 - length} bytes of body, its header promises {sketch.size_bytes}")
    return _packed(sketch.header, memoryview(blob)[4 + length :].toreadonly())


def parameters_of(packed: Packed, *, limits: Limits = _DEFAULT) -> tuple[Parameters, Mapping[str, str | int]]:
    """The arrays of a payload and the context its header carries (empty for a merge)."""
    sketch = read_header(packed.header, limits=limits)
    if len(packed.body) != sketch.size_bytes:
        raise FrameError(f"payload has {len(packed.body)} bytes of body, its header promises {sketch.size_bytes}")
    return _unpacked(sketch, packed.body), sketch.context
