"""DP-SGD at one site (mode `local`): what leaves is private already, whatever anybody does with it.

    every step: draw patients, sum their clipped gradients, round, add noise, divide by q N, learn

N is the public number of patients, so a batch's true size is never told. Guarantee: all steps together are
`PrivateSteps.steps` times the event poisson-gaussian(q, sigma) for one patient more or less. What is made of them
(momentum, Adam, proximal terms, merges) costs nothing more. With `clip = "quantile"` the norm follows the median of
the gradients' lengths: how many patients were not cut is told with noise of its own, and the gradients get so much
more that both together cost what was agreed.

Source: Abadi et al. 2016, Deep Learning with Differential Privacy; Andrew et al. 2021, Differentially Private Learning
with Adaptive Clipping. Design: privacy.md sections 5 and 6.1.
"""

from __future__ import annotations

import math
from collections.abc import Callable

import numpy as np
from numpy.typing import NDArray

from cohortium.core.private import PrivateSteps
from cohortium.privacy.dp.clipping import Clipped
from cohortium.privacy.dp.grid import Grid
from cohortium.privacy.dp.noise import IntegerGaussian, SecretStream
from cohortium.privacy.dp.sampling import PatientSampler, public_size

__all__ = ["split_multiplier", "train"]

_TARGET = 0.5  # share of patients that are to stay whole
_RATE = 0.2
_COUNT_MULTIPLIER = 4.0  # in units of sigma: the count then costs the gradients 3 % more noise
_COUNT_UNITS = 1024
_STEPS = 32  # norms in an octave: a handful of noises, whose tables are made once
_LEAST_NORM, _LARGEST_NORM = 2.0**-20, 2.0**20

Integers = NDArray[np.int64]
Gradients = dict[str, NDArray[np.floating]]


def train(
    steps: PrivateSteps,
    patient: Integers,
    *,
    size: int,
    clipped: Callable[[Integers, float], Clipped],
    learn: Callable[[Gradients], None],
) -> float:
    """Take all steps; returns the clipping norm at the end.

    patient: of each training row. size: numbers in a gradient. clipped(rows, norm): sums over the patients of these
    rows. learn: one step along a noisy mean gradient, whose memory it may use.
    """
    sampler = PatientSampler(patient)
    chance, stream = SecretStream(steps.entropy, use="sampling"), SecretStream(steps.entropy, use="noise")
    expected = steps.sample_rate * public_size(sampler.n_patients)
    norm = wanted = steps.clipping_norm
    multiplier, of_count = steps.noise_multiplier, 0.0
    if steps.clip == "quantile":
        multiplier, of_count = split_multiplier(steps.noise_multiplier, expected=expected)
    for _ in range(steps.steps):
        rows = sampler.draw(steps.sample_rate, chance)
        grid = Grid(n=size, norm=norm)
        found = clipped(rows, grid.clipped_to)
        learn(grid.noisy_means(found.sums, multiplier=multiplier, stream=stream, divisor=expected))
        if of_count:
            share = _noisy_share(found.n_whole, len(rows), expected=expected, multiplier=of_count, stream=stream)
            wanted = min(max(wanted * math.exp(-_RATE * (share - _TARGET)), _LEAST_NORM), _LARGEST_NORM)
            norm = 2.0 ** (round(_STEPS * math.log2(wanted)) / _STEPS)
    return norm


def split_multiplier(whole: float, *, expected: float) -> tuple[float, float]:
    """Noise multipliers of gradient and of count that cost together what `whole` costs alone.

    whole^-2 = gradient^-2 + count^-2. The count's noise is a tenth of a batch, or four times `whole` if that is more.
    """
    of_count = max(expected / 10, _COUNT_MULTIPLIER * whole)
    return 1 / math.sqrt(whole**-2 - of_count**-2), of_count


def _noisy_share(n_whole: int, n: int, *, expected: float, multiplier: float, stream: SecretStream) -> float:
    """The share of patients not cut, of those expected. Whole ones count +1/2, others -1/2: sensitivity one half."""
    halves = _COUNT_UNITS * (2 * n_whole - n) + int(IntegerGaussian(multiplier * _COUNT_UNITS).draw(1, stream)[0])
    return 0.5 + halves / (2 * _COUNT_UNITS * expected)
