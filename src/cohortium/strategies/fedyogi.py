"""Yogi at the merge: as FedAdam, but v moves by a fixed share of D^2: v - .01 D^2 sign(v - D^2).

v forgets large changes more slowly than in FedAdam.

Source: Reddi et al. 2021, Adaptive Federated Optimization, algorithm 2.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from cohortium.strategies.fedadam import FedAdam

__all__ = ["FedYogi"]

Floats = NDArray[np.float64]


@dataclass(frozen=True, kw_only=True)
class FedYogi(FedAdam):
    """An adaptive step on the mean change; its two moments are shared state.

    rate: of the step. beta_1, beta_2: memory of the moments. tau: added to sqrt v. v_start: v before round 0.
    """

    def second_moment(self, old: Floats, square: Floats) -> Floats:
        """v after a change of this square."""
        return old - (1 - self.beta_2) * square * np.sign(old - square)
