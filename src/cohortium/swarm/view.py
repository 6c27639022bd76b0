"""One run as the ledger tells it: a fold of the contract's events, in order, and nothing else.

`RunView.apply` knows the name and arguments of every event that concerns a run and is the only place that
does; the machine reads the fields. Sets of joiners are bitmaps over the order of approval on the ledger and
site names here. Two views fed the same events are equal, so every node concludes the same (`ending.py`).
Events of other runs and events this version does not know are skipped.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, field
from enum import IntEnum
from typing import Any

from cohortium.core.seams import LedgerEvent
from cohortium.swarm.membership import Members
from cohortium.swarm.reasons import word_of

__all__ = [
    "Commit",
    "Departure",
    "FinalMerge",
    "Phase",
    "Published",
    "RoundView",
    "RunState",
    "RunView",
    "seed_of",
    "stage_of",
]

EXCLUDED = 2
DRAWN = 1
MASKED = 2


class RunState(IntEnum):
    """States of a run on the ledger; NONE before it was proposed."""

    NONE = 0
    APPROVING = 1
    READYING = 2
    RUNNING = 3
    FINISHED = 4
    FAILED = 5


class Phase(IntEnum):
    """Phases of a round on the ledger."""

    COLLECT = 1
    EXCHANGE = 2
    ATTEST = 3
    FINAL = 4


@dataclass(frozen=True, slots=True)
class Commit:
    """What a site promised for a round: digest of its payload, weight, privacy budget spent so far."""

    digest: bytes
    weight: int
    spent_micro: int = 0


@dataclass(frozen=True, slots=True)
class Published:
    """A merge as its leader published it. contributors: sorted."""

    term: int
    digest: bytes
    inputs_root: bytes
    contributors: tuple[str, ...]
    votes_needed: int


@dataclass(frozen=True, slots=True)
class FinalMerge:
    """A merge that enough contributors have recomputed."""

    round: int
    digest: bytes
    contributors: tuple[str, ...]
    leader: str


@dataclass(frozen=True, slots=True)
class Departure:
    """A site that left the run: in which round (0 before the first), at which stage, why."""

    site: str
    round: int
    stage: str
    reason: str


@dataclass(slots=True)
class RoundView:
    """The round that is running. frozen: sorted. n_joiners: of the run when the set was frozen.

    agreed: by attempt and step number.
    """

    number: int
    leader: str
    phase: Phase = Phase.COLLECT
    term: int = 0
    attempt: int = 0
    commits: dict[str, Commit] = field(default_factory=dict)
    frozen: tuple[str, ...] = ()
    threshold: int = 0
    n_joiners: int = 0
    posts: dict[tuple[int, int], dict[str, bytes]] = field(default_factory=dict)
    agreed: dict[tuple[int, int], bytes] = field(default_factory=dict)
    published: Published | None = None
    judged: set[str] = field(default_factory=set)


@dataclass(slots=True)
class RunView:
    """One run. joiners: in order of approval. live: who takes part now. finals: in order of rounds. seed: what the

    nonces of all that were ready came to; empty before the start.

    first_round: of a late joiner, the round from which on it is expected to contribute. missing: by site, rounds
    that closed without it. departures: in order; the first is the first cause should the run fail.
    """

    run: int
    members: Members
    state: RunState = RunState.NONE
    spec: bytes = b""
    seed: bytes = b""
    min_sites: int = 0
    n_rounds: int = 0
    flags: int = 0
    answered: set[str] = field(default_factory=set)
    declined: list[str] = field(default_factory=list)
    joiners: list[str] = field(default_factory=list)
    ready: set[str] = field(default_factory=set)
    live: set[str] = field(default_factory=set)
    pending: set[str] = field(default_factory=set)
    round: RoundView | None = None
    finals: list[FinalMerge] = field(default_factory=list)
    first_round: dict[str, int] = field(default_factory=dict)
    missing: dict[str, list[int]] = field(default_factory=dict)
    departures: list[Departure] = field(default_factory=list)
    voids: list[tuple[int, str]] = field(default_factory=list)
    end_reason: str = ""
    changes: int = 0

    @property
    def drawn(self) -> bool:
        """Whether only the next few sites after the leader recompute."""
        return bool(self.flags & DRAWN)

    @property
    def ended(self) -> bool:
        """Whether the ledger has closed the run."""
        return self.state >= RunState.FINISHED

    @property
    def newest(self) -> FinalMerge | None:
        """The newest final merge."""
        return self.finals[-1] if self.finals else None

    @property
    def least(self) -> int:
        """Fewest sites a round can close and a merge be published with."""
        if self.flags & MASKED:
            return max(self.min_sites, 3, len(self.joiners) // 3 + 2)
        return self.min_sites

    def takes_part(self, site: str) -> bool:
        """Whether the site is given what the run shares: it approved, is a member, and has not gone by its own will.

        Who was dropped for trouble still is; who left is again once its return is on the ledger.
        """
        if site not in self.joiners or not self.members.is_active(site):
            return False
        last = next((gone.reason for gone in reversed(self.departures) if gone.site == site), "")
        return last not in _BY_WILL or site in self.live | self.pending

    def names(self, bitmap: int) -> tuple[str, ...]:
        """The joiners in a bitmap, sorted."""
        return tuple(sorted([site for i, site in enumerate(self.joiners) if bitmap >> i & 1]))

    def bitmap(self, sites: set[str] | tuple[str, ...]) -> int:
        """Joiners as a bitmap over the order of approval."""
        return sum(1 << i for i, site in enumerate(self.joiners) if site in sites)

    def apply(self, event: LedgerEvent) -> bool:
        """Fold one event; whether it concerned this run or its members."""
        handler = _HANDLERS.get(event.name)
        if handler is None:
            return False
        if event.name != "MemberChanged" and event.args["run"] != self.run:
            return False
        handler(self, event.args)
        if event.name not in _SMALL:
            self.changes += 1
        return True

    def current(self, args: Mapping[str, Any]) -> RoundView | None:
        """The running round if the event speaks of it."""
        return self.round if self.round is not None and self.round.number == args["round"] else None


Args = Mapping[str, Any]


def _member_changed(view: RunView, args: Args) -> None:
    if args["status"] == 1:
        view.members.admit(args["site"], args["account"])
    else:
        view.members.remove(args["site"], excluded=args["status"] == EXCLUDED)


def _proposed(view: RunView, args: Args) -> None:
    view.state = RunState.APPROVING
    view.spec = args["spec"]
    view.min_sites = args["min_sites"]
    view.n_rounds = args["n_rounds"]
    view.flags = args["flags"]


def _enter(view: RunView, site: str) -> None:
    if site not in view.joiners:
        view.joiners.append(site)


def _approved(view: RunView, args: Args) -> None:
    _enter(view, args["site"])
    view.answered.add(args["site"])
    view.live.add(args["site"])


def _declined(view: RunView, args: Args) -> None:
    view.answered.add(args["site"])
    view.declined.append(args["site"])


def _readying(view: RunView, args: Args) -> None:
    view.state = RunState.READYING
    view.live = set(view.names(args["live"]))


def _ready(view: RunView, args: Args) -> None:
    view.ready.add(args["site"])


def _started(view: RunView, args: Args) -> None:
    view.state = RunState.RUNNING
    view.seed = bytes(args["seed"])
    view.live = set(view.names(args["live"]))
    for site in view.names(args["missing"]):
        view.departures.append(Departure(site, 0, "ready", "late"))


def _round_opened(view: RunView, args: Args) -> None:
    view.live = set(view.names(args["live"]))
    view.pending = set()
    view.round = RoundView(number=args["round"], leader=args["leader"])


def _committed(view: RunView, args: Args) -> None:
    if round := view.current(args):
        round.commits[args["site"]] = Commit(args["digest"], args["weight"], args["eps_micro"])


def _closed(view: RunView, args: Args) -> None:
    for site in view.names(args["missing"]):
        view.missing.setdefault(site, []).append(args["round"])
    if round := view.current(args):
        round.phase = Phase.EXCHANGE
        _freeze(view, round, args)


def _freeze(view: RunView, round: RoundView, args: Args) -> None:
    round.attempt = args["attempt"]
    round.frozen = view.names(args["frozen"])
    round.leader = args["leader"]
    round.threshold = args["threshold"]
    round.n_joiners = len(view.joiners)
    round.published = None
    round.judged = set()


def _failover(view: RunView, args: Args) -> None:
    if round := view.current(args):
        round.phase = Phase.EXCHANGE
        round.term = args["term"]
        _freeze(view, round, args)


def _gone(view: RunView, args: Args, reason: str) -> None:
    site = args["site"]
    view.live.discard(site)
    view.pending.discard(site)
    view.departures.append(Departure(site, args["round"], stage_of(view, site), reason))


def seed_of(events: Iterable[LedgerEvent], run: int) -> bytes:
    """What the nonces of the run's sites came to, 32 bytes; empty where it has not started."""
    started = (one for one in events if one.name == "Started" and one.args["run"] == run)
    return next((bytes(one.args["seed"]) for one in started), b"")  # type: ignore[call-overload]


