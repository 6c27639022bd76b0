"""Whether a site can afford what a run asks: admission as pure rules over events.

    admit(spent, reserved, planned, caps, of_run=..., compose=epsilon) -> Admitted | Refused

Guarantee: what is admitted keeps, for every patient of the data version, the composed epsilon of everything that was
ever spent or reserved on versions that may hold the same patient within the site's cap, whatever the study, the leader
or the number of runs. Epsilons are never added: events are composed, by the accountant handed in.

A new data version inherits the spending of every other one, unless the site's own keyed patient hashes prove that the
two have no patient in common. Only a person at the site changes a cap. Design: privacy.md section 7.
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import Literal, Protocol

from cohortium.core.spending import DataVersion, Entry, MechanismEvent, merged

__all__ = [
    "WEAK_EPSILON",
    "Admitted",
    "Caps",
    "Compose",
    "Refused",
    "admit",
    "cap_delta",
    "claimed",
    "deltas",
    "inherited",
]

WEAK_EPSILON = 8.0
"""Above it a run needs `accept_weak_privacy`: a fair coin's posterior can move to 99.97 %."""

Events = tuple[MechanismEvent, ...]


class Compose(Protocol):
    """The accountant: epsilon of all events together, at a delta; never below the truth."""

    def __call__(self, events: Iterable[MechanismEvent], *, delta: float) -> float: ...


@dataclass(frozen=True, kw_only=True)
class Caps:
    """What a site allows. total: epsilon over all studies on the same patients. run: of one run. study: what the study
    itself promises to stay within. when_short: decline a run that cannot be paid for whole, or take part and stop.

    delta: of the run and of what is recorded. patient_delta: of `total`, where the run's own is too large for patients.
    """

    total: float = 10.0
    run: float = 3.0
    study: float = math.inf
    delta: float = 1e-5
    patient_delta: float | None = None
    accept_weak_privacy: bool = False
    when_short: Literal["decline", "stop"] = "decline"

    def __post_init__(self) -> None:
        for name in ("total", "run", "study"):
            if not getattr(self, name) > 0:
                raise ValueError(f"cap '{name}' must be positive, got {getattr(self, name)}")
        if not 0 < self.delta < 1:
            raise ValueError(f"delta must lie between 0 and 1, got {self.delta}")

    @property
    def strict_delta(self) -> float:
        """Of everything that these patients ever pay."""
        return self.delta if self.patient_delta is None else min(self.delta, self.patient_delta)

    @property
    def of_one_run(self) -> float:
        """The strictest of what site and study allow a run."""
        return min(self.run, self.study, math.inf if self.accept_weak_privacy else WEAK_EPSILON)


@dataclass(frozen=True)
class Admitted:
    """What run and patients would have cost together, once the planned events have happened."""

    run: float
    total: float


@dataclass(frozen=True)
class Refused:
    """Why not, in one sentence."""

    sentence: str


def admit(
    spent: Sequence[MechanismEvent],
    reserved: Sequence[MechanismEvent],
    planned: Sequence[MechanismEvent],
    caps: Caps,
    *,
    compose: Compose,
    of_run: Sequence[MechanismEvent] = (),
) -> Admitted | Refused:
    """Whether `planned` fits beside all that is spent and reserved.

    spent, reserved: by any run on this data version and all it may share patients with, the asking run included.
    of_run: the asking run's own part of these.
    """
    run = compose((*of_run, *planned), delta=caps.delta)
    if run > caps.of_one_run:
        return Refused(f"the run would cost epsilon {_up(run)} at delta {caps.delta:g}, {_why(caps)}")
    delta = caps.strict_delta
    total = compose((*spent, *reserved, *planned), delta=delta)
    if total > caps.total:
        before = compose((*spent, *reserved), delta=delta)
        return Refused(
            f"these patients would have cost epsilon {_up(total)} at delta {delta:g} over all studies"
            f" (spent and reserved so far: {_up(before)}), budget.max_epsilon_total is {caps.total:g}"
        )
    return Admitted(run=run, total=total)


def _why(caps: Caps) -> str:
    if caps.of_one_run == caps.run:
        return f"consent.max_epsilon_per_run is {caps.run:g}"
    if caps.of_one_run == caps.study:
        return f"the study stays within {caps.study:g}"
    return f"above {WEAK_EPSILON:g} only with budget.accept_weak_privacy = true"


def _up(epsilon: float) -> str:
    """Two digits after the point, rounded up, so that a refusal never reads like an admission."""
    return f"{math.ceil(round(epsilon * 100, 6)) / 100:.2f}" if math.isfinite(epsilon) else "without bound"


def cap_delta(n_patients: int, study_delta: float = 1e-5) -> float:
    """The delta of a site's caps: at most 1e-5, the study's, and a tenth of one in its number of patients.

    The last is rounded down to a power of ten, because delta stands on the ledger and the number is the site's own.
    """
    tenths = math.ceil(math.log10(10 * max(n_patients, 1)) - 1e-12)
    return min(1e-5, study_delta, float(f"1e-{tenths}") if tenths > 5 else 1e-5)


def deltas(n_patients: int, *, unit: str, study_delta: float) -> tuple[float, float]:
    """Delta of a run's own promise, and of all that its patients ever pay.

    A promise to hide a site (`unit = "site"`) keeps the study's delta, which may be too large for a patient.
    """
    strict = cap_delta(n_patients, study_delta)
    return (study_delta if unit == "site" else strict), strict


def inherited(versions: Iterable[DataVersion], version: DataVersion) -> frozenset[str]:
    """Handles of all data versions whose spending counts for this one: itself, and whatever may share a patient."""
    return frozenset(
        other.handle for other in versions if other.handle == version.handle or version.may_share_patients(other)
    ) | {version.handle}


def claimed(entries: Iterable[Entry], handles: frozenset[str], *, state: Literal["spent", "reserved"]) -> Events:
    """Everything that runs have spent, or still have reserved, on these data versions.

    A run that reserved its whole plan claims, of each mechanism, the plan or what its rounds came to, if that is more.
    """
    plans: dict[tuple[str, str], Events] = {}
    spent: dict[tuple[str, str], list[MechanismEvent]] = {}
    open_: dict[tuple[str, str], list[MechanismEvent]] = {}
    for entry in entries:
        if entry.dataset not in handles or entry.state == "returned":
            continue
        key = entry.dataset, entry.run
        if entry.round == 0:
            plans[key] = entry.events
        else:
            (spent if entry.state == "spent" else open_).setdefault(key, []).extend(entry.events)
    if state == "spent":
        return merged(event for events in spent.values() for event in events)
    found: list[MechanismEvent] = []
    for key in plans.keys() | open_.keys():
        found += _outstanding(plans.get(key, ()), spent.get(key, ()), open_.get(key, ()))
    return merged(found)


def _outstanding(plan: Events, spent: Sequence[MechanismEvent], reserved: Sequence[MechanismEvent]) -> Events:
    """What a run may still cost: of each mechanism, its plan less what was spent, or its open rounds if more."""
    least = {one.once(): one.count for one in merged(reserved)}
    gone = {one.once(): one.count for one in merged(spent)}
    for event in merged(plan):
        one = event.once()
        least[one] = max(least.get(one, 0), event.count - gone.get(one, 0))
    return tuple(one.times(count) for one, count in least.items() if count > 0)
