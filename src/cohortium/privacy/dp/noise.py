"""Discrete Gaussian noise from a cryptographic stream: the integers that make a sum of patients private.

Sums are rounded to a grid and get an integer; no floating-point noise ever leaves a site, because its low bits betray
what was added (Mironov 2012). A value is drawn from an alias table (Walker; Vose 1991) whose thresholds come from exact
integer arithmetic with 96 bits: 32 bits of AES-128-CTR pick a column and compare it with the upper bits of its
threshold; only a tie, once in some 100,000 draws, reads 64 more. Beyond 10 standard deviations the mass is below
2^-75 and left out.

Wider noise than a table holds is cut into cells of 2^j neighbours. Under the bell of a cell fits a box, as high as its
lowest value: the table draws the cell, j more bits the place in it. What sticks out above the boxes, less than one draw
in 1,000, is a column of the table as well, and drawn from its own shape by rejection: composition, so the mass function
is that of one discrete Gaussian, within 2^-60 in total variation.

Guarantee: `IntegerGaussian(std)` draws independent values of this std. Source: Canonne, Kamath, Steinke 2020, The
Discrete Gaussian for Differential Privacy; Devroye 1986, Non-Uniform Random Variate Generation, II.4. Design:
privacy.md section 5.
"""

from __future__ import annotations

import hashlib
import math
from collections.abc import Callable
from dataclasses import dataclass
from decimal import Decimal, localcontext
from functools import cached_property, lru_cache
from typing import Any

import numpy as np
from cryptography.hazmat.primitives.ciphers import Cipher
from cryptography.hazmat.primitives.ciphers.algorithms import AES
from cryptography.hazmat.primitives.ciphers.modes import CTR
from numpy.typing import NDArray

__all__ = ["BLOCK", "MAX_STD", "IntegerGaussian", "SecretStream"]

_WIDEST_TABLE = 1024.0  # its 20,481 values stand in 2^15 columns: 128 KiB, which stays in the second-level cache
_MOST_BITS = 18
_TAIL = 10
_MASS_BITS = 96
_WORD = 32
_TIE_BITS = 64
_AHEAD = 1024
_PI = Decimal("3.14159265358979323846264338327950288419716939937510582097494459")

BLOCK = 32_768
"""Values worked on at once: what belongs to them stays in the second-level cache."""

MAX_STD = _WIDEST_TABLE * 2.0**_MOST_BITS
"""Widest noise on offer, 2.7e8 units."""

_ZEROS = memoryview(bytes(4 * BLOCK))

Integers = NDArray[np.int64]


class SecretStream:
    """Uniform words nobody else can predict: AES-128-CTR under a key that is asked of `entropy` once.

    entropy: n secret bytes, of the operating system outside of simulations.
    """

    def __init__(self, entropy: Callable[[int], bytes], *, use: str) -> None:
        key = hashlib.sha256(b"cohortium-dp-1|" + use.encode() + b"|" + entropy(32)).digest()[:16]
        self._cipher = Cipher(AES(key), CTR(bytes(16))).encryptor()
        self._room = bytearray(len(_ZEROS) + 15)  # the cipher wants room for one block more
        self._held: tuple[object, Integers] = (None, np.zeros(0, dtype=np.int64))

    def bytes(self, n: int) -> bytes:
        """The next n bytes."""
        return self._cipher.update(bytes(n))

    def words(self, n: int, dtype: type[np.unsignedinteger]) -> NDArray[np.unsignedinteger]:
        """The next n words, at most 131,072 bytes of them; they stand until the stream is asked again."""
        words = np.frombuffer(self._room, dtype=dtype, count=n)
        self._cipher.update_into(_ZEROS[: words.nbytes], self._room)
        return words

    def ahead(self, owner: object, n: int, draw: Callable[[int, SecretStream], Integers]) -> Integers:
        """n values of draw(count, this stream), of which many are drawn at once and each is given once.

        owner: whose they are; those of another are let go.
        """
        values = self._held[1] if self._held[0] is owner else self._held[1][:0]
        if len(values) < n:
            values = np.concatenate([values, draw(max(n, _AHEAD), self)])
        self._held = owner, values[n:]
        return values[:n]

    def uniform(self, n: int) -> NDArray[np.float64]:
        """n numbers in [0, 1): multiples of 2^-53."""
        return (np.frombuffer(self.bytes(8 * n), dtype=np.uint64) >> np.uint64(11)).astype(np.float64) * 2.0**-53

    def below(self, bounds: Integers) -> Integers:
        """For each bound b >= 1 a whole number of 0 to b - 1; the bias of 64 bits, below b / 2^53, is let be."""
        return np.minimum((self.uniform(len(bounds)) * bounds).astype(np.int64), bounds - 1)


