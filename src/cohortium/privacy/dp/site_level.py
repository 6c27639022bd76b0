"""One hospital hidden among all (`unit = "site"`): its whole update is cut to a norm, only a noisy sum is opened.

Patients are hidden through their hospital, and only there: delta must be far below 1/n, which says little with five
sites. The noise on the mean of n sites is z C / n on every number, so an update of d numbers drowns once z sqrt(d) > n;
`terms.check_size` refuses that.

With `clip = "quantile"` the norm follows the median length of the updates. Beside its update a site tells, with noise
of its own, whether it was cut; the norm lives in the run's state, moves by at most a tenth a round whatever a liar
adds, and is computed by operations that give the same bits on every machine.

Guarantee: every round is one Gaussian event of multiplier z for one site more or less, against the leader and c
colluders, whoever of d sites is lost; with a count, two events that cost together what z costs. Sources: McMahan et
al. 2018, Learning Differentially Private Recurrent Language Models; Andrew et al. 2021, Differentially Private Learning
with Adaptive Clipping. Design: privacy.md section 6.4.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from cohortium.core.parameters import Parameters
from cohortium.core.private import PrivacyTerms, split_with_count
from cohortium.errors import PeerError
from cohortium.privacy.dp.grid import Grid
from cohortium.privacy.dp.noise import IntegerGaussian, SecretStream

__all__ = ["SITE_STRATEGIES", "WHOLE", "SiteLevel"]

SITE_STRATEGIES = ("fedadam", "fedavg", "fedavgm", "fedprox", "fedyogi", "mean")
"""Merges whose updates are nothing but the change of the model."""


WHOLE = "release/whole"
"""Beside the update: whether this site was not cut, in half units, with noise."""

_UNITS = 1024  # of the count
_POSITIONS = 4096  # positions of the norm in an octave, as the state counts them
_NORMS = 32  # norms in an octave: a handful of noises, whose tables are made once
_MOVE = 0.2 * _POSITIONS * 1.4426950408889634  # rate 0.2 in natural logarithms, in positions
_OCTAVES = 20


def _length(update: Parameters) -> float:
    """Of all arrays together; of huge numbers too, whose squares no float holds."""
    largest = max((float(np.abs(array).max(initial=0.0)) for array in update.values()), default=0.0)
    if not largest:
        return 0.0
    squares = sum(float(((array.astype(np.float64) / largest) ** 2).sum()) for array in update.values())
    return largest * math.sqrt(squares)


def _roots() -> tuple[float, ...]:
    """2^(k/32) for k below 32, by square roots and products alone: powers differ between machines in the last bit."""
    root = 2.0
    for _ in range(5):
        root = math.sqrt(root)
    found = [1.0]
    for _ in range(_NORMS - 1):
        found.append(found[-1] * root)
    return tuple(found)


_ROOTS = _roots()


@dataclass(frozen=True)
class SiteLevel:
    """How an update leaves, and how the opened sum is read (seam `core.private.Release`).

    State, with `clip = "quantile"`: `position` of the norm, (1,) int64, in 4,096ths of an octave from the first one.
    """

    terms: PrivacyTerms

    def init(self) -> Parameters:
        """The norm of the study; nothing where it stays."""
        return Parameters({"position": np.zeros(1, dtype=np.int64)} if self.terms.counts_whole else {})

    def norm(self, state: Parameters) -> float:
        """The clipping norm of the round that starts from this state."""
        if not self.terms.counts_whole:
            return self.terms.clipping_norm
        octave, k = divmod(round(int(state["position"][0]) / (_POSITIONS // _NORMS)), _NORMS)
        return self.terms.clipping_norm * math.ldexp(_ROOTS[k], octave)

    def sentence(self, state: Parameters) -> str:
        """Where the norm began and ended, empty where it stays."""
        if not self.terms.counts_whole:
            return ""
        began, ended = self.terms.clipping_norm, self.norm(state)
        return f"clipping norm {began:g} at first, {ended:.3g} at the end, by noisy counts of uncut sites"

    def site(self, update: Parameters, state: Parameters, *, entropy: Callable[[int], bytes]) -> Parameters:
        """The update as whole numbers: cut to the norm, rounded, with this site's part of the noise."""
        grid = self._grid(update, state)
        length = _length(update)
        factor = min(1.0, grid.clipped_to / length) if length else 1.0
        cut: dict[str, NDArray[np.floating]] = {n: array.astype(np.float64) * factor for n, array in update.items()}
        stream = SecretStream(entropy, use="noise")
        multiplier, of_count = self.terms.own_multiplier, 0.0
        if self.terms.counts_whole:
            multiplier, of_count = split_with_count(multiplier)
        noisy = grid.noisy(cut, multiplier=multiplier, stream=stream)
        if of_count:
            told = _UNITS if factor == 1.0 else -_UNITS
            noisy[WHOLE] = told + IntegerGaussian(of_count * _UNITS).draw(1, stream)
        return Parameters(noisy)

    def read(self, total: Parameters, state: Parameters, *, n_sites: int) -> tuple[Parameters, Parameters]:
        """The sum of updates in float64, and where the norm is next.

        Raises PeerError for anything but sums of whole numbers, and where the count is missing or nobody asked for it.
        """
        if any(array.dtype.kind != "i" for array in total.values()):
            raise PeerError("updates of a run that hides its sites are whole numbers with noise")
        if (WHOLE in total) != self.terms.counts_whole or (WHOLE in total and total[WHOLE].shape != (1,)):
            raise PeerError(
                "updates of a run that hides its sites carry a count where its norm follows them, only there"
            )
        updates = total.without([WHOLE])
        units = self._grid(updates, state).units
        read = updates.map(lambda array: np.divide(array.astype(np.float64), units))
        return read, self._moved(state, int(total[WHOLE][0]), n_sites) if self.terms.counts_whole else state

    def _moved(self, state: Parameters, halves: int, n_sites: int) -> Parameters:
        """Down while more than half of the sites stay whole, up while fewer do."""
        above = min(max(halves / (2 * _UNITS * n_sites), -0.5), 0.5)
        limit = _OCTAVES * _POSITIONS
        position = min(max(int(state["position"][0]) - round(_MOVE * above), -limit), limit)
        return Parameters({"position": np.array([position], dtype=np.int64)})

    def _grid(self, arrays: Parameters, state: Parameters) -> Grid:
        return Grid(n=sum(array.size for array in arrays.values()), norm=self.norm(state))
