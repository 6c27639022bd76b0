"""What a node tells its observer: progress of all sites, troubles, refusals, one record a round, the end.

Plain frozen values for command line, report and dashboard. No patient's value, no payload.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field

from cohortium.core.messages import Progress, Trouble
from cohortium.swarm.actions import Outcome

__all__ = ["Notice", "Progressed", "Refused", "RoundRecord", "RunEnded", "Troubled", "notice_of"]


@dataclass(frozen=True, slots=True, kw_only=True)
class Progressed:
    """A site (this one or a peer) is at this stage of a round; fraction 0 to 1."""

    site: str
    round: int
    stage: str
    fraction: float = 0.0
    eta_s: float = 0.0


@dataclass(frozen=True, slots=True, kw_only=True)
class Troubled:
    """A site said what keeps it."""

    site: str
    round: int
    stage: str
    code: str
    where: str = ""


@dataclass(frozen=True, slots=True, kw_only=True)
class Refused:
    """A message was refused and counted."""

    site: str
    why: str


@dataclass(frozen=True, slots=True, kw_only=True)
class RoundRecord:
    """A merge this node has adopted. turn: how manieth merge. measures: on this site's own held-out rows."""

    site: str
    round: int
    turn: int
    digest: bytes
    contributors: tuple[str, ...]
    leader: str
    measures: Mapping[str, float] = field(default_factory=dict)
    ended_s: float = 0.0


@dataclass(frozen=True, slots=True, kw_only=True)
class RunEnded:
    """The run is over for this node."""

    site: str
    outcome: Outcome


Notice = Progressed | Troubled | Refused | RoundRecord | RunEnded


def notice_of(site: str, round: int, said: Progress | Trouble) -> Progressed | Troubled:
    """What a site said of itself, as the observer hears it."""
    if isinstance(said, Progress):
        return Progressed(site=site, round=round, stage=said.stage, fraction=said.fraction, eta_s=said.eta_s)
    return Troubled(site=site, round=round, stage=said.stage, code=said.code, where=said.where)
