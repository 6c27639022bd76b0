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

__all__ = ["shortened"]


def shortened(arrow: Mapping[str, NDArray[np.float64]], *, norm: float, like: Parameters) -> Parameters:
    """x min(1, norm/|x|) over all arrays together, in the dtypes of `like`; an arrow short enough comes back as it is.

    Rounding to 32 bits may lengthen an arrow by one part in ten million.
    """
    length = norm2(np.concatenate([part.reshape(-1) for part in arrow.values()]) if arrow else np.zeros(0))
    factor = 1.0 if length <= norm else norm / length
    return Parameters({name: rounded(part * factor, like[name].dtype) for name, part in arrow.items()})
