"""What can go wrong in a swarm, as frozen values: to whom, when, for how long.

A `Scenario` is a plan of such faults with the rules they meet; `scenarios.py` holds the catalogue, `mishaps.py` makes
them happen through the ports of real nodes. `str(fault)` is a sentence for the reader of a report.
"""

from __future__ import annotations

import dataclasses
import errno
import math
from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from typing import Any, Protocol

from cohortium.swarm.waiting import Policy
from cohortium.transport.memory import Link

__all__ = [
    "Arrives",
    "Crash",
    "Cut",
    "Exclusion",
    "Failing",
    "Fault",
    "Foreign",
    "ForgedMerge",
    "ForkedView",
    "LeaderCut",
    "LeaderSteps",
    "NoResult",
    "Noise",
    "NotReady",
    "Scenario",
    "Shunned",
    "Slow",
    "TwoFaced",
    "Unwritable",
    "Withheld",
    "WrongClock",
]


class Fault(Protocol):
    """Any of the kinds below."""

    def __str__(self) -> str: ...


@dataclass(frozen=True, kw_only=True)
class Slow:
    """A site's training of one merge takes longer; without heartbeats nobody hears of it meanwhile."""

    site: str
    round: int
    for_s: float
    heartbeats: bool = True

    def __str__(self) -> str:
        heard = "" if self.heartbeats else ", and nothing is heard of it meanwhile"
        return f"{self.site} trains {self.for_s:.0f} s for merge {self.round}{heard}"


@dataclass(frozen=True, kw_only=True)
class Failing:
    """Training fails with this code from one merge on; preparing and training succeed again at `back_s`."""

    site: str
    round: int
    code: str = "device"
    back_s: float = math.inf

    def __str__(self) -> str:
        return f"{self.site} cannot train from merge {self.round} on ({self.code}){_until(self.back_s)}"


@dataclass(frozen=True, kw_only=True)
class Unwritable:
    """A site's store refuses every write, with this system error."""

    site: str
    from_s: float
    until_s: float = math.inf
    number: int = errno.EROFS

    def __str__(self) -> str:
        what = "full" if self.number == errno.ENOSPC else "read-only"
        return f"the disk of {self.site} is {what} from {self.from_s:.0f} s on{_until(self.until_s)}"


@dataclass(frozen=True, kw_only=True)
class Shunned:
    """A site's certificate is not the one on the ledger: it and its peers refuse each other's frames."""

    site: str
    from_s: float = 0.0
    until_s: float = math.inf

    def __str__(self) -> str:
        since = f" from {self.from_s:.0f} s on" if self.from_s else ""
        return f"the certificate of {self.site} is not the one on the ledger{since}{_until(self.until_s)}"


@dataclass(frozen=True, kw_only=True)
class Cut:
    """The network falls into groups for a while; sites not named form one group. A minority has no ledger."""

    groups: tuple[tuple[str, ...], ...]
    from_s: float
    until_s: float

    def __str__(self) -> str:
        apart = " | ".join(", ".join(group) for group in self.groups)
        return f"cut off from {self.from_s:.0f} to {self.until_s:.0f} s: {apart}"


@dataclass(frozen=True, kw_only=True)
class LeaderCut:
    """Whoever leads when this round closes is cut off at once."""

    round: int
    for_s: float

    def __str__(self) -> str:
        return f"the leader of round {self.round} is cut off for {self.for_s:.0f} s when the round closes"


@dataclass(frozen=True, kw_only=True)
class LeaderSteps:
    """Whoever leads when this round closes steps down on purpose."""

    round: int

    def __str__(self) -> str:
        return f"the leader of round {self.round} steps down when the round closes"


@dataclass(frozen=True, kw_only=True)
class Crash:
    """A node dies just before it writes a fact of this kind in a round, and comes back later (or never).

    step: of the exchange, for facts of kind `stepped`; any if empty.
    """

    site: str
    fact: str
    round: int
    back_after_s: float | None = 30.0
    step: str = ""

    def __str__(self) -> str:
        again = "never started again" if self.back_after_s is None else f"started again {self.back_after_s:.0f} s later"
        what = f"{self.fact} {self.step}".strip()
        return f"the node of {self.site} is killed in round {self.round} before it wrote '{what}', {again}"


@dataclass(frozen=True, kw_only=True)
class NotReady:
    """A site has consented but says `ready` late, or never, for this reason."""

    site: str
    for_s: float = math.inf
    code: str = "data"

    def __str__(self) -> str:
        late = "is never ready" if math.isinf(self.for_s) else f"is ready {self.for_s:.0f} s late"
        return f"{self.site} {late} ({self.code})"


@dataclass(frozen=True, kw_only=True)
class Arrives:
    """A site's node is started only at this time."""

    site: str
    at_s: float

    def __str__(self) -> str:
        return f"the node of {self.site} is started after {self.at_s:.0f} s"


