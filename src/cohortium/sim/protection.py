"""What protects the patients of a simulated run - purses, watches, logs of what left - and the record of all of it.

    protection = Protection(study, program, rows, purses=purses, chance=chance)
    SiteWork(..., watch=protection.watch(site));  Setting(..., protection=protection)
    protection.record(swarm, verified)

At a hospital the node holds one of each for its own site; here all sites' stand side by side.
"""

from __future__ import annotations

import hashlib
from collections.abc import Iterator, Mapping, Sequence

import numpy as np

from cohortium.core.exchange import n_colluders
from cohortium.core.parameters import Parameters
from cohortium.core.private import Against, PrivacyTerms
from cohortium.core.randomness import Chance
from cohortium.core.seams import LedgerEvent
from cohortium.core.study import Study
from cohortium.ledger.archive import Verified
from cohortium.ledger.story import Merge
from cohortium.privacy.dp.accounting import epsilon, micro
from cohortium.privacy.dp.purse import Purse
from cohortium.privacy.dp.statement import Statement
from cohortium.privacy.he.terms import method_of
from cohortium.privacy.leakage.membership import Membership
from cohortium.privacy.leakage.site_audit import SiteAudit, pooled
from cohortium.privacy.leakage.verdict import together
from cohortium.privacy.leakage.watch import Watch
from cohortium.reports.measure import Measure
from cohortium.reports.privacy import (
    Attack,
    AuditRecord,
    EgressLine,
    PrivacyRecord,
    Promise,
    RoundProtection,
    SiteSpending,
    SpentOn,
)
from cohortium.sim.accounts import accounts_of
from cohortium.sim.comparison import SiteRows
from cohortium.sim.purses import Purses
from cohortium.sim.site_auditor import SiteAuditor, thresholds_of
from cohortium.swarm.egress import EgressLog
from cohortium.swarm.ports import Audited
from cohortium.swarm.program import Program, SiteWork

__all__ = [
    "Protection",
    "attacks_of",
    "egress_of",
    "promise_of",
    "rounds_of",
    "spending_of",
]


class Protection:
    """Everything of privacy in one simulated run."""

    def __init__(
        self,
        study: Study,
        program: Program,
        rows: Sequence[SiteRows],
        *,
        purses: Purses,
        chance: Chance,
    ) -> None:
        self._study, self._program = study, program
        self._chance, self._purses = chance, purses
        self._auditors = {
            one.site: SiteAuditor(
                study, program, held_out=one.test, shuffled=chance.stream("audit", one.site).permutation
            )
            for one in rows
        }
        self._logs = {one.site: EgressLog() for one in rows}

    @property
    def promised_micro(self) -> int:
        """Epsilon the run stays within, in millionths; 0 without a promise."""
        return 0 if self._program.privacy is None else micro(self._program.privacy.epsilon)

    def watch(self, site: str) -> Watch:
        """What attacks the site's updates."""
        return self._auditors[site].watch

    def log(self, site: str) -> EgressLog:
        """What notes the frames that leave the site."""
        return self._logs[site]

    def purse(self, site: str, consortium: bytes) -> Purse | None:
        """The site's budget; None where the run promises nothing, so that nothing is spent."""
        return self._purses.of(self._study, self._program, site, consortium)

    def audit(self, site: str, work: SiteWork, state: Parameters) -> tuple[Audited, ...]:
        """What the site's own attacks on the finished model came to, for the ledger."""
        return self._auditors[site].close(work, state)

    # --- the record ----------------------------------------------------------------------------------------------

    def record(
        self, events: Sequence[LedgerEvent], found: Verified, *, audits: Sequence[tuple[PrivacyTerms, Verified]] = ()
    ) -> PrivacyRecord:
        """Everything the report shows. events: of the run; found: the export's offline replay.

        audits: terms and replay of each audit of the data that was made with noise before the training.
        """
        method = method_of(self._study, len(self._auditors))
        masked = method == "masks"
        return PrivacyRecord(
            method=method,
            noise=self._chance.source,
            colluders=n_colluders(len(self._auditors)) if masked else 0,
            word_bits=self._study.privacy.word_bits if masked else 0,
            promise=promise_of(self._program),
            rounds=rounds_of(events, found.runs[-1].merges if found.runs else ()),
            spending=spending_of(self._program, found, audits=audits),
            egress=egress_of(self._logs),
            audit=self._audit(),
        )

    def _audit(self) -> AuditRecord | None:
        done = {site: one for site, one in sorted(self._auditors.items()) if one.audit is not None}
        if not done:
            return None
        audits = [one.audit for one in done.values() if one.audit is not None]
        whole = pooled(
            audits,
            inside=[one.inside for one in done.values()],
            outside=[one.outside for one in done.values()],
            control=tuple(np.concatenate([one.control[side] for one in done.values()]) for side in (0, 1)),  # type: ignore[arg-type]
        )
        attacks = [
            *attacks_of(whole),
            *(a for site, one in done.items() if one.audit for a in attacks_of(one.audit, site)),
        ]
        thresholds = thresholds_of(self._study)
        return AuditRecord(
            verdict=together(finding for tier in (0, 1) for finding in whole.findings(tier).values()),
            max_auc=thresholds.auc,
            max_tpr=thresholds.tpr,
            attacks=tuple(attacks),
        )


