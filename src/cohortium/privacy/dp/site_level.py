"""One hospital hidden among all (`unit = "site"`): its whole update is cut to a norm, only a noisy sum is opened.

Patients are hidden through their hospital, and only there: delta must be far below 1/n, which says little with five
sites. The noise on the mean of n sites is z C / n on every number, so an update of d numbers drowns once z sqrt(d) > n;
`terms.check_size` refuses that. A norm that follows the updates is not offered: the count of sites not cut would need
noise of its own, at least twice z, which with n <= 64 sites says nothing about their median.

Guarantee: every round is one Gaussian event of multiplier z for one site more or less, against the leader and c
colluders, whoever of d sites is lost. Source: McMahan et al. 2018, Learning Differentially Private Recurrent Language
Models. Design: privacy.md section 6.4.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from cohortium.core.parameters import Parameters
from cohortium.core.private import PrivacyTerms
from cohortium.errors import PeerError
from cohortium.privacy.dp.grid import Grid
from cohortium.privacy.dp.noise import SecretStream

__all__ = ["SITE_STRATEGIES", "SiteLevel"]

SITE_STRATEGIES = ("fedadam", "fedavg", "fedavgm", "fedprox", "fedyogi", "mean")
"""Merges whose updates are nothing but the change of the model."""


@dataclass(frozen=True)
class SiteLevel:
    """How an update leaves, and how the opened sum is read (seam `core.private.Release`)."""

    terms: PrivacyTerms

    def site(self, update: Parameters, *, entropy: Callable[[int], bytes]) -> Parameters:
        """The update as whole numbers: cut to the norm, rounded, with this site's part of the noise."""
        grid = self._grid(update)
        length = math.sqrt(sum(float((array.astype(np.float64) ** 2).sum()) for array in update.values()))
        factor = min(1.0, grid.clipped_to / length) if length else 1.0
        cut: dict[str, NDArray[np.floating]] = {n: array.astype(np.float64) * factor for n, array in update.items()}
        stream = SecretStream(entropy, use="noise")
        return Parameters(grid.noisy(cut, multiplier=self.terms.own_multiplier, stream=stream))

    def read(self, total: Parameters) -> Parameters:
        """The sum of updates in float64. Raises PeerError for anything but sums of whole numbers."""
        if any(array.dtype.kind != "i" for array in total.values()):
            raise PeerError("updates of a run that hides its sites are whole numbers with noise")
        units = self._grid(total).units
        return total.map(lambda array: np.divide(array.astype(np.float64), units))

    def _grid(self, arrays: Parameters) -> Grid:
        return Grid(n=sum(array.size for array in arrays.values()), norm=self.terms.clipping_norm)
