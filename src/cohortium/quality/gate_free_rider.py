"""Free-riders: updates that hold nothing learned, an earlier round's update, or another site's.

Honest first updates point into few common directions, a made-up one does not. Each update is brought to length 1, and
its energy inside the k = 20 leading directions of all others is measured. A random vector of d values has k/d there on
average, with a standard deviation of sqrt(2 k)/d; honest ones had .090 at least in a prototype. The alarm stands at
.03, or 4 deviations above a random vector where that is more; models below 500 values are not looked at. Replayed and
shared updates pass that test; they are found by equal commit digests and by a cosine above .999 between two sites.
Needs single updates.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import numpy as np
from numpy.typing import NDArray

from cohortium.core.check import Check, Level

__all__ = ["alarm", "check_free_riders", "energy_shares", "replayed", "shared"]

Floats = NDArray[np.float64]

_ALARM = 0.03
_DEVIATIONS = 4.0
_DIRECTIONS = 20
_LEAST_SITES = 10
_LEAST_VALUES = 500
_SAME = 0.999


def alarm(n_values: int, *, n_others: int) -> float:
    """The share below which an update of so many values is taken for made up, compared with so many others."""
    k = min(_DIRECTIONS, n_others - 1)
    return max(_ALARM, (k + _DEVIATIONS * float(np.sqrt(2 * k))) / n_values)


def energy_shares(updates: Floats, *, n_directions: int = _DIRECTIONS) -> Floats:
    """For each update (N, d) the share of its energy inside the leading directions of the others, 0 to 1.

    As many directions as there are, where the others are fewer. Updates of no length get 0.
    """
    units = _units(updates)
    shares = np.zeros(len(units))
    for at in range(len(units)):
        rest = np.delete(units, at, axis=0)
        basis = np.linalg.svd(rest, full_matrices=False)[2][: min(n_directions, len(rest) - 1)]
        inside = basis @ units[at]
        shares[at] = float(inside @ inside)
    return shares


def shared(updates: Floats) -> NDArray[np.int64]:
    """Pairs (m, 2) of updates with a cosine above .999."""
    units = _units(updates)
    return np.argwhere(np.triu(units @ units.T, k=1) > _SAME).astype(np.int64)


def replayed(digests: Sequence[Mapping[str, bytes]]) -> dict[str, tuple[int, int]]:
    """Sites that committed the very same update in two rounds: site -> (first round, repeated round), from 0."""
    seen: dict[bytes, int] = {}
    found: dict[str, tuple[int, int]] = {}
    for number, commits in enumerate(digests):
        fresh = {}
        for site in sorted(commits):
            if commits[site] in seen:
                found.setdefault(site, (seen[commits[site]], number))
            fresh[commits[site]] = number
        seen = fresh | seen
    return found


def check_free_riders(
    updates: Mapping[str, Floats], *, digests: Sequence[Mapping[str, bytes]] = ()
) -> dict[str, Check]:
    """A check for each site; fewer than ten sites, or 500 values, have no common directions to speak of."""
    names = sorted(updates)
    table = np.stack([np.asarray(updates[name], dtype=np.float64).reshape(-1) for name in names])
    judged = len(names) >= _LEAST_SITES and table.shape[1] >= _LEAST_VALUES
    shares = energy_shares(table) if judged else np.ones(len(names))
    least = alarm(table.shape[1], n_others=len(names) - 1) if judged else 0.0
    twins = {names[at] for at in shared(table).ravel().tolist()}
    again = replayed(digests)
    found = {}
    for name, share in zip(names, shares, strict=True):
        said = []
        if share < least:
            said.append("its update has nothing in common with the others'")
        if name in twins:
            said.append("its update is another site's")
        if name in again:
            said.append("its update is that of an earlier round")
        level: Level = "warn" if said else "ok"
        fix = "ask the site what it trained on" if said else ""
        found[name] = Check(
            id="free-rider", level=level, found="; ".join(said) or "its update was learned from data", fix=fix
        )
    return found


def _units(updates: Floats) -> Floats:
    length = np.sqrt((updates * updates).sum(axis=1, keepdims=True))
    units: Floats = np.divide(updates, length, out=np.zeros_like(updates), where=length > 0)
    return units
