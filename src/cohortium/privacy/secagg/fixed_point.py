"""Numbers as words modulo 2^W, so that masks cancel exactly and a sum can be checked for wrap-around.

    public weights   p_i = w_i / sum over U of w_j,  q_i = rint(p_i x_i s),  s = (2^(W-2) - n) / R
    integers         q_i = w_i x_i, 64 bits, refused above 2^62 / n

R = 2^max of the exponents the sites announce, never less than any |x|: nothing is clipped. Then |sum of q_i| stays
below 2^(W-2) and one bit above it is a guard: a sum outside is a fault or a lie. The mean is exact up to
n/2 x R / (2^(W-2) - n); an integer sum is exact. Encoding is a site's own business; decoding uses + x / only, so every
peer gets the same bits. Design: privacy.md section 3.6.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence

import numpy as np
from numpy.typing import NDArray

from cohortium.core.parameters import Parameters
from cohortium.errors import PeerError, TrainingFailed
from cohortium.privacy.secagg.layout import ZERO_WORDS, WordLayout

__all__ = ["MAX_EXPONENT", "MIN_EXPONENT", "decode", "encode", "error_bound", "exponents", "scale"]

MIN_EXPONENT, MAX_EXPONENT = -8, 16
"""Announced ranges: below 2^-8 counts as 2^-8, above 2^16 is refused, because the others' small values would drown."""

_BLOCK = 32_768
_INTEGER_LIMIT = 1 << 62
_Words = NDArray[np.unsignedinteger]


def exponents(parameters: Parameters, layout: WordLayout, *, site: str) -> NDArray[np.int8]:
    """ceil(log2 max |x|) of each group of floating arrays, at least -8: the one thing announced about an update.

    Raises TrainingFailed for values that are not finite or above 2^16; the message names array and limit.
    """
    found = dict.fromkeys(layout.groups, MIN_EXPONENT)
    for entry, _ in layout.slices(floats=True):
        array = parameters[entry.name]
        largest = float(max(np.max(array, initial=0), -np.min(array, initial=0)))
        if not math.isfinite(largest) or math.isnan(largest):
            raise TrainingFailed(f"site '{site}': array '{entry.name}' is not finite", code="not_finite")
        if largest > 2.0**MAX_EXPONENT:
            raise TrainingFailed(
                f"site '{site}': array '{entry.name}' exceeds 2^{MAX_EXPONENT}, the largest range of masked words;"
                " scale the columns or choose a smaller learning rate",
                code="unusable",
            )
        mantissa, exponent = math.frexp(largest)
        exponent = exponent - 1 if mantissa == 0.5 else exponent
        group = layout.group_of(entry)
        found[group] = max(found[group], exponent if largest else MIN_EXPONENT)
    return np.array([found[group] for group in layout.groups], dtype=np.int8)


def scale(exponent: int, *, word_bits: int, n: int) -> float:
    """Steps per unit for range 2^exponent: (2^(W-2) - n) / R; exact in float64."""
    steps = (1 << 62) - (1 << 20) if word_bits == 64 else (1 << (word_bits - 2)) - n
    return math.ldexp(float(steps), -exponent)


def error_bound(exponent: int, *, word_bits: int, n: int) -> float:
    """Largest distance of the opened mean from the true one, before float64 rounding."""
    return 0.5 * n / scale(exponent, word_bits=word_bits, n=n)


def encode(
    parameters: Parameters,
    layout: WordLayout,
    *,
    site: str,
    weights: Mapping[str, int],
    ranges: Sequence[int],
) -> dict[str, _Words]:
    """One site's vectors by segment, zero words included, not yet masked.

    weights: as committed, of all of U. ranges: the largest announced exponent of each group.
    Raises TrainingFailed when an integer could leave the range of the sum.
    """
    n = len(weights)
    vectors: dict[str, _Words] = {
        name: np.zeros(length, dtype=empty.dtype) for name, empty, length in layout.segments()
    }
    share = weights[site] / sum(weights.values())
    exponent_of = dict(zip(layout.groups, ranges, strict=True))
    for entry, place in layout.slices(floats=True):
        steps = scale(exponent_of[layout.group_of(entry)], word_bits=layout.word_bits, n=n)
        _encode_floats(parameters[entry.name].reshape(-1), share * steps, vectors["floats"][place])
    for entry, place in layout.slices(floats=False):
        array = parameters[entry.name].reshape(-1)
        largest = max(abs(int(array.min())), abs(int(array.max()))) if array.size else 0
        if largest * weights[site] > _INTEGER_LIMIT // n:
            raise TrainingFailed(
                f"site '{site}': array '{entry.name}' may take the masked sum beyond 2^62", code="unusable"
            )
        vectors["integers"][place] = (array.astype(np.int64) * np.int64(weights[site])).view(np.uint64)
    return vectors


def _encode_floats(values: NDArray[np.generic], factor: float, words: _Words) -> None:
    signed = words.view(f"<i{words.itemsize}")
    buffer = np.empty(min(_BLOCK, max(1, values.size)))
    for start in range(0, values.size, _BLOCK):
        part = values[start : start + _BLOCK]
        scaled = buffer[: part.size]
        np.multiply(part, factor, out=scaled, dtype=np.float64)
        np.rint(scaled, out=scaled)
        np.copyto(signed[start : start + part.size], scaled, casting="unsafe")


def decode(
    vectors: Mapping[str, _Words],
    layout: WordLayout,
    *,
    weights: Mapping[str, int],
    ranges: Sequence[int],
) -> Parameters:
    """sum over survivors of w_i x_i from the opened sums, float64 and int64, in the order of the update.

    weights: as committed, of all of U, because shares were taken of all. Raises PeerError when zero words are
    not zero or a sum is outside of the legal range.
    """
    n, whole = len(weights), sum(weights.values())
    for name, words in vectors.items():
        _check(name, words)
    exponent_of = dict(zip(layout.groups, ranges, strict=True))
    opened: dict[str, NDArray[np.generic]] = {}
    for entry, place in layout.slices(floats=True):
        steps = scale(exponent_of[layout.group_of(entry)], word_bits=layout.word_bits, n=n)
        words = vectors["floats"][place]
        values = words.view(f"<i{words.itemsize}").astype(np.float64)
        np.divide(values, steps, out=values)
        np.multiply(values, float(whole), out=values)
        opened[entry.name] = values.reshape(entry.shape)
    for entry, place in layout.slices(floats=False):
        opened[entry.name] = vectors["integers"][place].view(np.int64).reshape(entry.shape)
    return Parameters({entry.name: opened[entry.name] for entry in layout.entries})


def _check(name: str, words: _Words) -> None:
    if np.any(words[-ZERO_WORDS:]):
        raise PeerError(f"masks of the {name} did not cancel: the zero words behind the sum are not zero")
    limit = 1 << (8 * words.itemsize - 2)
    signed = words.view(f"<i{words.itemsize}")
    if int(signed.max()) > limit or int(signed.min()) < -limit:
        raise PeerError(f"sum of the {name} is outside of the legal range: a site left its range")
