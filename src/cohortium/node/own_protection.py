"""What protects one site's patients in one run, in its worker: purse, watch and audit, as in a simulation, for real.

The book of what was spent lies in the home and outlives every run; new data inherit all spending unless this site's
own keyed patient hashes prove other patients. The salt of a data version comes from the site's key for its patients, so
that the same table is known again and nobody else can test a guess.
"""

from __future__ import annotations

import hmac
import os
from collections.abc import Collection, Mapping
from pathlib import Path
from typing import Any

from cohortium.core.exchange import n_colluders
from cohortium.core.parameters import Parameters
from cohortium.core.randomness import Chance
from cohortium.ledger.archive import verify
from cohortium.node.work import Ward, ward_work
from cohortium.privacy.dp.purse import Purse
from cohortium.privacy.he.terms import method_of
from cohortium.privacy.leakage.verdict import together
from cohortium.reports.privacy import AuditRecord, PrivacyRecord
from cohortium.sim.protection import attacks_of, promise_of, spending_of
from cohortium.sim.purses import patients_of, purse_of
from cohortium.sim.site_auditor import SiteAuditor, thresholds_of
from cohortium.swarm.book import DiskBook
from cohortium.swarm.ports import Audited
from cohortium.swarm.program import Program

__all__ = ["Guarding", "open_purse"]


def open_purse(
    ward: Ward,
    program: Program,
    book: DiskBook,
    *,
    secret: bytes,
    consortium: str,
    allowed: Mapping[str, Any],
    announced: Collection[str],
) -> Purse | None:
    """The site's budget in a run, None where the run promises nothing. secret: the site's key for its patients.

    allowed: total, run (None: no cap of a run), accept_weak_privacy, when_short. announced: handles of this site's data
    versions that the ledger has heard of.
    """
    return purse_of(
        book,
        patients_of(ward.gathered)[ward.site],
        ward.study,
        program,
        site=ward.site,
        consortium=consortium,
        salt=hmac.digest(secret, b"salt of the data version", "sha256"),
        entropy=os.urandom,
        allowed=allowed,
        announced=announced,
    )


class Guarding:
    """The site's own attacks in one run: `watch` on every update before it leaves, `audit` on the finished model."""

    def __init__(self, ward: Ward, program: Program) -> None:
        rows = ward.gathered.rows()[0]
        shuffled = Chance(ward.study.evaluation.seed).stream("audit", ward.site).permutation
        self._ward, self._program = ward, program
        self._auditor = SiteAuditor(ward.study, program, held_out=rows.test, shuffled=shuffled)
        self.watch = self._auditor.watch

    def audit(self, state: Parameters, memory: Parameters) -> tuple[Audited, ...]:
        """Attack the finished model; what the ledger is told of it."""
        work = ward_work(self._ward, sites=self._program.sites)
        work.restore(memory)
        return self._auditor.close(work, state)

    def record(self, ledger: Path) -> PrivacyRecord:
        """Privacy of the run as this site can show it. ledger: the exported chain."""
        study, program = self._ward.study, self._program
        method = method_of(study, len(program.sites))
        masked = method == "masks"
        return PrivacyRecord(
            method=method,
            noise="operating system",
            colluders=n_colluders(len(program.sites)) if masked else 0,
            word_bits=study.privacy.word_bits if masked else 0,
            promise=promise_of(program),
            spending=spending_of(program, verify(ledger, evm=False)) if program.privacy is not None else (),
            audit=self._audit(),
        )

    def _audit(self) -> AuditRecord | None:
        found = self._auditor.audit
        if found is None:
            return None
        thresholds = thresholds_of(self._ward.study)
        return AuditRecord(
            verdict=together(finding for tier in (0, 1) for finding in found.findings(tier).values()),
            max_auc=thresholds.auc,
            max_tpr=thresholds.tpr,
            attacks=attacks_of(found, self._ward.site),
        )