@dataclass(frozen=True)
class IntegerGaussian:
    """Integers with mass proportional to exp(-x^2 / (2 std^2)). Raises ValueError beyond 0.05 to 2.7e8."""

    std: float

    def __post_init__(self) -> None:
        if not 0.05 <= self.std <= MAX_STD:
            raise ValueError(f"std of the noise must be 0.05 to {MAX_STD:.2g} units, got {self.std}")

    def draw(self, n: int, stream: SecretStream) -> Integers:
        """n independent values, int64."""
        found = np.zeros(n, dtype=np.int64)
        self.add(found, stream)
        return found

    def add(self, values: Integers | NDArray[np.float64], stream: SecretStream) -> None:
        """Add independent values to a contiguous vector of whole numbers, int64 or float64, in place."""
        for at in range(0, len(values), BLOCK):
            part = values[at : at + BLOCK]
            part += self._shape.draw(len(part), stream)

    @cached_property
    def _shape(self) -> _Table | _Cells:
        """What draws it."""
        return _table(self.std) if self.std <= _WIDEST_TABLE else _cells(self.std)


class _Table:
    """An alias table: 2^b columns, each with a threshold and what lies above it.

    mass: of values from -shift on, whole numbers that add up to 2^96.
    """

    def __init__(self, mass: list[int], *, shift: int) -> None:
        self._bits = (len(mass) - 1).bit_length()
        self._shift = np.int32(shift)
        fine = _MASS_BITS - self._bits  # a column holds 2^fine units
        thresholds, aliases = _columns(mass, self._bits, fine)
        upper = [threshold >> _TIE_BITS for threshold in thresholds]
        full = (1 << (_WORD - self._bits)) - 1
        # A column that never leaves itself has the threshold 2^fine, one more than its bits hold: it is its own alias.
        packed = [min(one, full) << self._bits | alias for one, alias in zip(upper, aliases, strict=True)]
        self._packed = np.array(packed, dtype=np.uint32)
        self._lower = np.array([one & (1 << _TIE_BITS) - 1 for one in thresholds], dtype=np.uint64)

    def draw(self, n: int, stream: SecretStream) -> NDArray[np.int32]:
        """n values, at most 32,768."""
        words = stream.words(n, np.uint32)
        column = words & np.uint32((1 << self._bits) - 1)
        held = self._packed.take(column.astype(np.intp), mode="clip")  # in range already: `clip` spares the check
        words >>= np.uint32(self._bits)
        threshold = held >> np.uint32(self._bits)
        held &= np.uint32((1 << self._bits) - 1)
        stays = words < threshold
        ties = np.flatnonzero(words == threshold)
        if len(ties):
            finer = np.frombuffer(stream.bytes(8 * len(ties)), dtype=np.uint64)
            stays[ties] = finer < self._lower[column[ties]]
        column ^= held
        column *= stays  # half the time of a masked copy
        held ^= column
        drawn = held.view(np.int32)
        drawn -= self._shift
        return drawn


