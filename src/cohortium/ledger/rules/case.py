"""One call as it is being decided: who asks, what time it is, what is made known, and the checks all functions share.

Checks stand in the contract's order, because the first that fails gives the reason. Bitmaps are whole numbers.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any, NoReturn

from cohortium.core.identity import keccak
from cohortium.errors import LedgerRefused
from cohortium.ledger.rules.state import Event, Member, Plan, Round, Run, State, key_of
from cohortium.ledger.rules.words import ATTEST, DECIDED, EXCHANGE, MASKED, MAX_CODE, RUNNING

__all__ = ["Case", "first_from", "has"]

Recover = Callable[[bytes, bytes], bytes]


def has(bits: int, index: int) -> bool:
    """Whether bit `index` is set."""
    return bits >> index & 1 == 1


def first_from(bits: int, index: int) -> int:
    """The first set bit at or after `index`, going round; `bits` is not empty."""
    above = bits >> index << index or bits
    return (above & -above).bit_length() - 1


@dataclass
class Case:
    """One call. sender: 20 bytes; now: block time in seconds; recover: (digest, signature) -> address."""

    state: State
    sender: bytes
    now: int
    recover: Recover
    function: str = ""
    events: list[Event] = field(default_factory=list)

    def refuse(self, reason: str) -> NoReturn:
        """End the call; nothing of it stays."""
        raise LedgerRefused(reason, function=self.function)

    def require(self, holds: bool, reason: str) -> None:
        """Refuse unless it holds."""
        if not holds:
            self.refuse(reason)

    def say(self, name: str, **args: object) -> None:
        """Make an event known."""
        self.events.append(Event(name, args))

    # reading

    @property
    def epoch(self) -> int:
        """Raised by every change of membership."""
        return int(self.state.get("totals", "epoch"))

    @property
    def active(self) -> int:
        """Active members, as a bitmap of slots."""
        return int(self.state.get("totals", "active"))

    def member(self, slot: int) -> Member:
        """The member with this slot."""
        member: Member = self.state.get("members", slot)
        return member

    def plan(self, run: int) -> Plan:
        """What a run was proposed as."""
        plan: Plan = self.state.get("plans", run)
        return plan

    def run(self, run: int) -> Run:
        """Where a run stands."""
        record: Run = self.state.get("runs", run)
        return record

    def round(self, run: int) -> Round:
        """Where a run's present round stands."""
        record: Round = self.state.get("rounds", run)
        return record

    def set_run(self, run: int, **fields: Any) -> None:
        """Write fields of a run."""
        self.state.change("runs", run, **fields)

    def set_round(self, run: int, **fields: Any) -> None:
        """Write fields of a run's present round."""
        self.state.change("rounds", run, **fields)

    def name(self, run: int, index: int) -> str:
        """The site with this index in the run."""
        return self.member(self.state.get("joiners", (run, index))).name

    def masked(self, run: int) -> bool:
        """Whether the run adds masked updates."""
        return self.plan(run).flags & MASKED != 0

    # who asks

    def seated(self, seat: int, reason: str) -> int:
        """The slot of an active member; seat = slot + 1, 0 = none."""
        self.require(seat != 0 and has(self.active, seat - 1), reason)
        return seat - 1

    def me(self) -> int:
        """The sender's slot."""
        return self.seated(self.state.get("slots", self.sender), "member")

    def known(self, run: int) -> None:
        """There is such a run."""
        self.require(0 < run <= self.state.get("totals", "n_runs"), "run")

    def joiner(self, run: int) -> int:
        """The sender's index in the run, live or not."""
        slot = self.me()
        self.known(run)
        index = int(self.state.get("indices", (run, slot)))
        self.require(index != 0, "joiner")
        return index - 1

    def live(self, run: int) -> int:
        """The sender's index in the run; it takes part now."""
        index = self.joiner(run)
        self.require(has(self.run(run).live, index), "live")
        return index

    def live_in(self, run: int, round: int) -> int:
        """A live joiner who means the round that is running."""
        index = self.live(run)
        self.require(self.run(run).state == RUNNING and self.round(run).number == round, "phase")
        return index

    def subject(self, run: int, site: str) -> int:
        """The index of another site in the run."""
        seat = int(self.state.get("names", site))
        self.require(seat != 0, "subject")
        index = int(self.state.get("indices", (run, seat - 1)))
        self.require(index != 0, "subject")
        return index - 1

    # what holds

    def working(self, run: int) -> bool:
        """The round is closed and not final."""
        return self.round(run).phase in (EXCHANGE, ATTEST)

    def alive(self, run: int) -> None:
        """The run has not ended."""
        self.require(self.run(run).state <= RUNNING, "phase")

    def waited(self, run: int, timeout_s: int) -> None:
        """The present state or phase is older than the time-out."""
        self.require(self.now >= self.run(run).since + timeout_s, "early")

    def code(self, code: int) -> None:
        """A code within the limits."""
        self.require(0 < code <= MAX_CODE, "value")

    def needed(self, run: int) -> int:
        """Fewest sites a round may close with: the study's, and under masks at least 3 and c + 2, c = joiners // 3."""
        least = self.plan(run).min_sites
        return max(least, 3, self.run(run).n_joiners // 3 + 2) if self.masked(run) else least

    def majority(self, run: int) -> int:
        """More than half of the live sites."""
        return self.run(run).live.bit_count() // 2 + 1

    # ballots

    def ballots(self, key: bytes) -> int:
        """Who has voted under a key."""
        return int(self.state.get("ballots", key))

    def cast(self, key: bytes, index: int) -> bool:
        """Set one ballot; whether it is a new one."""
        before = self.ballots(key)
        if has(before, index):
            return False
        self.state.put("ballots", key, before | 1 << index)
        return True

    def decided(self, key: bytes) -> bool:
        """Whether a harm ballot has reached its verdict."""
        return has(self.ballots(key), DECIDED)

    def ballot(
        self,
        kind: int,
        *,
        run: int,
        round: int,
        number: int,
        matter: bytes,
        index: int,
        electorate: int,
        need: int,
        subject: str,
        slot: int,
    ) -> bool:
        """Cast the ballot of `index`; whether it decides. Ballots from outside the electorate do not count."""
        key = key_of(kind, run, round, number, matter)
        fresh = self.cast(key, index)
        count = (self.ballots(key) & electorate).bit_count()
        self.require(fresh or count >= need, "voted")
        site = self.member(slot).name
        self.say("Voted", kind=kind, run=run, round=round, subject=subject, site=site, count=count, need=need)
        return count >= need

    def run_vote(self, kind: int, run: int, index: int, *, number: int = 0, subject: str = "", need: int) -> bool:
        """Cast a ballot about the present round; whether it decides. Only the live count."""
        return self.ballot(
            kind,
            run=run,
            round=self.round(run).number,
            number=number,
            matter=keccak(subject.encode()),
            index=index,
            electorate=self.run(run).live,
            need=need,
            subject=subject,
            slot=self.state.get("joiners", (run, index)),
        )
