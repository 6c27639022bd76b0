"""The clip that `norm-bound` and `centred-clipping` share: an arrow no longer than agreed, made at the site.

The clip is the site's own promise. A site that lies leaves it out, and masks hide that it did; what bounds the damage
then is the group a sum is opened for. Under `dp` with unit `site` the same clip is part of the mechanism.
"""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np
from numpy.typing import NDArray

from cohortium.core.exact import norm2, rounded
from cohortium.core.parameters import Parameters
from cohortium.core.update import Aggregate, Turn
from cohortium.strategies.local_training import mean_difference

__all__ = ["bounded_mean", "shortened"]


def shortened(arrow: Mapping[str, NDArray[np.float64]], *, norm: float, like: Parameters) -> Parameters:
    """x min(1, norm/|x|) over all arrays together, in the dtypes of `like`; an arrow short enough comes back as it is.

    Rounding to 32 bits may lengthen an arrow by one part in ten million.
    """
    length = norm2(np.concatenate([part.reshape(-1) for part in arrow.values()]) if arrow else np.zeros(0))
    factor = 1.0 if length <= norm else norm / length
    return Parameters({name: rounded(part * factor, like[name].dtype) for name, part in arrow.items()})


def bounded_mean(turn: Turn, aggregate: Aggregate, *, norm: float) -> dict[str, NDArray[np.float64]]:
    """The weighted mean of the arrows; where two halves were added up apart, neither half's is longer than `norm`.

    An honest half's mean is no longer than its arrows, so the bound changes nothing where nobody lies.
    """
    if not aggregate.groups:
        return mean_difference(turn, aggregate)
    mean: dict[str, NDArray[np.float64]] = {}
    for half in aggregate.groups:
        arrow = mean_difference(turn, half)
        short = shortened(arrow, norm=norm, like=Parameters(arrow))
        for name in arrow:
            part = np.multiply(short[name], half.weight / aggregate.weight)
            mean[name] = np.add(mean[name], part) if name in mean else part
    return mean
