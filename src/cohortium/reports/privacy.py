"""What a run record says of privacy: protection, spending, what left, and what attacks on the model found."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Literal

from cohortium.reports.measure import Measure

__all__ = [
    "Attack",
    "AuditRecord",
    "EgressLine",
    "PrivacyRecord",
    "PrivateStudy",
    "Promise",
    "RoundProtection",
    "SiteSpending",
    "SpentOn",
]


@dataclass(frozen=True, kw_only=True)
class Promise:
    """The terms of differential privacy. noise_multiplier: of a released sum; steps: of the whole run."""

    epsilon: float
    delta: float
    unit: str
    mode: str
    sample_rate: float
    clipping_norm: float
    noise_multiplier: float
    steps: int


@dataclass(frozen=True, kw_only=True)
class RoundProtection:
    """One round. survivors: whose updates are in the sum; frozen: how many had committed; threshold: answers needed."""

    round: int
    survivors: tuple[str, ...]
    frozen: int
    threshold: int


@dataclass(frozen=True, kw_only=True)
class SpentOn:
    """What one part of a run has cost a site's patients by itself; parts do not add up, they compose."""

    what: str
    epsilon: float


@dataclass(frozen=True, kw_only=True)
class SiteSpending:
    """What the run has cost one site's patients, from the ledger. outsiders, colluders, alone: epsilon against each.

    total: over all studies on these patients; cap: the site's own; history: total after each round. rounds: of the
    training that were paid for, 0 at a site that an audit kept out of it. parts: where the run was more than a
    training, the audit of the data and the training, each by itself; outsiders, colluders, alone are of them together.
    """

    site: str
    rounds: int
    outsiders: float
    colluders: float
    alone: float
    total: float
    cap: float
    delta: float
    history: tuple[float, ...] = ()
    parts: tuple[SpentOn, ...] = ()


@dataclass(frozen=True, kw_only=True)
class EgressLine:
    """Everything of one kind that left a site: `what` is the payload's step or the called function.

    receivers: how many there were. digest: hex, of the chain of all frames' digests.
    """

    site: str
    kind: str
    what: str
    receivers: int
    frames: int
    bytes: int
    digest: str


@dataclass(frozen=True, kw_only=True)
class Attack:
    """One attack. site: empty for all together. guessing: what somebody without the model would reach.

    needed: patients that would decide, where the verdict is inconclusive. covered_by_dp: whether the figure itself is
    noisy and paid for.
    """

    tier: int
    name: str
    verdict: Literal["pass", "fail", "inconclusive"]
    reason: str
    site: str = ""
    figure: Measure | None = None
    guessing: float | None = None
    needed: int | None = None
    covered_by_dp: bool = False


@dataclass(frozen=True, kw_only=True)
class AuditRecord:
    """Attacks on the own model. max_auc, max_tpr: what was agreed before the run."""

    verdict: Literal["pass", "fail", "inconclusive"]
    max_auc: float
    max_tpr: float
    attacks: tuple[Attack, ...] = ()


@dataclass(frozen=True, kw_only=True)
class PrivacyRecord:
    """Privacy of one run. method: `masks`, `threshold-ckks` or `none`.

    colluders: sites that may conspire without seeing an update, whatever they do; 0 without masks.
    word_bits: of a masked word, 0 without masks. noise: where randomness came from. promise: None without noise in
    the training; an audit of the data with noise is seen in spending.
    """

    method: str
    noise: str
    colluders: int = 0
    word_bits: int = 0
    promise: Promise | None = None
    rounds: tuple[RoundProtection, ...] = ()
    spending: tuple[SiteSpending, ...] = ()
    egress: tuple[EgressLine, ...] = ()
    audit: AuditRecord | None = None


@dataclass(frozen=True, kw_only=True)
class PrivateStudy:
    """The same question asked a second time, with differential privacy; a run of its own with its own ledger.

    folder: where its files are, beside those of this run. model: its name; digest: of its parameters, hex.
    test: its measures over all test rows. notes: sentences its reader must know.
    """

    name: str
    folder: str
    status: str
    model: str
    digest: str
    privacy: PrivacyRecord
    test: dict[str, Measure] = field(default_factory=dict)
    notes: tuple[str, ...] = ()