def stage_of(view: RunView, site: str) -> str:
    """Where in the run a site stands now, in the words of `messages.Stage`."""
    if view.state is not RunState.RUNNING or view.round is None:
        return "approve" if view.state is RunState.APPROVING else "ready"
    if view.round.phase is Phase.COLLECT:
        return "exchange" if site in view.round.commits else "train"
    return "exchange" if view.round.phase is Phase.EXCHANGE else "attest"


def _dropped(view: RunView, args: Args) -> None:
    _gone(view, args, word_of(args["reason"]))


def _swept(view: RunView, args: Args) -> None:
    _gone(view, args, "excluded" if args["site"] in view.members.excluded else "left")


def _joined(view: RunView, args: Args) -> None:
    if args["site"] not in view.joiners:
        view.first_round[args["site"]] = args["round"]
    _enter(view, args["site"])
    if view.round is not None and args["round"] == view.round.number:
        view.live.add(args["site"])
    else:
        view.pending.add(args["site"])


def _posted(view: RunView, args: Args) -> None:
    if round := view.current(args):
        round.posts.setdefault((args["attempt"], args["step"]), {})[args["site"]] = args["digest"]


def _agreed(view: RunView, args: Args) -> None:
    if round := view.current(args):
        round.agreed[args["attempt"], args["step"]] = args["digest"]


