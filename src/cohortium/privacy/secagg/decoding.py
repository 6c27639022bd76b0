"""The leader half of fixed point: opened sums as numbers, a piece at a time; leader and attestors get the same bits.

Only + - x / element by element in float64, so every processor gives the same. Two checks on the way: the zero words
behind each vector say whether all masks cancelled, the legal range whether the sum wrapped. Design: privacy.md 3.6.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

from cohortium.core.parameters import Parameters
from cohortium.errors import PeerError
from cohortium.privacy.secagg.dither import PERIOD, repeated
from cohortium.privacy.secagg.fixed_point import FixedPoint
from cohortium.privacy.secagg.layout import ZERO_WORDS, WordLayout
from cohortium.privacy.secagg.scratch import Scratch

__all__ = ["Decoder"]

_BLOCK = 32_768
_F64, _I64 = np.dtype(np.float64), np.dtype(np.int64)
_Words = NDArray[np.unsignedinteger]


class Decoder:
    """sum over survivors of w_i x_i: float64 and int64, in the order of the update.

    ranges: the largest announced exponent of each group. dither: the survivors' total at 16 bits, else None.
    """

    def __init__(
        self,
        layout: WordLayout,
        point: FixedPoint,
        *,
        ranges: Sequence[int],
        scratch: Scratch,
        dither: NDArray[np.float64] | None = None,
    ) -> None:
        self._layout, self._point = layout, point
        self._dither = None if dither is None else repeated(dither, _BLOCK)
        exponent_of = dict(zip(layout.groups, ranges, strict=True))
        self._worth = {e.name: point.worth(exponent_of[layout.group_of(e)]) for e, _ in layout.slices(floats=True)}
        self._flat: dict[str, NDArray[np.generic]] = {
            entry.name: scratch.vector(entry.name, entry.size, _F64 if entry.is_float else _I64)
            for entry in layout.entries
        }
        self._weight = 0

    def take(self, segment: str, words: _Words, *, at: int) -> None:
        """Words `at` to `at + words.size` of an opened segment. Raises PeerError for what no honest sum can be."""
        if np.any(words[max(0, self._layout.length(segment) - ZERO_WORDS - at) :]):
            raise PeerError(f"masks of the {segment} did not cancel: the zero words behind the sum are not zero")
        signed = words.view(f"<i{words.itemsize}")
        limit = 1 << (8 * words.itemsize - 2)
        if int(signed.max()) > limit or int(signed.min()) < -limit:
            raise PeerError(f"sum of the {segment} is outside of the legal range: a site left its range")
        if segment == "weight":
            self._weight = int(signed[0]) if at == 0 else self._weight
            return
        for entry, part, place in self._layout.overlaps(segment, at=at, size=words.size):
            out = self._flat[entry.name][part]
            if segment == "integers":
                np.copyto(out, signed[place])
                continue
            for start in range(0, out.size, _BLOCK):
                values = out[start : start + _BLOCK]
                np.copyto(values, signed[place.start + start : place.start + start + values.size])
                if self._dither is not None:
                    begin = (at + place.start + start) % PERIOD
                    np.subtract(values, self._dither[begin : begin + values.size], out=values)
                np.multiply(values, self._worth[entry.name], out=values)

    @property
    def weight(self) -> int:
        """The sum of hidden weights. Raises PeerError unless it can be one of as many sites as masked."""
        if not 1 <= self._weight <= self._point.n * self._point.largest:
            raise PeerError(f"hidden weights add up to {self._weight}, which {self._point.n} sites cannot have")
        return self._weight

    def opened(self) -> Parameters:
        """The sums; all pieces have been taken."""
        return Parameters.owning({e.name: self._flat[e.name].reshape(e.shape) for e in self._layout.entries})
