"""SGD, momentum and Adam in numpy by + - x / and square roots alone: the same bits on every machine.

Private training takes its steps with it: at one site, and in mode `distributed` at all of them, where every node makes
the step by itself from the opened sum. Rules and settings are those of `optimisers` (torch), equal within rounding.
Weights keep their dtype, moments are float64.
"""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np
from numpy.typing import NDArray

from cohortium.models.optimisers import OptimiserPlan

__all__ = ["power", "step"]

Floats = NDArray[np.float64]
Weights = dict[str, NDArray[np.floating]]


def step(
    plan: OptimiserPlan,
    weights: Weights,
    gradients: Mapping[str, NDArray[np.floating]],
    moments: list[dict[str, Floats]],
    *,
    number: int,
    factor: float = 1.0,
) -> None:
    """One step in place, for the arrays that have a gradient. number: counts from 1. factor: multiplies the rate.

    moments: `plan.n_moments` mappings, zero before the first step. Gradients are used up.
    """
    rate = plan.learning_rate * factor
    for name, gradient in gradients.items():
        if plan.name == "sgd":
            change = np.multiply(gradient, rate, out=gradient)
        elif plan.name == "momentum":
            velocity = moments[0][name]
            velocity *= plan.momentum
            velocity += gradient
            change = velocity * rate
        else:
            first, second = moments[0][name], moments[1][name]
            first *= plan.beta_1
            first += gradient * (1.0 - plan.beta_1)
            second *= plan.beta_2
            second += gradient * gradient * (1.0 - plan.beta_2)
            width = np.sqrt(second / (1.0 - power(plan.beta_2, number))) + plan.epsilon
            change = first * (rate / (1.0 - power(plan.beta_1, number))) / width
        np.subtract(weights[name], change, out=weights[name], casting="same_kind")


def power(base: float, exponent: int) -> float:
    """base^exponent by squaring: multiplications only, so that no library's `pow` can differ."""
    value, square, left = 1.0, base, exponent
    while left:
        if left & 1:
            value *= square
        square *= square
        left >>= 1
    return value
