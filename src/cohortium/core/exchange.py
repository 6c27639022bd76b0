"""How updates reach a merge: a `Recipe` of steps the machine counts, and the `Guard` that computes payloads.

After a round closed, the machine runs the steps of a recipe in order. It never looks into a payload: it
counts digests, knows who sends to whom and when enough have come. A guard turns an update into the payload
of each step and what came back into the updates a merge may use. A new protocol is a new tuple of steps and
a new guard, never a new machine. Design: swarm.md section 6, privacy.md section 3.
"""

from __future__ import annotations

import hashlib
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Literal, Protocol

import msgspec

from cohortium.core.parameters import Parameters
from cohortium.core.update import MAX_WEIGHT, Aggregate, Update
from cohortium.errors import InvariantBroken, PeerError

__all__ = [
    "MASKED",
    "PLAIN",
    "Context",
    "Guard",
    "PlainGuard",
    "Received",
    "Recipe",
    "Step",
    "inputs_root",
    "n_colluders",
    "threshold",
]


@dataclass(frozen=True, kw_only=True)
class Step:
    """One exchange within a round.

    payload: `committed` - the very arrays whose digest was committed; `computed` - the guard's answer to
    the earlier steps; `survivors` - no arrays but a set of sites, proposed by the leader and posted by each.
    receivers: `each` - every site of the frozen set; `merging` - leader and attestors only.
    posted: the digest goes to the ledger, so what arrives is compared with it.
    need: payloads of `all` senders; of all, or what is there at the deadline (`deadline`); `agreed` - the
    ledger's word; of `threshold` senders. senders: the `frozen` set, or the agreed `survivors`.
    on_late: what happens to a sender that stays away: `drop` by vote, `drop_restart` (then a new attempt),
    `shrink` (go on without it), `wait`.
    """

    name: str
    number: int
    payload: Literal["committed", "computed", "survivors"]
    receivers: Literal["each", "merging"] = "merging"
    posted: bool = False
    need: Literal["all", "deadline", "agreed", "threshold"] = "all"
    senders: Literal["frozen", "survivors"] = "frozen"
    on_late: Literal["drop", "drop_restart", "shrink", "wait"] = "drop"
    deadline_s: float = 120.0


@dataclass(frozen=True, kw_only=True)
class Recipe:
    """Steps in order. masked: merges use sums only; contributors are the agreed survivors.

    hidden_weights: every site commits weight 1 and keeps its own for its masked vector.
    """

    name: str
    steps: tuple[Step, ...]
    masked: bool = False
    hidden_weights: bool = False

    def __post_init__(self) -> None:
        if not self.steps or len({step.name for step in self.steps}) != len(self.steps):
            raise ValueError(f"recipe {self.name!r} needs at least one step, each with its own name")
        first = min(self.steps[0].number, 1)
        if first < 0 or [step.number for step in self.steps] != list(range(first, first + len(self.steps))):
            raise ValueError(f"recipe {self.name!r}: steps must be numbered 1 to {len(self.steps)}, or from 0 on")


PLAIN = Recipe(name="plain", steps=(Step(name="updates", number=1, payload="committed"),))

MASKED = Recipe(
    name="masked",
    masked=True,
    steps=(
        Step(name="keys", number=0, payload="computed", receivers="each", on_late="drop_restart"),
        Step(name="shares", number=1, payload="computed", receivers="each", on_late="drop_restart"),
        Step(name="masked", number=2, payload="computed", posted=True, need="deadline", on_late="shrink"),
        Step(name="survivors", number=3, payload="survivors", receivers="each", need="agreed", on_late="wait"),
        Step(name="unmask", number=4, payload="computed", need="threshold", senders="survivors", on_late="wait"),
    ),
)


def n_colluders(n_joiners: int) -> int:
    """How many colluding sites the masked recipe withstands: floor(n/3) of the run's joiners, whoever is absent."""
    return n_joiners // 3


