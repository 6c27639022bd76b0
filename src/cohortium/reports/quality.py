"""What a run record says of harmful data: a verdict a site, what was done about it, and what it did to the model."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Literal

from cohortium.reports.measure import Measure

__all__ = ["AuditCost", "Effect", "QualityRecord", "SiteVerdict", "TrialFigure", "TrialRecord"]


@dataclass(frozen=True, kw_only=True)
class SiteVerdict:
    """One site's data. verdict: keep, keep-shifted, repair, quarantine, eliminate. reason: one sentence in words.

    posterior: probability that the labels are reversed, or unrelated to the patients. look: shown to people, weight
    unchanged. question: what a person at the site should confirm. gain: of the repair, nats, rounded down. votes: other
    sites that put this verdict on the ledger; only verdicts that ask for something are put there. to_sign: part of a
    registered subgroup would be left out, so that between hospitals a person signs before a node votes the site out.
    """

    verdict: str
    posterior: float
    reason: str
    repair: str = ""
    gain: int = 0
    look: bool = False
    question: str = ""
    votes: int = 0
    to_sign: bool = False


@dataclass(frozen=True, kw_only=True)
class AuditCost:
    """Counted, not estimated. training_steps_ratio: passes over the patients, relative to one probe trained on all.

    model_transfers: payloads that left a site for the audit.
    """

    training_steps_ratio: float
    model_transfers: int


@dataclass(frozen=True, kw_only=True)
class Effect:
    """The model trained without and with the verdicts, on the same test patients, labels mended in both.

    name: of the figure; subgroup: empty for all patients. difference: under minus without, patients drawn anew in both.
    """

    name: str
    without: Measure
    under: Measure
    subgroup: str = ""
    difference: Measure | None = None


@dataclass(frozen=True, kw_only=True)
class TrialFigure:
    """AUROC without the sites minus AUROC with them; low, high: one-sided 90 % bounds, sites drawn anew."""

    gain: float
    low: float
    high: float


@dataclass(frozen=True, kw_only=True)
class TrialRecord:
    """The paired trial before an elimination: three trainings with and three without the sites in quarantine.

    judges: sites whose trusted calibration patients decided. endangered: subgroups that may lose more than .01. why:
    there was none, else empty; then no figure is meant.
    """

    sites: tuple[str, ...]
    judges: int = 0
    whole: TrialFigure | None = None
    subgroups: dict[str, TrialFigure] = field(default_factory=dict)
    endangered: tuple[str, ...] = ()
    passed: bool = False
    why: str = ""


@dataclass(frozen=True, kw_only=True)
class QualityRecord:
    """One audit of the sites' data before training. status: `decided` or `inconclusive`.

    sites: site -> its verdict; again: after repairs, where some were made. records_flagged: site -> records whose label
    the others' models contradict (None: withheld). repaired: site -> repair; left_out: sites that did not train.
    trial: of an elimination, where one was asked for.
    """

    status: Literal["decided", "inconclusive"]
    detector: str
    on_harm: str
    why: str
    sites: dict[str, SiteVerdict]
    records_flagged: dict[str, int | None]
    cost: AuditCost
    repaired: dict[str, str] = field(default_factory=dict)
    again: dict[str, SiteVerdict] = field(default_factory=dict)
    left_out: tuple[str, ...] = ()
    effects: tuple[Effect, ...] = ()
    trial: TrialRecord | None = None
