"""Discrete Gaussian noise from a cryptographic stream: the integers that make a sum of patients private.

Sums are rounded to a grid and get an integer; no floating-point noise ever leaves a site, because its low bits betray
what was added (Mironov 2012). A value is drawn from an alias table (Walker; Vose 1991) whose thresholds come from exact
integer arithmetic with 96 bits: 32 bits of AES-128-CTR pick a column and compare it with the upper bits of its
threshold; only a tie, once in some 100,000 draws, reads 64 more. Beyond 10 standard deviations the mass is below
2^-75 and left out. A wider Gaussian is X1 + k X2 of two narrow ones with s1 >= 2.1 k, whose mass is the true one within
4e-15 (relative, to 6 standard deviations). Guarantee: `IntegerGaussian(std)` draws independent values of this std.

Source: Canonne, Kamath, Steinke 2020, The Discrete Gaussian for Differential Privacy. Design: privacy.md section 5.
"""

from __future__ import annotations

import hashlib
import math
from collections.abc import Callable
from dataclasses import dataclass
from decimal import Decimal, localcontext
from functools import cached_property, lru_cache

import numpy as np
from cryptography.hazmat.primitives.ciphers import Cipher
from cryptography.hazmat.primitives.ciphers.algorithms import AES
from cryptography.hazmat.primitives.ciphers.modes import CTR
from numpy.typing import NDArray

__all__ = ["BLOCK", "MAX_STD", "IntegerGaussian", "SecretStream"]

_WIDEST_TABLE = 1024.0  # its 20,481 values stand in 2^15 columns: 128 KiB, which stays in the second-level cache
_RATIO = 2.1  # s1 / k: below, the lattice of k X2 would show through
_WIDEST_STEP = int(_WIDEST_TABLE / _RATIO)
_TAIL = 10
_MASS_BITS = 96
_WORD = 32
_TIE_BITS = 64
_NARROW = 1 << 16  # such multiples of table values fit into 32 bits, two of them as well

BLOCK = 32_768
"""Values worked on at once: what belongs to them stays in the second-level cache."""

MAX_STD = _WIDEST_STEP * _WIDEST_TABLE * _WIDEST_STEP
"""Widest noise on offer, 2.4e8 units: two tables, the second one widened once more."""

_ZEROS = bytes(4 * BLOCK)

Integers = NDArray[np.int64]


class SecretStream:
    """Uniform words nobody else can predict: AES-128-CTR under a key that is asked of `entropy` once.

    entropy: n secret bytes, of the operating system outside of simulations.
    """

    def __init__(self, entropy: Callable[[int], bytes], *, use: str) -> None:
        key = hashlib.sha256(b"cohortium-dp-1|" + use.encode() + b"|" + entropy(32)).digest()[:16]
        self._cipher = Cipher(AES(key), CTR(bytes(16))).encryptor()

    def bytes(self, n: int) -> bytes:
        """The next n bytes."""
        return self._cipher.update(bytes(n))

    def fill(self, words: NDArray[np.uint32]) -> None:
        """Put the next words into a contiguous array of up to 32,768, in place."""
        buffer = bytearray(words.nbytes + 15)  # the cipher wants room for one block more
        self._cipher.update_into(_ZEROS[: words.nbytes], buffer)
        words[:] = np.frombuffer(buffer, dtype=np.uint32, count=len(words))

    def uniform(self, n: int) -> NDArray[np.float64]:
        """n numbers in [0, 1): multiples of 2^-53."""
        return (np.frombuffer(self.bytes(8 * n), dtype=np.uint64) >> np.uint64(11)).astype(np.float64) * 2.0**-53

    def below(self, bounds: Integers) -> Integers:
        """For each bound b >= 1 a whole number of 0 to b - 1; the bias of 64 bits, below b / 2^53, is let be."""
        return np.minimum((self.uniform(len(bounds)) * bounds).astype(np.int64), bounds - 1)


@dataclass(frozen=True)
class IntegerGaussian:
    """Integers with mass proportional to exp(-x^2 / (2 std^2)). Raises ValueError beyond 0.05 to 2.4e8."""

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
            (_, first), *wider = self._parts
            narrow = first.draw(len(part), stream)
            for step, table in wider:
                drawn = table.draw(len(part), stream)
                if step < _NARROW:
                    drawn *= np.int32(step)
                    narrow += drawn
                else:
                    part += drawn * np.int64(step)
            part += narrow

    @cached_property
    def _parts(self) -> tuple[tuple[int, _Table], ...]:
        """(k, table) whose k X add up to the noise; the first k is 1."""
        return tuple((step, _table(std)) for step, std in _split(self.std))


def _split(std: float) -> tuple[tuple[int, float], ...]:
    """(k, s) with sum of k^2 s^2 = std^2, every s one that a table can hold."""
    if std <= _WIDEST_TABLE:
        return ((1, std),)
    if std <= _WIDEST_TABLE * _WIDEST_STEP:
        step = max(1, math.floor(math.sqrt(std / _RATIO)))
        step = min(_WIDEST_STEP, max(step, math.ceil(math.sqrt(max((std / _WIDEST_TABLE) ** 2 - 1, 0)))))
        narrow = std / math.sqrt(1.0 + step * step)
        return ((1, narrow), (step, narrow))
    rest = math.sqrt(std * std - _WIDEST_TABLE**2) / _WIDEST_STEP
    return ((1, _WIDEST_TABLE), *((_WIDEST_STEP * step, narrow) for step, narrow in _split(rest)))


class _Table:
    """An alias table of one discrete Gaussian: 2^b columns, each with a threshold and what lies above it."""

    def __init__(self, std: float) -> None:
        reach = max(1, math.ceil(_TAIL * std))
        mass = _mass(std, reach)
        self._bits = (len(mass) - 1).bit_length()
        self._shift = np.int32(reach)
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
        words = np.empty(n, dtype=np.uint32)
        stream.fill(words)
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


@lru_cache(maxsize=16)
def _table(std: float) -> _Table:
    return _Table(std)


def _mass(std: float, reach: int) -> list[int]:
    """Integer masses of -reach to reach that add up to 2^96; what rounding leaves over goes to 0."""
    with localcontext() as context:
        context.prec = 60
        ratio = (-1 / (2 * Decimal(std) ** 2)).exp()
        square, weight, weights = ratio * ratio, Decimal(1), [Decimal(1)]
        for _ in range(reach):
            weight *= ratio
            ratio *= square
            weights.append(weight)
        unit = Decimal(1 << _MASS_BITS) / (2 * sum(weights, Decimal(0)) - 1)
        half = [int(one * unit) for one in weights]
    half[0] += (1 << _MASS_BITS) - (2 * sum(half) - half[0])
    return [*half[:0:-1], *half]


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