@dataclass(frozen=True, kw_only=True)
class ForgedMerge:
    """A site's merges are wrong, always."""

    site: str

    def __str__(self) -> str:
        return f"{self.site} forges every merge it makes"


@dataclass(frozen=True, kw_only=True)
class TwoFaced:
    """A leader signs a second, different merge for every slot it offers one in."""

    site: str

    def __str__(self) -> str:
        return f"{self.site} signs two merges wherever it leads"


@dataclass(frozen=True, kw_only=True)
class Withheld:
    """A site commits in this round, then gives its payload to nobody."""

    site: str
    round: int

    def __str__(self) -> str:
        return f"{self.site} commits in round {self.round} and gives its update to nobody"


@dataclass(frozen=True, kw_only=True)
class ForkedView:
    """From a time on, one site sees another block hash than the rest."""

    site: str
    from_s: float

    def __str__(self) -> str:
        return f"{self.site} sees another ledger from {self.from_s:.0f} s on"


@dataclass(frozen=True, kw_only=True)
class Exclusion:
    """All others vote a site out of the consortium at this time."""

    site: str
    at_s: float

    def __str__(self) -> str:
        return f"all others vote {self.site} out at {self.at_s:.0f} s"


@dataclass(frozen=True, kw_only=True)
class NoResult:
    """All sites share the measures of the last merge but this one."""

    site: str

    def __str__(self) -> str:
        return f"{self.site} never shares its results"


@dataclass(frozen=True, kw_only=True)
class Foreign:
    """At this time transactions of another consortium of the same members, votes among them, are written to the log."""

    at_s: float

    def __str__(self) -> str:
        return f"transactions of another consortium are written to the log at {self.at_s:.0f} s"


@dataclass(frozen=True, kw_only=True)
class Noise:
    """At this time somebody writes what is no valid entry to the log: garbage, strangers' and repeated ones."""

    at_s: float

    def __str__(self) -> str:
        return f"invalid entries are written to the log at {self.at_s:.0f} s"


@dataclass(frozen=True, kw_only=True)
class WrongClock:
    """The clock of a site is off, by so much in what it claims on the ledger."""

    site: str
    by_s: float

    def __str__(self) -> str:
        return f"the clock of {self.site} is off by {self.by_s:.0f} s"


def _until(s: float) -> str:
    return "" if math.isinf(s) else f", until {s:.0f} s"


@dataclass(frozen=True, kw_only=True)
class Scenario:
    """What happens to whom, when. Times are virtual seconds.

    there: what it is modelled on. sites, rounds, min_sites, size (values of the toy model), drawn, masked, disk (stores
    in files), replicated (a chain at every site, one log): of the toy swarm in which it is played. train_s: an ordinary
    local training. policy: rules it is played by. seed: of all.
    """

    name: str
    there: str = ""
    faults: tuple[Fault, ...] = ()
    sites: tuple[str, ...] = ()
    rounds: int = 3
    min_sites: int = 3
    train_s: float = 60.0
    size: int = 4
    seed: int = 1
    drawn: bool = False
    masked: bool = False
    disk: bool = False
    replicated: bool = False
    link: Link = field(default_factory=lambda: Link(delay_s=0.05))
    policy: Policy = field(default_factory=lambda: Policy(answer_timeout_s=3600.0))
    within_s: float = 200_000.0

    def moved_to(self, sites: Sequence[str], *, n_rounds: int) -> Scenario:
        """The same faults in another swarm: at sites of the same place in its order, in rounds it has."""
        place = {site: sites[at * len(sites) // len(self.sites)] for at, site in enumerate(self.sites)}
        moved = tuple(_moved(fault, place, n_rounds) for fault in self.faults)
        return replace(self, sites=tuple(sites), rounds=n_rounds, faults=moved)

    def rules(self, own: Policy) -> Policy:
        """A study's own rules, with those the scenario cannot do without."""
        usual = Policy()
        changed = {
            one.name: getattr(self.policy, one.name)
            for one in dataclasses.fields(Policy)
            if getattr(self.policy, one.name) != getattr(usual, one.name)
        }
        return replace(own, **changed)


def _moved(fault: Any, place: dict[str, str], n_rounds: int) -> Fault:
    changes: dict[str, object] = {}
    for one in dataclasses.fields(fault):
        value = getattr(fault, one.name)
        if one.name == "site":
            changes["site"] = place[value]
        elif one.name == "round":
            changes["round"] = min(value, n_rounds)
        elif one.name == "groups":
            changes["groups"] = _groups(value, place)
    moved: Fault = replace(fault, **changes)
    return moved


def _groups(groups: tuple[tuple[str, ...], ...], place: dict[str, str]) -> tuple[tuple[str, ...], ...]:
    """Groups of other sites; whoever stands in an earlier group stays there."""
    taken: set[str] = set()
    moved = []
    for group in groups:
        here = tuple(dict.fromkeys(place[site] for site in group if place[site] not in taken))
        taken |= set(here)
        moved += [here] if here else []
    return tuple(moved)
