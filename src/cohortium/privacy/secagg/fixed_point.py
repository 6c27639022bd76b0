"""Numbers as words modulo 2^W, so that masks cancel exactly and a sum can be checked for wrap-around: the arithmetic.

    public weights   p_i = w_i / sum over U of w_j,  q_i = rint(p_i x_i s),  s = (2^(W-2) - n) / R
    hidden weights   q_i = w_i rint(x_i s),  s = (2^(B-1) - 1) / R,  B + ceil(log2(n w_max)) + 1 <= W
    integers         q_i = w_i x_i, 64 bits, refused above 2^62 / n

R = 2^max of the exponents the sites announce, never less than any |x|: nothing is clipped. Then |sum of q_i| stays
at or below 2^(W-2) and one bit above it is a guard: a sum outside is a fault or a lie. An integer sum is exact.
How far the mean may be off says `error_bound`. `encoding.py` and `decoding.py` do the work.

Proof of the 16-bit bound, in steps of 1/s. A site computes y = fl(x f) in float32 with f = fl(p s), two roundings of
2^-24 of at most p 2^14, so it is off by at most p 2^-9.99; adding the dither d, |d| < 1/2, rounds by at most 2^-10;
rint by 1/2. The p add up to 1: n (1/2 + 2^-10) + 2^-9.9. A sum of survivors has |q_i| < p_i (2^14 - n)(1 + 2^-22.9) + 1
each, together below 2^14 + 2^-8, so the integer is at most 2^14. At 32 bits f and x f are float64: rounding stays below
2^-22 of a step, and the sum below 2^30. At 64 bits the 53 bits of float64 rule. Design: privacy.md section 3.6.
"""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from cohortium.core.parameters import Parameters
from cohortium.errors import TrainingFailed
from cohortium.privacy.secagg.layout import WordLayout

__all__ = ["INTEGER_LIMIT", "LEAST_HIDDEN_BITS", "MAX_EXPONENT", "MIN_EXPONENT", "FixedPoint", "exponents"]

MIN_EXPONENT, MAX_EXPONENT = -8, 16
"""Announced ranges: below 2^-8 counts as 2^-8, above 2^16 is refused, because the others' small values would drown."""

INTEGER_LIMIT = 1 << 62
LEAST_HIDDEN_BITS, MOST_HIDDEN_BITS = 12, 48
_BLOCK = 65_536


@dataclass(frozen=True, kw_only=True)
class FixedPoint:
    """Word width, sites of U, and weights: `whole`, the sum of public ones, or `largest`, what a hidden one may be."""

    word_bits: int
    n: int
    whole: int = 0
    largest: int = 0

    def __post_init__(self) -> None:
        if bool(self.whole) == bool(self.largest):
            raise ValueError("weights are either public, with their sum, or hidden, with the largest allowed")
        if self.largest and self.hidden_bits < LEAST_HIDDEN_BITS:
            raise ValueError(
                f"hidden weights up to {self.largest} leave {self.hidden_bits} bits of {self.word_bits} for a value of"
                f" {self.n} sites, at least {LEAST_HIDDEN_BITS} are needed"
            )

    @property
    def hidden_bits(self) -> int:
        """Bits of a value before it is multiplied by a hidden weight."""
        return min(MOST_HIDDEN_BITS, self.word_bits - 1 - (self.n * self.largest - 1).bit_length())

    @property
    def dithered(self) -> bool:
        """Whether sites add a known dither before rounding: at 16 bits, where a step is felt."""
        return self.word_bits == 16 and not self.largest

    def steps(self, exponent: int) -> float:
        """Steps per unit for range 2^exponent; exact in float64."""
        if self.largest:
            whole = (1 << (self.hidden_bits - 1)) - 1
        elif self.word_bits == 64:
            whole = (1 << 62) - (1 << 20)
        else:
            whole = (1 << (self.word_bits - 2)) - self.n
        return math.ldexp(float(whole), -exponent)

    def factor(self, exponent: int, weight: int) -> float:
        """What a site of this weight multiplies its values by."""
        return self.steps(exponent) if self.largest else weight / self.whole * self.steps(exponent)

    def worth(self, exponent: int) -> float:
        """What a step of the opened sum is worth in the sum of weight x value."""
        return (1.0 if self.largest else float(self.whole)) / self.steps(exponent)

    def error_bound(self, exponent: int) -> float:
        """Largest distance of the opened mean of all of U from the true one; after losses, times U's share."""
        if self.largest:
            in_steps = 0.5
        elif self.word_bits == 16:
            in_steps = self.n * (0.5 + 2.0**-10) + 2.0**-9.9
        else:
            in_steps = 0.5 * self.n + 2.0**-20
        return in_steps / self.steps(exponent) + 2.0 ** (exponent - 50) * self.n


def exponents(parameters: Parameters, layout: WordLayout, *, site: str) -> NDArray[np.int8]:
    """ceil(log2 max |x|) of each group of floating arrays, at least -8: the one thing announced about an update.

    Raises TrainingFailed for values that are not finite or above 2^16; the message names array and limit.
    """
    found = dict.fromkeys(layout.groups, MIN_EXPONENT)
    for entry, _ in layout.slices(floats=True):
        largest = _largest(parameters[entry.name].reshape(-1))
        if not math.isfinite(largest):
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


def _largest(values: NDArray[np.generic]) -> float:
    """The largest magnitude, NaN if there is one; both ends of a block while it lies in the cache."""
    ends: list[float] = []
    for start in range(0, values.size, _BLOCK):
        block = values[start : start + _BLOCK]
        ends += float(np.maximum.reduce(block)), -float(np.minimum.reduce(block))
    return float(np.max(ends, initial=0.0))
