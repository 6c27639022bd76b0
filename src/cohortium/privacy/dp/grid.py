"""Sums of clipped gradients as integers, and the noise that their sensitivity asks for.

A sum is rounded to multiples of 1/g. Two sums that differ by C in length then differ by at most Delta = g C + sqrt(d)
units, d being all their numbers: rounding is part of the sensitivity, and the noise is sigma Delta. The grid is fine
enough, g C >= 100 sqrt(d) and at least 2^14, for rounding to cost under 1 % of noise, and for a share of the noise
to be wide against the grid. Design: privacy.md section 5.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from cohortium.errors import TrainingFailed
from cohortium.privacy.dp.noise import BLOCK, IntegerGaussian, SecretStream

__all__ = ["Grid"]

_FINE = 100.0
_LEAST = float(1 << 14)
_SLACK = 2.0**-10  # float32 sums of float32 gradients: their rounding is far below a thousandth of the norm


@dataclass(frozen=True, kw_only=True)
class Grid:
    """n: numbers in a sum. norm: C."""

    n: int
    norm: float

    @property
    def units(self) -> float:
        """g, units per 1.0: a power of two."""
        return 2.0 ** math.ceil(math.log2(max(_FINE * math.sqrt(self.n), _LEAST) / self.norm))

    @property
    def clipped_to(self) -> float:
        """What patients are clipped to: a thousandth less than C, so that floating-point sums cannot pass it."""
        return self.norm * (1.0 - _SLACK)

    @property
    def sensitivity(self) -> float:
        """Delta, in units."""
        return self.units * self.norm + math.sqrt(self.n)

    def noisy_means(
        self, sums: Mapping[str, NDArray[np.floating]], *, multiplier: float, stream: SecretStream, divisor: float
    ) -> dict[str, NDArray[np.floating]]:
        """What stays at the site: sums in units with the same noise, divided; each array in its own memory and dtype.

        Whole numbers below 2^53 are exact in float64, so this adds the very integers that `noisy` adds.
        """
        noise, back = IntegerGaussian(multiplier * self.sensitivity), 1.0 / (self.units * divisor)
        found: dict[str, NDArray[np.floating]] = {}
        buffer = np.empty(BLOCK)
        for name, values in sums.items():
            held = np.require(values, requirements=["C", "W"])
            flat = held.reshape(-1)
            for at in range(0, len(flat), BLOCK):
                part = flat[at : at + BLOCK]
                units = buffer[: len(part)]
                np.copyto(units, part)  # widening apart from scaling: numpy converts in small pieces when it does both
                np.multiply(units, self.units, out=units)
                np.rint(units, out=units)
                noise.add(units, stream)
                np.multiply(units, back, out=part, casting="same_kind")
            found[name] = held
        return found

    def noisy(
        self, sums: Mapping[str, NDArray[np.floating]], *, multiplier: float, stream: SecretStream
    ) -> dict[str, NDArray[np.int64]]:
        """Each array in units, with noise of std multiplier x Delta on every number.

        Raises TrainingFailed for numbers that are not finite: as whole ones nobody would know them again.
        """
        noise = IntegerGaussian(multiplier * self.sensitivity)
        found: dict[str, NDArray[np.int64]] = {}
        for name, values in sums.items():
            scaled = np.multiply(values, self.units, dtype=np.float64)
            if not np.isfinite(scaled).all():
                raise TrainingFailed(f"the clipped sum of '{name}' is not finite", code="not_finite")
            units = np.rint(scaled, out=scaled).astype(np.int64)
            noise.add(units.reshape(-1), stream)
            found[name] = units
        return found
