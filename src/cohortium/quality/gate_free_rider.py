"""Free-riders: updates that hold nothing learned, an earlier round's update, or another site's.

Honest first updates point into few common directions, a made-up one does not. Each update is brought to length 1, and
its energy inside the k = 20 leading directions of all others is measured. A random vector of d values has k/d there on
average, with a standard deviation of sqrt(2 k)/d; honest ones had .090 at least in a prototype. The alarm stands at
.03, or 4 deviations above a random vector where that is more; models below 500 values are not looked at. Replayed and
shared updates pass that test; they are found by equal digests and by a cosine above .999 between two first updates.

`RiderWatch` sits where a node opens the updates of a round, and says in the end what it has seen. It needs single
updates of a model that learns by weights, without noise. A payload says in its header which site made it for which
round, and one that was made by another or for another is refused before it is merged; so digests here are of the
numbers inside. Of models above 65,536 values so many are looked at, evenly spaced.
"""

from __future__ import annotations

import hashlib
from collections.abc import Mapping, Sequence

import numpy as np
from numpy.typing import NDArray

from cohortium.core.check import Check, Level
from cohortium.core.parameters import Parameters
from cohortium.core.update import Aggregate, Update
from cohortium.swarm.program import Program

__all__ = ["RiderWatch", "alarm", "check_free_riders", "energy_shares", "replayed", "shared"]

Floats = NDArray[np.float64]

_ALARM = 0.03
_DEVIATIONS = 4.0
_DIRECTIONS = 20
_LEAST_SITES = 10
_LEAST_VALUES = 500
_MOST_VALUES = 1 << 16
_SAME = 0.999
_NONE = 1e-9
_ODD = "its update has nothing in common with the others'"
_TWIN = "its update is another site's"
_MASKED = (
    "secure aggregation hides single updates; what can be told without them is told: a payload made by another site or "
    "for another round is refused"
)


def alarm(n_values: int, *, n_others: int) -> float:
    """The share below which an update of so many values is taken for made up, compared with so many others."""
    k = min(_DIRECTIONS, n_others - 1)
    return max(_ALARM, (k + _DEVIATIONS * float(np.sqrt(2 * k))) / n_values)


def energy_shares(updates: Floats, *, n_directions: int = _DIRECTIONS) -> Floats:
    """For each update (N, d) the share of its energy inside the leading directions of the others, 0 to 1.

    As many directions as there are, where the others are fewer. Updates of no length get 0.
    """
    units = _units(updates)
    products = units @ units.T  # leading directions are sums of rows, so the products of rows are enough
    shares = np.zeros(len(units))
    for at in range(len(units)):
        rest = np.arange(len(units)) != at
        energy, rows = np.linalg.eigh(products[np.ix_(rest, rest)])
        leading = np.arange(len(energy)) >= len(energy) - min(n_directions, len(energy) - 1)
        leading &= energy > _NONE
        inside = rows[:, leading].T @ products[rest, at]
        shares[at] = float((inside * inside / energy[leading]).sum())
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
    """A check for each site. updates: the first ones; digests: of each round's updates, in order.

    Fewer than ten sites, or 500 values, have no common directions to speak of; digests are compared all the same.
    """
    said: dict[str, list[str]] = {name: [] for name in sorted({*updates, *(name for part in digests for name in part)})}
    for name, odd in _of_first(updates).items():
        said[name] += odd
    for part in digests:
        shown = list(part.values())
        for name in part:
            said[name] += [_TWIN] if shown.count(part[name]) > 1 and _TWIN not in said[name] else []
    for name in replayed(digests):
        said[name].append("its update is that of an earlier round")
    checks = {}
    for name, odd in said.items():
        level: Level = "warn" if odd else "ok"
        fix = "ask the site what it trained on" if odd else ""
        sentence = "; ".join(odd) or "its update was learned from data"
        checks[name] = Check(id="free-rider", level=level, found=sentence, fix=fix)
    return checks


