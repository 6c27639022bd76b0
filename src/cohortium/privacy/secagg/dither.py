"""A known dither for 16-bit words: what is lost by rounding then says nothing about the value, and is 0 on average.

Before it rounds, a site adds numbers spread evenly over a step, (-1/2, 1/2); whoever opens the sum takes them away
again. The error of each value stays below half a step, as without, but is uniform whatever the value was, so small
changes of a model survive on average instead of being rounded off round after round. The numbers are no secret: anybody
who holds the header has them. 16,384 of them serve a whole vector, over and over. Source: Roberts 1962, Picture coding
using pseudo-random noise (subtractive dither); Schuchman 1964. Why not stochastic rounding with error
feedback: docs/adr/0007.
"""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any, TypeVar

import numpy as np
from numpy.typing import NDArray

from cohortium.privacy.secagg.streams import derive, key_stream

__all__ = ["PERIOD", "dither_of", "repeated", "total_dither"]

_Float = TypeVar("_Float", bound=np.floating[Any])

PERIOD = 16_384


def dither_of(site: str, *, header: bytes) -> NDArray[np.float32]:
    """One site's dither, in steps: odd multiples of 1/512, exact in float32; shape (16384,)."""
    key = derive(header, salt=header, info=f"dither|{site}".encode(), length=16)
    drawn = np.frombuffer(key_stream(key, PERIOD), dtype=np.uint8).astype(np.float32)
    drawn -= np.float32(127.5)
    drawn *= np.float32(1 / 256)
    return drawn


def total_dither(sites: Iterable[str], *, header: bytes) -> NDArray[np.float64]:
    """The sum over these sites, exact in float64."""
    total = np.zeros(PERIOD)
    for site in sites:
        total += dither_of(site, header=header)
    return total


def repeated(dither: NDArray[_Float], n: int) -> NDArray[_Float]:
    """The same, long enough that `n` numbers from any place below the period lie behind one another."""
    return np.resize(dither, PERIOD + n)
