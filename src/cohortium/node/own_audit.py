"""What an audit between hospitals leaves at one site, made in its worker: verdicts on all, its own suspect records.

    evidence.json    the table all nodes computed, its digest (on the ledger), and what every site's sums said
    suspects.csv     this site's own records, most suspicious first; written for its owner only, sent to nobody

Rows are counted from 1 without the header, as they stand in the site's own table.
"""

from __future__ import annotations

import json
from collections.abc import Iterable, Sequence
from dataclasses import asdict
from pathlib import Path
from typing import Any

import numpy as np

from cohortium.core.examples import concatenate
from cohortium.core.parameters import Parameters
from cohortium.core.study import Study
from cohortium.core.verdicts import CODES
from cohortium.errors import UsageError
from cohortium.node.keys import write_private
from cohortium.node.run_folder import EVIDENCE, SUSPECTS, draft_of
from cohortium.node.work import Ward, audits
from cohortium.quality.out_of_bag import AuditResult, Record
from cohortium.quality.pool import pool_of
from cohortium.reports.privacy import PrivacyRecord
from cohortium.reports.quality import AuditCost, QualityRecord, SiteVerdict
from cohortium.reports.record import LedgerRecord, ModelRecord, RunRecord
from cohortium.sim.auditing import auditor_of, detector_of, first_rows, records_of
from cohortium.sim.cohorts import flow_of
from cohortium.sim.comparison import SiteRows
from cohortium.sim.quality import why_silent
from cohortium.swarm.ports import Judged
from cohortium.swarm.program import Program

__all__ = ["audit_record", "judged"]

_HEAD = "row,label,probability,suspicion,look_alike\n"
_FRAMED = (
    "WARNING: what the table of evidence says of this site is not what this site has sent; somebody wrote into its row."
    " Appeal on the ground 'error', and tell the others"
)


def judged(study: Study, program: Program, state: Parameters) -> tuple[Judged, ...]:
    """The verdict on every site, also one that clears it; nothing of a training, or where labels cannot be judged."""
    if not audits(study) or not program.finished(state):
        return ()
    try:
        table = auditor_of(program).table(program.model(state), detector_of(study.quality).rules)
    except ValueError:  # what no site can have found: somebody wrote into rows of others
        return ()
    if table.status == "inconclusive":
        return ()
    return tuple(Judged(site=one.site, verdict=CODES[one.kind], evidence=table.digest) for one in table.verdicts)


def audit_record(
    ward: Ward, program: Program, state: Parameters, *, folder: Path, privacy: PrivacyRecord | None = None
) -> str:
    """The site's part of the run's record, as JSON; evidence and suspects are drafted in `folder`. Votes, transfers

    and rounds are added at the node, which sees the ledger.
    """
    study, site = ward.study, ward.site
    rows = ward.gathered.rows()[0]
    auditor, model = auditor_of(program), program.model(state)
    pool = pool_of({program.sites.index(site): records_of(rows)})
    told: dict[str, Any] = {"digest": "", "evidence": []}
    try:
        found = detector_of(study.quality).result(auditor, model, pool, exchanges=0)
        told = {**json.loads(found.table.canonical()), "digest": found.table.digest.hex()}
        told["evidence"] = [asdict(one) for one in auditor.evidence(model)]
        quality, listed = _quality(study, found), _suspects(found, ward, rows)
    except ValueError:
        quality, listed = _unreadable(study, program.sites), _HEAD
    write_private(draft_of(folder, EVIDENCE), (json.dumps(told, indent=1) + "\n").encode())
    write_private(draft_of(folder, SUSPECTS), listed.encode())
    framed = () if auditor.agrees(model, pool) else (_FRAMED,)
    record = RunRecord(
        status="",
        outcome=ward.schema.outcome_kind,
        sites=program.sites,
        included=(),
        model=ModelRecord(
            name=study.quality.detector, digest=state.digest.hex(), strategy="exact-sums", n_parameters=0
        ),
        ledger=LedgerRecord(engine="", height=0, head=""),
        seed=study.evaluation.seed,
        versions={},
        seconds=0.0,
        name=study.name,
        study=json.loads(study.canonical()),
        study_digest=study.digest.hex(),
        flow=flow_of(ward.gathered),
        checks=ward.checks,
        privacy=privacy,
        quality=quality,
        notes=(*framed, *ward.cohort.warnings),
    )
    return record.to_json()


def _unreadable(study: Study, sites: Sequence[str]) -> QualityRecord:
    """What is said of a table that cannot be one: nothing of anybody."""
    verdict = SiteVerdict(verdict="keep", posterior=0.0, reason="nothing can be said")
    return QualityRecord(
        status="inconclusive",
        detector=study.quality.detector,
        on_harm="audit",
        why="the table of evidence holds numbers that no site can have found; somebody sent other sums than its own",
        sites=dict.fromkeys(sites, verdict),
        records_flagged=dict.fromkeys(sites),
        cost=AuditCost(training_steps_ratio=0.0, model_transfers=0),
    )


def _quality(study: Study, found: AuditResult) -> QualityRecord:
    return QualityRecord(
        status=found.table.status,
        detector=study.quality.detector,
        on_harm="audit",
        why=why_silent(found.table),
        sites={
            one.site: SiteVerdict(
                verdict=one.kind,
                posterior=one.posterior,
                reason=one.reason,
                repair=one.repair,
                gain=one.gain,
                look=one.look,
                question=one.question,
            )
            for one in found.table.verdicts
        },
        records_flagged={one.site: found.flagged.get(one.site) for one in found.table.verdicts},
        cost=AuditCost(training_steps_ratio=found.cost.training_steps_ratio, model_transfers=0),
    )


def _suspects(found: AuditResult, ward: Ward, rows: SiteRows) -> str:
    """The site's own records as a table; only its head where nothing was scored."""
    cohort = ward.cohort
    try:
        records = found.records(ward.site)
    except UsageError:
        return _HEAD
    patient = concatenate([rows.training, rows.calibration, rows.test]).patient
    source = np.concatenate([cohort.sources(part) for part in ("train", "calibration", "test")])[first_rows(patient)]
    words = ward.schema.layout().classes or ("0", "1")
    return _HEAD + "".join(_lines(records, [int(one) + 1 for one in source], words))


def _lines(records: Iterable[Record], source: list[int], words: tuple[str, ...]) -> Iterable[str]:
    for one in records:
        near = source[one.look_alike] if one.look_alike >= 0 else ""
        label = words[one.label].replace('"', '""')
        label = f'"{label}"' if any(sign in label for sign in ',"\n') else label
        yield f"{source[one.row]},{label},{one.probability:.4f},{one.suspicion:.4f},{near}\n"
