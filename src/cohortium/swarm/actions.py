"""Everything a `RoundMachine` can ask of its node, as frozen values.

Order inside one answer is a promise: a `Persist` is on disk before anything after it is done. Every action
may come again after a restart, so doing it twice must do no harm.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Literal

from cohortium.core.messages import Stage

__all__ = [
    "Action",
    "Adopt",
    "Ask",
    "Carry",
    "Consent",
    "End",
    "Fact",
    "FactKind",
    "Fetch",
    "Halt",
    "Merge",
    "Offer",
    "Outcome",
    "Persist",
    "Prepare",
    "Propose",
    "Recompute",
    "Refuse",
    "RunStep",
    "Submit",
    "Tell",
    "Train",
    "Wake",
]

FactKind = Literal["started", "consent", "trained", "stepped", "survivors", "merged", "attested", "adopted", "evidence"]


@dataclass(frozen=True, slots=True, kw_only=True)
class Fact:
    """One thing this node must not forget, written before it is acted upon.

    digest: of the payload it speaks of (a blob in the store). data: bytes that belong to it (nonce, bitmap, reason).
    memory: digest of private arrays that belong to it, empty if none. number: weight or counter.
    """

    kind: FactKind
    run: int
    round: int = 0
    attempt: int = 0
    term: int = 0
    step: str = ""
    digest: bytes = b""
    memory: bytes = b""
    number: int = 0
    data: bytes = b""


@dataclass(frozen=True, slots=True, kw_only=True)
class Outcome:
    """How a run ended; computed from ledger events alone, so all nodes agree.

    rounds: final rounds. merged: by approving site, rounds it contributed to. reasons: by site that fell short,
    the reason codes on the ledger. site, stage, reason: of a failure, its first cause. reason: also what ended a
    partial run early (`budget`).
    """

    status: Literal["complete", "partial", "failed"]
    rounds: int
    merged: Mapping[str, int] = field(default_factory=dict)
    satisfied: tuple[str, ...] = ()
    reasons: Mapping[str, tuple[str, ...]] = field(default_factory=dict)
    site: str = ""
    stage: str = ""
    reason: str = ""

    def __str__(self) -> str:
        if self.status == "failed":
            return f"failed ({self.site}, {self.stage}, {self.reason})"
        if self.status == "partial":
            early = f", {self.reason}" if self.reason else ""
            return f"partial ({len(self.satisfied)}/{len(self.merged)} sites{early})"
        return "complete"


@dataclass(frozen=True, slots=True)
class Persist:
    """Write this down before doing anything that follows."""

    fact: Fact


@dataclass(frozen=True, slots=True)
class Submit:
    """Call the contract. key names the intention; a refusal comes back as `Denied(key, reason)`."""

    function: str
    args: tuple[object, ...]
    key: tuple[object, ...]


@dataclass(frozen=True, slots=True)
class Consent:
    """A run of this study was proposed: ask the site, answer with `Consented`."""


@dataclass(frozen=True, slots=True)
class Prepare:
    """Read data, build the model, check everything; answer with `Prepared`."""


@dataclass(frozen=True, slots=True)
class Train:
    """Train from the state with digest `base`; answer with `Trained`. retry: the first try failed.

    round: as the ledger counts. turn: how manieth merge this will be, from 1 (rounds without a merge do not count).
    """

    round: int
    turn: int
    base: bytes
    retry: bool = False


@dataclass(frozen=True, slots=True)
class Carry:
    """Send the late update of an earlier round with this one, its weight x (1 + age)^-0.5; answer with `Trained`."""

    round: int
    late_round: int
    digest: bytes


@dataclass(frozen=True, slots=True)
class RunStep:
    """Let the guard compute this site's payload of a step; inputs: digests by earlier step and sender."""

    round: int
    attempt: int
    step: str
    inputs: Mapping[str, Mapping[str, bytes]]


@dataclass(frozen=True, slots=True)
class Offer:
    """Offer a payload this node holds to `to` and serve it to them. step `merge` is a merge.

    contributors, inputs_root: of a merge only.
    """

    round: int
    term: int
    attempt: int
    step: str
    digest: bytes
    to: tuple[str, ...]
    contributors: tuple[str, ...] = ()
    inputs_root: bytes = b""


@dataclass(frozen=True, slots=True)
class Propose:
    """As leader, propose these survivors to all."""

    round: int
    term: int
    attempt: int
    step: str
    bitmap: int
    to: tuple[str, ...]


@dataclass(frozen=True, slots=True)
class Fetch:
    """Get this payload from any of the holders until it is complete; answer with `Received`."""

    site: str
    round: int
    attempt: int
    step: str
    digest: bytes
    holders: tuple[str, ...]


@dataclass(frozen=True, slots=True)
class Ask:
    """Ask a site for its payload of a step; its digest is not known yet."""

    site: str
    round: int
    attempt: int
    step: str


@dataclass(frozen=True, slots=True)
class Merge:
    """As leader, merge; answer with `Merged`. inputs: digests by step and sender. contributors: sorted."""

    round: int
    attempt: int
    base: bytes
    contributors: tuple[str, ...]
    inputs: Mapping[str, Mapping[str, bytes]]


@dataclass(frozen=True, slots=True)
class Recompute:
    """As attestor, make the same merge; answer with `Recomputed`."""

    round: int
    attempt: int
    base: bytes
    contributors: tuple[str, ...]
    inputs: Mapping[str, Mapping[str, bytes]]


@dataclass(frozen=True, slots=True)
class Adopt:
    """Take a final merge as the state; answer with `Adopted`. own: digest of this site's listed update, or empty."""

    round: int
    digest: bytes
    own: bytes


@dataclass(frozen=True, slots=True)
class Tell:
    """Tell all peers what keeps this site."""

    stage: Stage
    code: str
    where: str = ""


@dataclass(frozen=True, slots=True)
class Refuse:
    """A message of `site` was refused; it is counted and nothing else happens."""

    site: str
    why: str


@dataclass(frozen=True, slots=True)
class Wake:
    """Send a `Tick` at this time."""

    at_s: float


@dataclass(frozen=True, slots=True)
class Halt:
    """Two histories or two merges were signed: write the evidence and stop."""

    reason: str
    evidence: tuple[bytes, ...] = ()


@dataclass(frozen=True, slots=True)
class End:
    """The run is over."""

    outcome: Outcome


Action = (
    Persist
    | Submit
    | Consent
    | Prepare
    | Train
    | Carry
    | RunStep
    | Offer
    | Propose
    | Fetch
    | Ask
    | Merge
    | Recompute
    | Adopt
    | Tell
    | Refuse
    | Wake
    | Halt
    | End
)
