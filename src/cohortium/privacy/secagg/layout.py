"""Which arrays of an update become which words of a masked vector.

Floating arrays go into words of 16, 32 or 64 bits, integer arrays into words of 64 bits, each in the order of the
update; a hidden weight is a vector of its own. Floating arrays share a range by group: one group for each name before a
slash (`control/`, `metric/`) and one for all names without; at 16 bits every array has its own. Equal at all sites or
the masks do not cancel. Design: privacy.md section 3.6.
"""

from __future__ import annotations

import hashlib
import json
from bisect import bisect_right
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
    """The arrays of an update in order, the bits of a word for floating ones, and whether the weight is masked too."""

    entries: tuple[Entry, ...]
    word_bits: int = 32
    hidden_weight: bool = False

    def __post_init__(self) -> None:
        if self.word_bits not in (16, 32, 64):
            raise ValueError(f"word_bits must be 16, 32 or 64, got {self.word_bits}")

    @classmethod
    def of(cls, parameters: Parameters, *, word_bits: int, hidden_weight: bool = False) -> WordLayout:
        """The layout of an update."""
        described = payload.layout(dict(parameters))
        entries = tuple(Entry(str(n), str(d), tuple(s)) for n, d, s in described)  # type: ignore[arg-type]
        return cls(entries, word_bits, hidden_weight)

    @classmethod
    def from_bytes(cls, data: bytes) -> WordLayout:
        """What `to_bytes` gave."""
        word_bits, hidden_weight, entries = json.loads(data)
        described = tuple(Entry(name, dtype, tuple(shape)) for name, dtype, shape in entries)
        return cls(described, word_bits, hidden_weight)

    def to_bytes(self) -> bytes:
        """Canonical JSON; equal layouts give equal bytes."""
        entries = [[entry.name, entry.dtype, list(entry.shape)] for entry in self.entries]
        return json.dumps([self.word_bits, self.hidden_weight, entries], separators=(",", ":")).encode()

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
        if self.hidden_weight:
            yield "weight", np.empty(0, dtype="<u8"), 1 + ZERO_WORDS

    def length(self, segment: str) -> int:
        """Words of a segment, zero words included."""
        return next(length for name, _, length in self.segments() if name == segment)

    def slices(self, *, floats: bool) -> Iterator[tuple[Entry, slice]]:
        """Each array of one kind and where its words lie in that vector."""
        at = 0
        for entry in self.entries:
            if entry.is_float is floats:
                yield entry, slice(at, at + entry.size)
                at += entry.size

    def overlaps(self, segment: str, *, at: int, size: int) -> Iterator[tuple[Entry, slice, slice]]:
        """Each array with words among `at` to `at + size` of `floats` or `integers`: which of its values, which words.

        The words are counted from `at`.
        """
        laid, starts = self._laid[segment == "floats"]
        for entry, place in laid[max(0, bisect_right(starts, at) - 1) :]:
            if place.start >= at + size:
                return
            begin, end = max(place.start, at), min(place.stop, at + size)
            if begin < end:
                yield entry, slice(begin - place.start, end - place.start), slice(begin - at, end - at)

    @cached_property
    def _laid(self) -> tuple[tuple[list[tuple[Entry, slice]], list[int]], ...]:
        """Arrays and the first word of each, integers and floats."""
        both = [list(self.slices(floats=floats)) for floats in (False, True)]
        return tuple((laid, [place.start for _, place in laid]) for laid in both)

    def check(self, vectors: Parameters, *, site: str) -> None:
        """Raise FrameError unless these are the vectors of this layout and the digest of what their sender saw."""
        expected = [[name, payload.dtype_code(empty.dtype), [length]] for name, empty, length in self.segments()]
        if payload.layout(dict(vectors)) != [*expected, ["seen", "U8", [SEEN_BYTES]]]:
            raise FrameError(f"masked vector of site '{site}' is not of the agreed layout", site=site)