def threshold(n_frozen: int, n_joiners: int) -> int:
    """Answers needed to unmask: floor((n + c) / 2) + 1, so that no two disjoint sets can both reach it."""
    return (n_frozen + n_colluders(n_joiners)) // 2 + 1


def inputs_root(commits: Mapping[str, bytes]) -> bytes:
    """SHA-256 over (name, commit digest) of each contributor sorted by name: what a merge was made of."""
    root = hashlib.sha256(b"cohortium-inputs-1")
    for site in sorted(commits):
        name = site.encode()
        root.update(bytes([len(name)]) + name + commits[site])
    return root.digest()


@dataclass(frozen=True, kw_only=True)
class Context:
    """What every key, mask and answer of one attempt is bound to; equal at all sites, `term` is not in it.

    weights: as committed, by site of the frozen set. base: digest of the state all trained from. n_joiners: sites of
    the run when the set was frozen, absent ones too; joiners: their names,
    in order of approval.
    """

    consortium: bytes
    study: bytes
    run: int
    round: int
    attempt: int
    base: bytes
    frozen: tuple[str, ...]
    weights: Mapping[str, int] = field(compare=False)
    n_joiners: int = 0
    joiners: tuple[str, ...] = field(default=(), compare=False)

    def digest(self) -> bytes:
        """32 bytes over all of it but the weights and the number of joiners."""
        fields = (self.consortium, self.study, self.run, self.round, self.attempt, self.base, sorted(self.frozen))
        return hashlib.sha256(b"cohortium-context-1" + msgspec.msgpack.encode(fields)).digest()


Received = Mapping[str, Mapping[str, Parameters]]
"""Payloads by step and by sender; of a step of survivors, once agreed, an empty one for each of them."""


class Guard(Protocol):
    """The protocol half of a recipe at one site. Deterministic but for its own keys, which `memory` holds."""

    @property
    def recipe(self) -> Recipe: ...

    def check(self, update: Update) -> None:
        """Raise TrainingFailed for an update that could not be sent; asked before it is committed."""
        ...

    def step(self, step: str, context: Context, *, own: Update, received: Received) -> Parameters:
        """This site's payload of a step; the same arrays whenever it is asked again within an attempt."""
        ...

    def open(self, context: Context, *, survivors: Sequence[str], received: Received) -> tuple[Update, ...] | Aggregate:
        """What a merge may use: each survivor's update, sorted by site, or their sum where it hides them."""
        ...

    def memory(self) -> Parameters:
        """Keys and answers to persist before a payload leaves."""
        ...

    def restore(self, memory: Parameters) -> None:
        """Put back what `memory` gave, after a restart."""
        ...

    def finish(self, round: int) -> None:
        """Rounds up to this one are final: let go of their secrets, remember their promises."""
        ...


class PlainGuard:
    """No protection: each site's own arrays go to those who merge."""

    recipe = PLAIN

    def check(self, update: Update) -> None:
        """Every update can be sent."""

    def step(self, step: str, context: Context, *, own: Update, received: Received) -> Parameters:
        """The update itself; in no other step than that of the plain recipe."""
        if step != "updates":
            raise InvariantBroken(f"asked to show an update in step '{step}' of a recipe that is not plain")
        return own.parameters

    def open(self, context: Context, *, survivors: Sequence[str], received: Received) -> tuple[Update, ...]:
        """One update for each contributor, with the weight it committed. PeerError for a weight no update may have."""
        arrived = received["updates"]
        for site in sorted(survivors):
            if not 1 <= context.weights[site] <= MAX_WEIGHT:
                raise PeerError(f"update of site '{site}': its committed weight is not 1 to 2^29", site=site)
        return tuple(
            Update(site=site, parameters=arrived[site], weight=context.weights[site]) for site in sorted(survivors)
        )

    def memory(self) -> Parameters:
        """Nothing to keep."""
        return Parameters()

    def restore(self, memory: Parameters) -> None:
        """Nothing to put back."""

    def finish(self, round: int) -> None:
        """Nothing to let go."""
