"""The site half of fixed point: an update's values as words, a piece of the vector at a time and in place.

Rounding is done by the unit of the floating-point format itself: 1.5 x 2^23 (float32) or 1.5 x 2^52 (float64) added to
a value leaves its nearest integer, ties to even, in the low bits of the sum. So a value is read once, and no integer
conversion is needed. `fixed_point.py` has the rules and the bounds. Design: privacy.md section 3.6.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

from cohortium.core.parameters import Parameters
from cohortium.errors import TrainingFailed
from cohortium.privacy.secagg.dither import PERIOD, repeated
from cohortium.privacy.secagg.fixed_point import INTEGER_LIMIT, FixedPoint
from cohortium.privacy.secagg.layout import ZERO_WORDS, WordLayout
from cohortium.privacy.secagg.scratch import Scratch

__all__ = ["Encoder"]

_MAGIC32 = np.float32(1.5 * 2**23)
_MAGIC64 = 1.5 * 2.0**52
_BLOCK = (1 << 18) // 8
"""Values worked on at once: as many float64 as the scratch holds."""

_Words = NDArray[np.unsignedinteger]


class Encoder:
    """One site's vectors, not yet masked. weight: its own. ranges: the largest announced exponent of each group.

    dither: of 16-bit words, else None. Raises TrainingFailed when an integer could leave the range of the sum.
    """

    def __init__(
        self,
        parameters: Parameters,
        layout: WordLayout,
        point: FixedPoint,
        *,
        site: str,
        weight: int,
        ranges: Sequence[int],
        scratch: Scratch,
        dither: NDArray[np.float32] | None = None,
    ) -> None:
        self._layout, self._point, self._weight = layout, point, weight
        exponent_of = dict(zip(layout.groups, ranges, strict=True))
        self._factors = {
            entry.name: point.factor(exponent_of[layout.group_of(entry)], weight)
            for entry, _ in layout.slices(floats=True)
        }
        self._flat = {entry.name: parameters[entry.name].reshape(-1) for entry in layout.entries}
        self._check_integers(site)
        self._wide = scratch.values
        self._narrow, self._narrow_bits = scratch.values.view(np.float32), scratch.values.view(np.uint32)
        self._wide_bits = scratch.values.view(np.uint64)
        self._dither = None if dither is None else repeated(dither, self._narrow.size)

    def _check_integers(self, site: str) -> None:
        most = INTEGER_LIMIT // self._point.n
        for entry, _ in self._layout.slices(floats=False):
            array = self._flat[entry.name]
            largest = max(abs(int(array.min())), abs(int(array.max()))) if array.size else 0
            if largest * self._weight > most:
                raise TrainingFailed(
                    f"site '{site}': array '{entry.name}' may take the masked sum beyond 2^62", code="unusable"
                )

    def fill(self, segment: str, words: _Words, *, at: int) -> None:
        """Words `at` to `at + words.size` of a segment, zero words included."""
        words[max(0, self._layout.length(segment) - ZERO_WORDS - at) :] = 0
        if segment == "weight":
            words[: max(0, 1 - at)] = self._weight
            return
        for entry, part, place in self._layout.overlaps(segment, at=at, size=words.size):
            values, out = self._flat[entry.name][part], words[place]
            if segment == "integers":
                np.multiply(values.astype(np.int64).view(np.uint64), np.uint64(self._weight), out=out)
            elif self._dither is None:
                self._encode(values, self._factors[entry.name], out)
            else:
                self._encode_dithered(values, self._factors[entry.name], out, at=at + place.start)

    def _encode_dithered(self, values: NDArray[np.generic], factor: float, words: _Words, *, at: int) -> None:
        factor32, step = np.float32(factor), self._narrow.size
        for start in range(0, values.size, step):
            part = values[start : start + step]
            scaled, begin = self._narrow[: part.size], (at + start) % PERIOD
            np.multiply(part, factor32, out=scaled, casting="same_kind")
            np.add(scaled, self._dither[begin : begin + part.size], out=scaled)  # type: ignore[index]
            np.add(scaled, _MAGIC32, out=scaled)
            np.copyto(words[start : start + step], self._narrow_bits[: part.size], casting="unsafe")

    def _encode(self, values: NDArray[np.generic], factor: float, words: _Words) -> None:
        step = self._wide.size
        for start in range(0, values.size, step):
            part, out = values[start : start + step], words[start : start + step]
            scaled, bits = self._wide[: part.size], self._wide_bits[: part.size]
            np.copyto(scaled, part)
            np.multiply(scaled, factor, out=scaled)
            if out.itemsize < 8:
                np.add(scaled, _MAGIC64, out=scaled)
                np.copyto(out, bits, casting="unsafe")
            else:  # public weights fill more bits than the unit of float64 can round
                np.rint(scaled, out=scaled)
                np.copyto(out.view(np.int64), scaled, casting="unsafe")
            if self._point.largest:
                np.multiply(out, out.dtype.type(self._weight), out=out)