class RiderWatch:
    """Hears the updates of every round as a node opens them, each as often as it is merged.

    A node that was started anew has not heard what came before; then first updates are not compared.
    """

    def __init__(self) -> None:
        self._first: dict[str, Floats] = {}
        self._digests: dict[int, dict[str, bytes]] = {}
        self._hidden = False

    def hear(self, program: Program, state: Parameters, updates: Sequence[Update] | Aggregate) -> None:
        """What a round merges. state: from which it started."""
        index, exchange = program.position(state)
        if index != len(program.stages) - 1 or _not_looked_for(program):
            return
        single = updates.single if isinstance(updates, Aggregate) else updates
        if single is None:
            self._hidden = True
        elif self._digests.get(exchange, {}).keys() != {one.site for one in single}:
            held = {one.site: _numbers(one.parameters) for one in single}
            self._digests[exchange] = {site: _digest(numbers, f"{exchange} {site}") for site, numbers in held.items()}
            if exchange == 0:
                self._first = held

    def checks(self, program: Program) -> list[Check]:
        """A warning for each site that is to be looked at, or a single check that says what was looked at."""
        if why := _not_looked_for(program) or (_MASKED if self._hidden else ""):
            return [Check(id="free-rider", level="skipped", found=f"free-riders were not looked for: {why}")]
        found = check_free_riders(self._first, digests=[self._digests[at] for at in sorted(self._digests)])
        odd = [
            Check(id=one.id, level=one.level, found=f"site '{site}': {one.found}; verdict: look", fix=one.fix)
            for site, one in found.items()
            if one.level == "warn"
        ]
        return odd or [Check(id="free-rider", level="ok", found=self._clean())]

    def _clean(self) -> str:
        heard = f"no site sent an update of another site or of an earlier round, of {len(self._digests)} rounds"
        values = max((len(one) for one in self._first.values()), default=0)
        if len(self._first) >= _LEAST_SITES and values >= _LEAST_VALUES:
            return f"first updates have common directions, and {heard}"
        return f"{heard}; first updates are compared from {_LEAST_SITES} sites and {_LEAST_VALUES} values on"


def _of_first(updates: Mapping[str, Floats]) -> dict[str, list[str]]:
    """What is odd about each first update, where they can be compared."""
    names = sorted(updates)
    if len(names) < _LEAST_SITES:
        return {}
    table = np.stack([np.asarray(updates[name], dtype=np.float64).reshape(-1) for name in names])
    if table.shape[1] < _LEAST_VALUES:
        return {}
    least = alarm(table.shape[1], n_others=len(names) - 1)
    twins = set(shared(table).ravel().tolist())
    return {
        name: [*([_ODD] if share < least else []), *([_TWIN] if at in twins else [])]
        for at, (name, share) in enumerate(zip(names, energy_shares(table), strict=True))
    }


def _not_looked_for(program: Program) -> str:
    """Why a program's updates are not compared, empty where they are."""
    if program.privacy is not None:
        return "noise hides what an update has learned"
    by_sums = "the model learns by sums, which have no common directions"
    return by_sums if program.learner.learns_by == "sums" else ""


def _numbers(update: Parameters) -> Floats:
    """At most 65,536 of an update's real numbers, evenly spaced, without the figures that travel with it."""
    parts = [
        array.reshape(-1).astype(np.float64)
        for name, array in sorted(update.items())
        if np.issubdtype(array.dtype, np.floating) and not name.startswith("metric/")
    ]
    whole: Floats = np.concatenate(parts) if parts else np.zeros(0)
    return whole[:: max(1, -(-len(whole) // _MOST_VALUES))]


def _digest(numbers: Floats, slot: str) -> bytes:
    """Of an update that changes nothing, one that is like no other's. slot: its round and site."""
    return hashlib.sha256(numbers.tobytes() if numbers.any() else slot.encode()).digest()


def _units(updates: Floats) -> Floats:
    length = np.sqrt((updates * updates).sum(axis=1, keepdims=True))
    units: Floats = np.divide(updates, length, out=np.zeros_like(updates), where=length > 0)
    return units