def _published(view: RunView, args: Args) -> None:
    if round := view.current(args):
        round.phase = Phase.ATTEST
        contributors = view.names(args["contributors"])
        round.published = Published(args["term"], args["digest"], args["inputs_root"], contributors, args["k"])
        round.judged = set()


def _judged(view: RunView, args: Args) -> None:
    if round := view.current(args):
        round.judged.add(args["site"])


def _final(view: RunView, args: Args) -> None:
    leader = view.round.leader if view.round is not None else ""
    view.finals.append(FinalMerge(args["round"], args["digest"], view.names(args["contributors"]), leader))
    if round := view.current(args):
        round.phase = Phase.FINAL


def _void(view: RunView, args: Args) -> None:
    view.voids.append((args["round"], word_of(args["reason"])))


def _ended(view: RunView, args: Args) -> None:
    view.state = RunState.FINISHED if args["state"] == RunState.FINISHED else RunState.FAILED
    view.end_reason = word_of(args["reason"]) if args["reason"] else ""


_HANDLERS: dict[str, Callable[[RunView, Args], None]] = {
    "MemberChanged": _member_changed,
    "Proposed": _proposed,
    "Approved": _approved,
    "Declined": _declined,
    "Readying": _readying,
    "Ready": _ready,
    "Started": _started,
    "RoundOpened": _round_opened,
    "Committed": _committed,
    "Closed": _closed,
    "Dropped": _dropped,
    "Withdrawn": _dropped,
    "Swept": _swept,
    "Joined": _joined,
    "Posted": _posted,
    "Agreed": _agreed,
    "Published": _published,
    "Attested": _judged,
    "Disputed": _judged,
    "Final": _final,
    "Void": _void,
    "Failover": _failover,
    "Ended": _ended,
}

_BY_WILL = frozenset({"left", "excluded", "stopped", "consent"})
"""Reasons of a departure after which a site takes no part until it joins again."""

_SMALL = frozenset({"Committed", "Posted", "Attested", "Disputed"})
