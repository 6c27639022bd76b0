"""Tiers 0 and 1 of the audit at one site: what its own attacks found, in verdicts that may leave and figures that stay.

    audit = audit_site(watch, inside=losses, outside=losses, control=(losses, losses), claim=claim, ...)
    audit.verdict(0), audit.digest(0)        # for the ledger

Tier 0 is what the site saw of its updates, round by round. Tier 1 attacks the released model: losses of training
patients against held-out ones, and a lower bound on epsilon from the chance that put a patient on either side. The
control, a model that learned its patients by heart, must fail, or nothing is proven.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict, dataclass
from functools import cached_property

import numpy as np
from numpy.typing import NDArray

from cohortium.privacy.leakage.inversion import Inversion
from cohortium.privacy.leakage.membership import Membership, judge
from cohortium.privacy.leakage.one_run import Guesses, even_coins, guess
from cohortium.privacy.leakage.verdict import (
    Finding,
    Thresholds,
    Verdict,
    on_control,
    on_epsilon,
    on_inversion,
    on_membership,
    together,
)
from cohortium.privacy.leakage.watch import Watch

__all__ = ["CODES", "Claim", "SiteAudit", "audit_site", "pooled"]

CODES: dict[Verdict, int] = {"pass": 1, "fail": 2, "inconclusive": 3}
"""Verdicts as the ledger holds them."""

Floats = NDArray[np.float64]
Shuffle = Callable[[int], NDArray[np.int64]]


@dataclass(frozen=True, kw_only=True)
class Claim:
    """What a run promises: epsilon at delta; None where it promises nothing."""

    epsilon: float | None = None
    delta: float = 1e-5


@dataclass(frozen=True, kw_only=True)
class SiteAudit:
    """Figures and findings. updates, inversion: tier 0, over all rounds. model, guesses, control: tier 1."""

    thresholds: Thresholds
    claim: Claim
    protected: bool
    inversion: Inversion
    updates: Membership | None
    model: Membership | None
    guesses: Guesses
    control: Membership | None

    def findings(self, tier: int) -> Mapping[str, Finding]:
        """By attack. The control's is `pass` where the attack did find the patients of a model that knows them."""
        return self._updates if tier == 0 else self._model

    @cached_property
    def _updates(self) -> Mapping[str, Finding]:
        found = {"inversion": on_inversion(self.inversion, protected=self.protected)}
        return found if self.updates is None else {**found, "updates": on_membership(self.updates, self.thresholds)}

    @cached_property
    def _model(self) -> Mapping[str, Finding]:
        return {
            "model": on_membership(self.model, self.thresholds),
            "one-run": on_epsilon(self.guesses, claimed=self.claim.epsilon, delta=self.claim.delta),
            "control": on_control(self.control, self.thresholds),
        }

    def verdict(self, tier: int) -> Verdict:
        """The worst of a tier's findings."""
        return together(self.findings(tier).values())

    def digest(self, tier: int) -> bytes:
        """SHA-256 over figures and findings, which stay at the site; the ledger holds this (32 bytes)."""
        told = {
            "tier": tier,
            "findings": {n: asdict(f) for n, f in self.findings(tier).items()},
            "figures": asdict(self),
        }
        text = json.dumps(told, sort_keys=True, separators=(",", ":"))
        return hashlib.sha256(b"cohortium-audit-1" + text.encode()).digest()


def audit_site(
    watch: Watch,
    *,
    inside: Floats,
    outside: Floats,
    control: tuple[Floats, Floats],
    claim: Claim,
    thresholds: Thresholds,
    shuffled: Shuffle,
) -> SiteAudit:
    """inside, outside: losses of the released model for training and held-out patients; control: the twin's."""
    return SiteAudit(
        thresholds=thresholds,
        claim=claim,
        protected=watch.protected,
        inversion=watch.inversion,
        updates=watch.membership,
        model=judge(-inside, -outside),
        guesses=guess(*even_coins(-inside, -outside, shuffled=shuffled)),
        control=judge(-control[0], -control[1]),
    )


def pooled(
    audits: Sequence[SiteAudit], *, inside: Sequence[Floats], outside: Sequence[Floats], control: tuple[Floats, Floats]
) -> SiteAudit:
    """All sites together, as only a simulation can see them; guesses add up."""
    first = audits[0]
    return SiteAudit(
        thresholds=first.thresholds,
        claim=first.claim,
        protected=first.protected,
        inversion=sum((one.inversion for one in audits), Inversion(n_rows=0, n_recovered=0, n_tried=0)),
        updates=None,
        model=judge(-np.concatenate(inside), -np.concatenate(outside)),
        guesses=sum((one.guesses for one in audits), Guesses(n_coins=0, n_guessed=0, n_right=0)),
        control=judge(-control[0], -control[1]),
    )
