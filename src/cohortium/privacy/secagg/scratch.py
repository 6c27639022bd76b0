"""Memory that rounds have in common: buffers of one piece, and the large vectors of an earlier round.

One piece of 256 KiB is encoded, masked and opened while it lies in the second-level cache; and a vector is put where
the last one was, if nobody holds that any more: fresh memory costs as much as masking (5,000 page faults for five
vectors of a million words, half of the whole masked step).
"""

from __future__ import annotations

import sys
from typing import Any

import numpy as np
from numpy.typing import NDArray

__all__ = ["PIECE_BYTES", "Scratch"]

PIECE_BYTES = 1 << 18
_BLOCK = 16


class Scratch:
    """One site's buffers, for one piece of work at a time. Used as a context: what lay open in them is overwritten."""

    def __init__(self) -> None:
        self.mask = np.zeros(PIECE_BYTES + _BLOCK, dtype=np.uint8)
        self.words = np.zeros(PIECE_BYTES, dtype=np.uint8)
        self.values = np.zeros(PIECE_BYTES // 8, dtype=np.float64)
        self._vectors: dict[str, NDArray[Any]] = {}

    def vector(self, name: str, length: int, dtype: np.dtype[np.generic]) -> NDArray[Any]:
        """An uninitialised vector, in the memory of the last one of this name if that has been let go."""
        held = self._vectors.pop(name, None)
        if held is None or held.size != length or held.dtype != dtype or sys.getrefcount(held) > 2:
            held = np.empty(length, dtype=dtype)  # two: `held` and the argument; whoever kept the last one keeps it
        held.flags.writeable = True
        self._vectors[name] = held
        return held

    def __enter__(self) -> Scratch:
        return self

    def __exit__(self, *failure: object) -> None:
        for buffer in (self.mask, self.values):
            buffer.fill(0)
