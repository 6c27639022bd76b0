"""What this node itself has done in a run: a fold of its own facts and answers, rebuilt after a restart.

Facts come back from the store as `Remembered`; what was only in memory (which payloads have arrived, what was
offered to whom) is simply done again. Nothing here decides.
"""

from __future__ import annotations

from collections import defaultdict
from dataclasses import dataclass, field
from typing import Any

from cohortium.swarm.actions import Fact, Tell

__all__ = ["Own", "Slot"]

Slot = tuple[int, int, str]
"""Round, attempt, step. The committed payload of a plain recipe is of attempt 0, whoever leads."""


@dataclass(slots=True)
class Own:
    """This node's half of a run.

    consent: None - not asked yet; else (granted, commitment, nonce). trained: fact by round. running: round of the
    training under way. late: round and digest of an update that missed its round; carried: the round it goes with.
    stepped: own payload by slot. revealed: attempt by round in which a share of others' keys was given away.
    survivors: bitmap posted by slot. merges: digest by (round, attempt, contributors). attested: by (round, term).
    adopted: round and digest of the state held. received: payload digests by slot and sender. offers: what others
    say they have, by slot and sender. fetching: whose payload was asked for, given: to whom own payloads were
    offered, by slot. proposals: the leader's survivors by slot. held: digests of merges that are here. asked: how many
    answers the newest merge of a round was made of; spoiled: how many were there when it could not be made.
    """

    consent: tuple[bool, bytes, bytes] | None = None
    prepared: bool = False
    trained: dict[int, Fact] = field(default_factory=dict)
    running: int | None = None
    late: tuple[int, bytes] | None = None
    carried: int = 0
    stepped: dict[Slot, Fact] = field(default_factory=dict)
    revealed: dict[int, int] = field(default_factory=dict)
    survivors: dict[Slot, int] = field(default_factory=dict)
    merges: dict[tuple[int, int, tuple[str, ...]], bytes] = field(default_factory=dict)
    attested: dict[tuple[int, int], bytes] = field(default_factory=dict)
    adopted: tuple[int, bytes] = (0, b"")
    finished: bool = False
    failures: int = 0
    absent: bool = False
    trouble: Tell | None = None
    halted: bool = False
    leaving: bool = False
    received: dict[Slot, dict[str, bytes]] = field(default_factory=lambda: defaultdict(dict))
    offers: dict[Slot, dict[str, bytes]] = field(default_factory=lambda: defaultdict(dict))
    fetching: dict[Slot, set[str]] = field(default_factory=lambda: defaultdict(set))
    given: dict[Slot, set[str]] = field(default_factory=lambda: defaultdict(set))
    proposals: dict[Slot, tuple[str, int]] = field(default_factory=dict)
    held: set[bytes] = field(default_factory=set)
    asked: dict[int, int] = field(default_factory=dict)
    spoiled: dict[int, int] = field(default_factory=dict)

    def remember(self, fact: Fact) -> None:
        """Fold one fact, new or from the store."""
        slot = (fact.round, fact.attempt, fact.step)
        match fact.kind:
            case "consent":
                self.consent = (bool(fact.number), fact.digest, fact.data)
            case "trained":
                self.trained[fact.round] = fact
            case "stepped":
                self.stepped[slot] = fact
                if fact.number:
                    self.revealed.setdefault(fact.round, fact.attempt)
            case "survivors":
                self.survivors[slot] = int.from_bytes(fact.data, "big")
            case "merged":
                contributors = tuple(fact.data.decode("ascii", "replace").split(","))
                self.merges[fact.round, fact.attempt, contributors] = fact.digest
                self.held.add(fact.digest)
            case "attested":
                self.attested[fact.round, fact.term] = fact.digest
            case "adopted":
                if fact.round > self.adopted[0]:
                    self.adopted = (fact.round, fact.digest)
                    self.held.add(fact.digest)
                    self.finished = bool(fact.number)
            case "started" | "evidence":
                pass

    def forget_before(self, round: int) -> None:
        """Let go of what belongs to rounds before this one, so that a long run stays small."""
        tables: tuple[dict[Any, Any], ...] = (
            self.stepped, self.survivors, self.received, self.offers, self.fetching, self.given, self.proposals,
            self.merges, self.attested,
        )  # fmt: skip
        for table in tables:
            for key in [key for key in table if key[0] < round]:
                del table[key]
        for past in (self.trained, self.revealed, self.asked, self.spoiled):
            for number in [number for number in past if number < round]:
                del past[number]
