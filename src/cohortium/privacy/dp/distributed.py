"""DP-SGD with secure aggregation at every step (mode `distributed`): each site adds a part of the noise.

    site     draw patients, sum their clipped gradients, round, add noise of std sigma Delta / sqrt(n - c - d)
    masks    only the sum over sites is opened; the other parts' noise hides each of them
    all      divide by q times the public number of patients, take the same step

n - c - d sites carry the whole noise: c may collude and tell theirs, d may vanish. So a sum over fewer than n - d
sites is never opened, whatever the masks' own threshold allows (`NoiseGuard`). Guarantee, against the leader and c
colluders: every opened sum is the event poisson-gaussian(q, sigma) for one patient more or less at an honest site.
What each site alone could know if all others colluded is `PrivacyTerms.events(against="alone")`.

Source: Truex et al. 2019, A Hybrid Approach to Privacy-Preserving Federated Learning. Design: privacy.md section 6.2.
"""

from __future__ import annotations

from collections.abc import Callable, Collection, Sequence

import numpy as np
from numpy.typing import NDArray

from cohortium.core.exchange import Context, Guard, Received, Recipe, n_colluders, threshold
from cohortium.core.parameters import Parameters
from cohortium.core.private import PrivateSteps
from cohortium.core.update import Aggregate, Update
from cohortium.errors import InvariantBroken, PeerError
from cohortium.privacy.dp.clipping import Clipped
from cohortium.privacy.dp.grid import Grid
from cohortium.privacy.dp.noise import SecretStream
from cohortium.privacy.dp.sampling import PatientSampler, public_size

__all__ = ["PATIENTS", "NoiseGuard", "mean_gradient", "sharing", "site_sums"]

PATIENTS = "patients"
"""Name of the count that travels beside the sums: patients of a site, rounded down to tens."""

Integers = NDArray[np.int64]
Clipper = Callable[[Integers, float], Clipped]


def sharing(n_sites: int) -> tuple[int, int]:
    """(c, d): sites that may collude, and that may vanish, of n; all zero for a single trainer."""
    if n_sites < 2:
        return 0, 0
    return n_colluders(n_sites), min(n_sites - threshold(n_sites, n_sites), 2)


def site_sums(
    steps: PrivateSteps, patient: Integers, *, size: int, names: Sequence[str], clipped: Clipper
) -> dict[str, Integers]:
    """One site's part of one step: clipped sums in units with this site's noise, under `sum/...`, and its `patients`.

    names: of the gradient's arrays, in order. clipped(rows, norm): their sums over the patients of these rows.
    """
    if steps.steps != 1 or steps.clip != "fixed":
        raise InvariantBroken("a shared step is one step with a fixed norm")
    sampler = PatientSampler(patient)
    rows = sampler.draw(steps.sample_rate, SecretStream(steps.entropy, use="sampling"))
    grid = Grid(n=size, norm=steps.clipping_norm)
    found = clipped(rows, grid.clipped_to)
    noise = SecretStream(steps.entropy, use="noise")
    noisy = grid.noisy({name: found.sums[name] for name in names}, multiplier=steps.noise_multiplier, stream=noise)
    told = np.array([public_size(sampler.n_patients)], dtype=np.int64)
    return {**{f"sum/{name}": units for name, units in noisy.items()}, PATIENTS: told}


def mean_gradient(total: Parameters, *, sample_rate: float, clipping_norm: float) -> dict[str, NDArray[np.float64]]:
    """What all make of the opened sum, by array name: divided once, by units x q x patients; equal bits everywhere.

    Raises PeerError for a sum over no patient, which only a liar can bring about.
    """
    sums = total.under("sum")
    grid = Grid(n=sum(array.size for array in sums.values()), norm=clipping_norm)
    patients = int(total[PATIENTS][0])
    if patients < 1:
        raise PeerError(f"the sites' numbers of patients add up to {patients}, expected at least 1")
    whole = grid.units * sample_rate * float(patients)
    return {name: np.divide(np.asarray(units, dtype=np.float64), whole) for name, units in sums.items()}


class NoiseGuard:
    """A masked guard that never helps to open a sum with too little noise in it (seam `core.exchange.Guard`).

    least: survivors whose noise is enough even if the colluders among them added none.
    """

    def __init__(self, guard: Guard, *, least: int) -> None:
        self._guard, self._least = guard, least

    @property
    def recipe(self) -> Recipe:
        """The inner guard's."""
        return self._guard.recipe

    def check(self, update: Update) -> None:
        """The inner guard's."""
        self._guard.check(update)

    def step(self, step: str, context: Context, *, own: Update, received: Received) -> Parameters:
        """The inner guard's payload. Raises PeerError when asked to unmask too small a sum."""
        if step == "unmask":
            self._check(received.get("survivors", {}))
        return self._guard.step(step, context, own=own, received=received)

    def open(self, context: Context, *, survivors: Sequence[str], received: Received) -> tuple[Update, ...] | Aggregate:
        """The inner guard's sum. Raises PeerError for too few survivors."""
        self._check(survivors)
        return self._guard.open(context, survivors=survivors, received=received)

    def memory(self) -> Parameters:
        """The inner guard's."""
        return self._guard.memory()

    def restore(self, memory: Parameters) -> None:
        """The inner guard's."""
        self._guard.restore(memory)

    def finish(self, round: int) -> None:
        """The inner guard's."""
        self._guard.finish(round)

    def _check(self, survivors: Collection[str]) -> None:
        if len(survivors) < self._least:
            found = f"{len(survivors)} survivors hold too little noise to be opened"
            raise PeerError(f"{found}; this run needs the noise of {self._least} sites in every sum")
