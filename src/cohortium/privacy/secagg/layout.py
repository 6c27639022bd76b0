"""Which arrays of an update become which words of a masked vector.

Floating arrays go into words of 16, 32 or 64 bits, integer arrays into words of 64 bits, each in the order of the
update. Floating arrays share a range by group: one group for each name before a slash (`control/`, `metric/`) and one
for all names without; at 16 bits every array has its own. Equal at all sites or the masks do not cancel.
Design: privacy.md section 3.6.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Iterator
from dataclasses import dataclass
from functools import cached_property
from math import prod

import numpy as np
from numpy.typing import NDArray

from cohortium.core import payload
from cohortium.core.parameters import Parameters
from cohortium.errors import FrameError

__all__ = ["SEEN_BYTES", "ZERO_WORDS", "Entry", "WordLayout"]

ZERO_WORDS = 8
"""Zeros behind each vector: what is left of them after unmasking says whether all masks cancelled."""


SEEN_BYTES = 32
"""Digest beside a masked vector: of the keys and shares its sender has seen."""


@dataclass(frozen=True)
class Entry:
    """One array: name, dtype code, shape."""

    name: str
    dtype: str
    shape: tuple[int, ...]

    @property
    def size(self) -> int:
        """Number of values."""
        return prod(self.shape)

    @property
    def is_float(self) -> bool:
        """Whether it is encoded with a range; integers are taken as they are."""
        return self.dtype.startswith("F")


@dataclass(frozen=True)
class WordLayout:
    """The arrays of an update in order, and the bits of a word for floating ones."""

    entries: tuple[Entry, ...]
    word_bits: int = 32

    def __post_init__(self) -> None:
        if self.word_bits not in (16, 32, 64):
            raise ValueError(f"word_bits must be 16, 32 or 64, got {self.word_bits}")

    @classmethod
    def of(cls, parameters: Parameters, *, word_bits: int) -> WordLayout:
        """The layout of an update."""
        described = payload.layout(dict(parameters))
        return cls(tuple(Entry(str(n), str(d), tuple(s)) for n, d, s in described), word_bits)  # type: ignore[arg-type]

    @classmethod
    def from_bytes(cls, data: bytes) -> WordLayout:
        """What `to_bytes` gave."""
        word_bits, entries = json.loads(data)
        return cls(tuple(Entry(name, dtype, tuple(shape)) for name, dtype, shape in entries), word_bits)

    def to_bytes(self) -> bytes:
        """Canonical JSON; equal layouts give equal bytes."""
        entries = [[entry.name, entry.dtype, list(entry.shape)] for entry in self.entries]
        return json.dumps([self.word_bits, entries], separators=(",", ":")).encode()

    @cached_property
    def digest(self) -> bytes:
        """SHA-256 of `to_bytes` (32 bytes)."""
        return hashlib.sha256(b"cohortium-words-1" + self.to_bytes()).digest()

    @cached_property
    def groups(self) -> tuple[str, ...]:
        """Names of the ranges, in order of their first array."""
        return tuple(dict.fromkeys(self.group_of(entry) for entry in self.entries if entry.is_float))

    def group_of(self, entry: Entry) -> str:
        """The range an array shares."""
        if self.word_bits == 16:
            return entry.name
        room, slash, _ = entry.name.partition("/")
        return room + slash if slash else ""

    def segments(self) -> Iterator[tuple[str, NDArray[np.generic], int]]:
        """(name, an empty array of its word type, length with zero words) of each vector that is not empty."""
        for name, kind, bits in (("floats", True, self.word_bits), ("integers", False, 64)):
            sizes = [entry.size for entry in self.entries if entry.is_float is kind]
            if sizes:
                yield name, np.empty(0, dtype=f"<u{bits // 8}"), sum(sizes) + ZERO_WORDS

    def slices(self, *, floats: bool) -> Iterator[tuple[Entry, slice]]:
        """Each array of one kind and where its words lie in that vector."""
        at = 0
        for entry in self.entries:
            if entry.is_float is floats:
                yield entry, slice(at, at + entry.size)
                at += entry.size

    def check(self, vectors: Parameters, *, site: str) -> None:
        """Raise FrameError unless these are the vectors of this layout and the digest of what their sender saw."""
        expected = [[name, payload.dtype_code(empty.dtype), [length]] for name, empty, length in self.segments()]
        if payload.layout(dict(vectors)) != [*expected, ["seen", "U8", [SEEN_BYTES]]]:
            raise FrameError(f"masked vector of site '{site}' is not of the agreed layout", site=site)