def attacks_of(audit: SiteAudit, site: str = "") -> tuple[Attack, ...]:
    """The attacks of tiers 0 and 1 as a report shows them."""
    figures: dict[str, tuple[Measure | None, float | None]] = {
        "inversion": (None, None),
        "updates": (_auc(audit.updates), 0.5),
        "model": (_auc(audit.model), 0.5),
        "one-run": (_bound(audit), 0.0),
        "control": (_auc(audit.control), 0.5),
    }
    return tuple(
        Attack(
            tier=tier,
            name=name,
            site=site,
            verdict=finding.verdict,
            reason=finding.reason,
            figure=figures[name][0],
            guessing=figures[name][1],
            needed=finding.needed,
        )
        for tier in (0, 1)
        for name, finding in audit.findings(tier).items()
    )


def _auc(found: Membership | None) -> Measure | None:
    if found is None:
        return None
    n = found.n_members + found.n_others
    return Measure(value=found.auc, low=found.auc_low, high=found.auc_high, n=n, method="AUC, DeLong")


def _bound(audit: SiteAudit) -> Measure:
    bound = audit.guesses.bound(delta=audit.claim.delta)
    return Measure(value=bound, n=audit.guesses.n_coins, method="one-run lower bound on epsilon, 95 %")


def rounds_of(events: Sequence[LedgerEvent], merges: Sequence[Merge]) -> tuple[RoundProtection, ...]:
    """Who is in the sum of each merge, of how many that had committed, and how many answers opened it.

    events: of the run.
    """
    frozen = {event.args["round"]: event.args for event in events if event.name in ("Closed", "Failover")}
    return tuple(
        RoundProtection(
            round=merge.round,
            survivors=merge.contributors,
            frozen=int(str(frozen[merge.round]["frozen"])).bit_count(),
            threshold=int(str(frozen[merge.round]["threshold"])),
        )
        for merge in merges
        if merge.round in frozen
    )


def promise_of(program: Program) -> Promise | None:
    """What a private run promises every patient."""
    terms = program.privacy
    if terms is None:
        return None
    return Promise(
        epsilon=terms.epsilon,
        delta=terms.delta,
        unit=terms.unit,
        mode=terms.mode,
        sample_rate=terms.sample_rate,
        clipping_norm=terms.clipping_norm,
        noise_multiplier=terms.noise_multiplier,
        steps=terms.steps,
    )


def spending_of(
    program: Program, found: Verified, *, audits: Sequence[tuple[PrivacyTerms, Verified]] = ()
) -> tuple[SiteSpending, ...]:
    """What every site has spent, by the ledgers, composed anew; against whom, by the terms of audits and training.

    Sites whose data an audit has cost their place in the training are there as well, with what they spent before.
    """
    terms: dict[int, PrivacyTerms] = {}
    so_far = 0
    for one, chain in audits:
        so_far += len(chain.runs)
        terms[so_far] = one
    last = so_far + max((entry.run for entry in found.privacy.booked), default=len(found.runs))
    if program.privacy is not None:
        terms[last] = program.privacy
    if not terms:
        return ()
    rebuilt = accounts_of([*(chain for _, chain in audits), found])
    return tuple(_spent(one, terms, n_audits=len(audits), last=last) for one in rebuilt)


def _spent(one: Statement, terms: Mapping[int, PrivacyTerms], *, n_audits: int, last: int) -> SiteSpending:
    """terms: by number of a run, those of this simulation or this node's run; last: the training."""
    paid = {run.run: run for run in one.runs}
    against: dict[Against, float] = {
        party: epsilon(
            [e for run in terms.keys() & paid.keys() for e in terms[run].of_first(paid[run].n_rounds, against=party)],
            delta=one.delta,
        )
        for party in ("outsiders", "colluders", "alone")
    }
    parts = [SpentOn(what="audit of the data" if run != last else "training", epsilon=paid[run].epsilon)
             for run in sorted(terms.keys() & paid.keys())]  # fmt: skip
    return SiteSpending(
        site=one.site,
        rounds=paid[last].n_rounds if last in paid else 0,
        outsiders=against["outsiders"],
        colluders=against["colluders"],
        alone=against["alone"],
        total=one.total,
        cap=one.cap,
        delta=one.delta,
        history=tuple(dict.fromkeys(one.history)),  # reserved and spent give the same total twice
        parts=tuple(parts) if n_audits else (),
    )


def egress_of(logs: Mapping[str, EgressLog]) -> tuple[EgressLine, ...]:
    """Everything that left these sites, by site and kind."""
    return tuple(line for site, log in sorted(logs.items()) for line in _left(site, log))


def _left(site: str, log: EgressLog) -> Iterator[EgressLine]:
    for kind, what in sorted({(row.kind, row.what) for row in log.rows()}):
        rows = [row for row in log.rows() if (row.kind, row.what) == (kind, what)]
        yield EgressLine(
            site=site,
            kind=kind,
            what=what,
            receivers=len({receiver for row in rows for receiver in row.receivers}),
            frames=sum(row.n_frames for row in rows),
            bytes=sum(row.n_bytes for row in rows),
            digest=hashlib.sha256(b"".join(bytes.fromhex(row.digest) for row in rows)).hexdigest(),
        )
