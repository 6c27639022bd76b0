"""Everything that can happen to a `RoundMachine`, as frozen values.

Ledger events come in the ledger's order; all else in any order, repeated or not at all. Payloads are named by
digest and have been hashed before the machine hears of them.
"""

from __future__ import annotations

from dataclasses import dataclass

from cohortium.core.messages import Body, Stage
from cohortium.core.seams import LedgerEvent
from cohortium.swarm.actions import Fact

__all__ = [
    "Adopted",
    "Arrived",
    "Consented",
    "Denied",
    "Event",
    "Failed",
    "Merged",
    "Offered",
    "Prepared",
    "Proposed",
    "Received",
    "Recomputed",
    "Recorded",
    "Remembered",
    "Resumed",
    "StepDown",
    "Stepped",
    "Tick",
    "Trained",
]


@dataclass(frozen=True, slots=True)
class Recorded:
    """The ledger holds this event now."""

    event: LedgerEvent


@dataclass(frozen=True, slots=True)
class Remembered:
    """A fact this node had persisted before it was restarted; comes before `Resumed`."""

    fact: Fact


@dataclass(frozen=True, slots=True)
class Resumed:
    """All facts and all ledger events so far have been told: from now on the machine acts."""


@dataclass(frozen=True, slots=True)
class Tick:
    """It is now `now_s` on this node's monotonic clock."""

    now_s: float


@dataclass(frozen=True, slots=True)
class Consented:
    """The site has (or has not) consented to the run. commitment: of the nonce; nonce: opened with `ready`."""

    granted: bool
    commitment: bytes = b""
    nonce: bytes = b""


@dataclass(frozen=True, slots=True)
class Prepared:
    """Data read, model built, one step warmed up: training can start at any time."""


@dataclass(frozen=True, slots=True)
class Trained:
    """Local training of a round is done and its payload hashed. spent_micro: privacy budget it costs."""

    round: int
    digest: bytes
    weight: int
    spent_micro: int = 0
    memory: bytes = b""


@dataclass(frozen=True, slots=True)
class Stepped:
    """The guard has computed this site's payload of a step."""

    round: int
    attempt: int
    step: str
    digest: bytes
    memory: bytes = b""


@dataclass(frozen=True, slots=True)
class Arrived:
    """A peer said something that is no payload: progress, trouble, bye, ... It passed the gate."""

    site: str
    body: Body


@dataclass(frozen=True, slots=True)
class Offered:
    """A peer offers a payload: it has it and says what it hashes to. step `merge` is a merge."""

    site: str
    round: int
    attempt: int
    step: str
    digest: bytes


@dataclass(frozen=True, slots=True)
class Proposed:
    """The leader proposes the survivors of a masked round, as a bitmap over the joiners."""

    site: str
    round: int
    attempt: int
    step: str
    bitmap: int


@dataclass(frozen=True, slots=True)
class Received:
    """A payload is complete here and hashes to `digest`. step `merge` is a merge, then `site` is empty."""

    site: str
    round: int
    attempt: int
    step: str
    digest: bytes


@dataclass(frozen=True, slots=True)
class Merged:
    """This node, as leader, has merged."""

    round: int
    attempt: int
    digest: bytes
    contributors: tuple[str, ...]


@dataclass(frozen=True, slots=True)
class Recomputed:
    """This node, as attestor, has made the same merge from the same inputs."""

    round: int
    attempt: int
    digest: bytes
    contributors: tuple[str, ...]


@dataclass(frozen=True, slots=True)
class Adopted:
    """A final merge is this node's state now. finished: the study's stopping rule holds."""

    round: int
    digest: bytes
    finished: bool = False
    memory: bytes = b""


@dataclass(frozen=True, slots=True)
class Failed:
    """Own work failed at a stage; `code` may travel, the text stays here. site: the peer whose payload made it fail."""

    stage: Stage
    code: str
    where: str = ""
    round: int = 0
    site: str = ""


@dataclass(frozen=True, slots=True)
class Denied:
    """The ledger refused a call of ours for this reason; `key` is that of the `Submit`."""

    key: tuple[object, ...]
    reason: str


@dataclass(frozen=True, slots=True)
class StepDown:
    """This node is about to stop: if it leads, it passes the lead on."""


Event = (
    Recorded
    | Remembered
    | Resumed
    | Tick
    | Consented
    | Prepared
    | Trained
    | Stepped
    | Arrived
    | Offered
    | Proposed
    | Received
    | Merged
    | Recomputed
    | Adopted
    | Failed
    | Denied
    | StepDown
)