class _Cells:
    """A Gaussian wider than a table: cell H holds the 2^bits integers from H 2^bits on."""

    def __init__(self, std: float) -> None:
        self._bits = max(1, math.ceil(math.log2(std / _WIDEST_TABLE)))
        self._size, self._std = 1 << self._bits, std
        self._reach = math.ceil(_TAIL * std / self._size)
        self._word = np.uint8 if self._bits <= 8 else np.uint16 if self._bits <= 16 else np.uint32
        self._wide = np.int32 if _TAIL * std + self._size < 1 << 31 else np.int64
        boxes = _boxes(std, self._size, self._reach)
        self._table = _Table([*boxes, (1 << _MASS_BITS) - sum(boxes)], shift=self._reach)
        foot = np.arange(self._reach, dtype=np.int64) << self._bits
        self._tops = np.maximum(self._rise(foot), self._rise(-1 - foot))  # of the cells on either side, from 0 outwards
        self._pile = np.cumsum(self._tops[::-1]) / self._tops.sum()  # from the tails, which are small

    def draw(self, n: int, stream: SecretStream) -> NDArray[Any]:
        """n values, at most 32,768; int32, or int64 where that is too narrow."""
        cells = self._table.draw(n, stream)
        above = np.flatnonzero(cells == self._reach)  # the column behind the last cell
        values: NDArray[Any] = cells.astype(self._wide, copy=False)
        values <<= self._bits
        places: NDArray[Any] = stream.words(n, self._word)
        places &= self._word(self._size - 1)
        values += places
        if len(above):
            values[above] = stream.ahead(self, len(above), self._above)
        return values

    def _above(self, n: int, stream: SecretStream) -> Integers:
        """n values from what sticks out above the boxes."""
        found: list[Integers] = [np.zeros(0, dtype=np.int64)]
        while (left := n - sum(map(len, found))) > 0:
            n_tried = 2 * left + 8
            rank = np.searchsorted(self._pile, stream.uniform(n_tried), side="right")
            away = self._reach - 1 - np.minimum(rank, self._reach - 1)
            x = (away << self._bits) + stream.below(np.full(n_tried, self._size))
            x = np.where(stream.below(np.full(n_tried, 2)) == 1, x, -1 - x)
            found.append(x[stream.uniform(n_tried) * self._tops[away] < self._rise(x)][:left])
        return np.concatenate(found)

    def _rise(self, x: Integers) -> NDArray[np.float64]:
        """How much higher the bell is at x than at its lowest in the cell; 1 is the height at 0."""
        cell = x >> self._bits
        lowest = np.where(cell >= 0, ((cell + 1) << self._bits) - 1, -(cell << self._bits)).astype(np.float64)
        width, away = 2 * self._std**2, np.abs(x).astype(np.float64)
        rise = np.exp(-(lowest**2) / width) * np.expm1((lowest - away) * (lowest + away) / width)
        return np.asarray(rise)


@lru_cache(maxsize=16)
def _table(std: float) -> _Table:
    reach = max(1, math.ceil(_TAIL * std))
    return _Table(_mass(std, reach), shift=reach)


@lru_cache(maxsize=64)
def _cells(std: float) -> _Cells:
    return _Cells(std)


def _mass(std: float, reach: int) -> list[int]:
    """Integer masses of -reach to reach that add up to 2^96; what rounding leaves over goes to 0."""
    with localcontext() as context:
        context.prec = 60
        weights = _bell(std, first=0, step=1, n=reach + 1)
        unit = Decimal(1 << _MASS_BITS) / (2 * sum(weights, Decimal(0)) - 1)
        half = [int(one * unit) for one in weights]
    half[0] += (1 << _MASS_BITS) - (2 * sum(half) - half[0])
    return [*half[:0:-1], *half]


def _boxes(std: float, size: int, reach: int) -> list[int]:
    """Masses in units of 2^-96 of the boxes of cells -reach to reach - 1: size times the lowest mass in the cell.

    The whole bell is std sqrt(2 pi) high at 0: the sum over all integers differs by exp(-2 pi^2 std^2) of itself.
    """
    with localcontext() as context:
        context.prec = 60
        unit = Decimal(size << _MASS_BITS) / (Decimal(std) * (2 * _PI).sqrt())
        below, above = (
            [int(one * unit) for one in _bell(std, first=first, step=size, n=reach)] for first in (size, size - 1)
        )
    return [*below[::-1], *above]


def _bell(std: float, *, first: int, step: int, n: int) -> list[Decimal]:
    """exp(-x^2 / (2 std^2)) at first, first + step, ..., n of them."""
    double = 2 * Decimal(std) ** 2
    weight = (-(Decimal(first) ** 2) / double).exp()
    ratio = (-Decimal(2 * first * step + step * step) / double).exp()
    square, weights = (-2 * Decimal(step) ** 2 / double).exp(), []
    for _ in range(n):
        weights.append(weight)
        weight *= ratio
        ratio *= square
    return weights


def _columns(mass: list[int], bits: int, fine: int) -> tuple[list[int], list[int]]:
    """Vose's method on integers: thresholds of 0 to 2^fine, and for each column what lies above."""
    size, whole = 1 << bits, 1 << fine
    left = mass + [0] * (size - len(mass))
    thresholds, aliases = [whole] * size, list(range(size))
    small = [at for at in range(size) if left[at] < whole]
    large = [at for at in range(size) if left[at] > whole]
    while small:
        low, high = small.pop(), large[-1]
        thresholds[low], aliases[low] = left[low], high
        left[high] -= whole - left[low]
        if left[high] <= whole:
            large.pop()
            if left[high] < whole:
                small.append(high)
    return thresholds, aliases
