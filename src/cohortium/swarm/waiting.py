"""How long a round waits: slow is not dead, silence counts.

Peers report a stage and a fraction every few seconds. A site is silent when nothing was heard for
`silence_s`, or when its fraction has not moved for max(900 s, three of its median rounds). From that and the
study's rule follows whether this node votes to close a round, to drop a site or to change the leader. Votes
are counted by the contract; nothing here decides alone. Times are seconds of this node's own monotonic
clock, never block times. Design: swarm.md sections 4 and 8.
"""

from __future__ import annotations

from collections.abc import Collection, Mapping
from dataclasses import dataclass, field
from statistics import median
from typing import Literal

__all__ = ["Policy", "Pulse", "leader_is_lost", "overdue", "should_close"]

_STUCK_S = 900.0


@dataclass(frozen=True, kw_only=True)
class Policy:
    """The study's waiting, attestation and ending rules; the same at every site, so all expect the same of all.

    wait: `all` - a missing site is waited for until max_round_s; `progressing` - until it is silent or in
    trouble; `quorum` - until round_timeout_s. late: what becomes of an update that missed its round.
    complete_share: of the final rounds a site must be in to count as complete. Further times: heartbeat_s between
    words to the peers, step_s for one step of the exchange, stagger_s before a reserve attestor steps in, retry_s
    before a refused or lost thing is tried again, rejoin_s between attempts to come back after own trouble, linger_s
    for serving others after the end.
    """

    round_timeout_s: float = 600.0
    leader_timeout_s: float = 120.0
    answer_timeout_s: float = 86_400.0
    silence_s: float = 120.0
    max_round_s: float = 86_400.0
    wait: Literal["all", "progressing", "quorum"] = "progressing"
    late: Literal["discard", "carry"] = "discard"
    complete_share: float = 1.0
    max_attempts: int = 3
    heartbeat_s: float = 15.0
    step_s: float = 120.0
    stagger_s: float = 5.0
    retry_s: float = 15.0
    rejoin_s: float = 60.0
    linger_s: float = 60.0

    def __post_init__(self) -> None:
        for name in (
            "round_timeout_s", "leader_timeout_s", "answer_timeout_s", "silence_s", "max_round_s", "heartbeat_s",
            "step_s", "stagger_s", "retry_s", "rejoin_s",
        ):  # fmt: skip
            if not getattr(self, name) > 0:
                raise ValueError(f"{name} must be positive, got {getattr(self, name)}")
        if not 0 < self.complete_share <= 1:
            raise ValueError(f"complete_share must be above 0 and at most 1, got {self.complete_share}")
        if self.max_attempts < 1:
            raise ValueError(f"max_attempts must be at least 1, got {self.max_attempts}")

    @property
    def beat_s(self) -> float:
        """Seconds between a node's words: twice within any silence, or all would seem silent between two of them."""
        return min(self.heartbeat_s, self.silence_s / 2)


@dataclass(slots=True)
class Pulse:
    """What was last heard of one peer. stage and fraction: its own words.

    troubles: told since it last moved. durations: from the opening of its last rounds to its commits."""

    heard_s: float
    moved_s: float
    stage: str = ""
    fraction: float = 0.0
    trouble: str = ""
    troubles: int = 0
    durations: list[float] = field(default_factory=list)

    def hear(self, now_s: float, stage: str = "", fraction: float = 0.0) -> None:
        """A word came. Progress ends whatever trouble was told before."""
        self.heard_s = now_s
        if stage and (stage, fraction) != (self.stage, self.fraction):
            self.stage, self.fraction, self.moved_s, self.trouble = stage, fraction, now_s, ""
            self.troubles = 0

    def unheard(self, now_s: float, policy: Policy) -> bool:
        """Whether nothing was heard for too long."""
        return now_s - self.heard_s > policy.silence_s

    def silent(self, now_s: float, policy: Policy) -> bool:
        """Whether nothing was heard for too long, or nothing has moved for far longer than this site needs.

        A site that reports no fraction (0) is judged by its words alone.
        """
        if self.unheard(now_s, policy):
            return True
        usual = median(self.durations) if self.durations else 0.0
        return now_s - self.moved_s > max(_STUCK_S, 3 * usual) and 0 < self.fraction < 1


def should_close(
    policy: Policy, *, age_s: float, n_committed: int, min_sites: int, missing: Mapping[str, Pulse], now_s: float
) -> bool:
    """Whether to vote that a round goes on without the missing live sites."""
    if n_committed < min_sites or not missing or age_s < policy.round_timeout_s:
        return False
    if age_s >= policy.max_round_s or policy.wait == "quorum":
        return True
    if policy.wait == "all":
        return False
    return all(pulse.trouble or pulse.silent(now_s, policy) for pulse in missing.values())


def leader_is_lost(policy: Policy, *, age_s: float, silent: bool) -> bool:
    """Whether to vote for another leader: its phase is overdue and it is silent, or four times overdue."""
    return age_s > policy.leader_timeout_s and (silent or age_s > 4 * policy.leader_timeout_s)


def overdue(
    policy: Policy, *, age_s: float, absent: Collection[str], pulses: Mapping[str, Pulse], now_s: float
) -> list[str]:
    """Senders whose payload is due and who are silent, in trouble, or simply do not send it (twice the time)."""
    if age_s < policy.step_s:
        return []
    return sorted(
        site
        for site in absent
        if age_s > 2 * policy.step_s or pulses[site].trouble or pulses[site].silent(now_s, policy)
    )
