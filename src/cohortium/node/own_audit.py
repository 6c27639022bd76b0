"""What an audit between hospitals leaves at one site, made in its worker: verdicts on all, its own suspect records.

    evidence.json    the table all nodes computed, its digest (on the ledger), what every site has shown and the salt
                     with which it had committed it, and who was in which half by the ledger's seed
    suspects.csv     this site's own records, most suspicious first; written for its owner only, sent to nobody
    scores.json      what this site has committed of each of its records; for its own reviewer (`committed.py`)

By agreement evidence.json holds how every site's model ranked the patients of every other, and there is nothing else:
the detector judges sites, no records. Under differential privacy it holds every site's noisy number, and no score was
committed.

Rows are counted from 1 without the header, as they stand in the site's own table.
"""

from __future__ import annotations

import json
from collections.abc import Iterable, Mapping
from dataclasses import asdict
from pathlib import Path
from typing import Any

import numpy as np

from cohortium.core.examples import concatenate
from cohortium.core.parameters import Parameters
from cohortium.core.study import Study
from cohortium.core.verdicts import CODES
from cohortium.errors import UsageError
from cohortium.node.committed import scores_of
from cohortium.node.first_record import first_record
from cohortium.node.keys import write_private
from cohortium.node.own_agreement import tried_of
from cohortium.node.run_folder import EVIDENCE, SCORES, SUSPECTS, draft_of
from cohortium.node.work import Ward, audits
from cohortium.quality.decide import Table
from cohortium.quality.out_of_bag import AuditResult, Record
from cohortium.quality.pool import pool_of
from cohortium.reports.privacy import PrivacyRecord
from cohortium.reports.quality import AuditCost, QualityRecord, SiteVerdict
from cohortium.reports.record import ModelRecord
from cohortium.sim.auditing import (
    auditor_of,
    detector_of,
    first_rows,
    models_of,
    noisy_auditor_of,
    proof_in,
    records_of,
    verdicts_of,
)
from cohortium.sim.comparison import SiteRows
from cohortium.sim.quality import why_silent
from cohortium.swarm.ports import Judged
from cohortium.swarm.program import Program

__all__ = ["audit_record", "judged"]

_HEAD = "row,label,probability,suspicion,why,look_alike\n"


def judged(study: Study, program: Program, state: Parameters) -> tuple[Judged, ...]:
    """The verdict on every site, also one that clears it; nothing of a training, or where labels cannot be judged."""
    if not audits(study) or not program.finished(state):
        return ()
    table = verdicts_of(study.quality, program, state)
    if table.status == "inconclusive":
        return ()
    return tuple(Judged(site=one.site, verdict=CODES[one.kind], evidence=table.digest) for one in table.verdicts)


def audit_record(
    ward: Ward, program: Program, state: Parameters, *, folder: Path, privacy: PrivacyRecord | None = None
) -> str:
    """The site's part of the run's record, as JSON; evidence and suspects are drafted in `folder`. Votes, transfers

    and rounds are added at the node, which sees the ledger.
    """
    study, model, models = ward.study, program.model(state), models_of(program)
    table = verdicts_of(study.quality, program, state)
    told: dict[str, Any] = {**json.loads(table.canonical()), "digest": table.digest.hex()}
    if models is not None:
        told |= tried_of(models, model)
        quality = _quality(study, table, training_steps_ratio=1.0)
    elif (noisy := noisy_auditor_of(program)) is not None:
        rows, known = ward.gathered.rows()[0], noisy.known(model)
        told |= {**noisy.drawing(model), "noise": asdict(known), "evidence": [asdict(e) for e in noisy.evidence(model)]}
        pool = pool_of({program.sites.index(ward.site): records_of(rows)}, most_columns=None)
        write_private(draft_of(folder, SUSPECTS), _listed(noisy.ranked(model, pool), ward, rows).encode())
        quality = _quality(study, table, training_steps_ratio=2.0)
    else:
        rows, auditor = ward.gathered.rows()[0], auditor_of(program)
        pool = pool_of({program.sites.index(ward.site): records_of(rows)})
        found = detector_of(study.quality).result(auditor, model, pool, exchanges=0)
        told |= proof_in(study.quality, program, state)
        write_private(draft_of(folder, SUSPECTS), _suspects(found, ward, rows).encode())
        write_private(draft_of(folder, SCORES), scores_of(auditor, model, pool, rows=_sources(ward, rows)).encode())
        quality = _quality(study, table, training_steps_ratio=found.cost.training_steps_ratio, flagged=found.flagged)
    write_private(draft_of(folder, EVIDENCE), (json.dumps(told, indent=1) + "\n").encode())
    return first_record(
        ward,
        sites=program.sites,
        model=ModelRecord(
            name=study.quality.detector, digest=state.digest.hex(), strategy="exact-sums", n_parameters=0
        ),
        privacy=privacy,
        quality=quality,
    ).to_json()


def _quality(
    study: Study, table: Table, *, training_steps_ratio: float, flagged: Mapping[str, int] | None = None
) -> QualityRecord:
    return QualityRecord(
        status=table.status,
        detector=study.quality.detector,
        on_harm="audit",
        why=why_silent(table),
        sites={
            one.site: SiteVerdict(
                verdict=one.kind,
                posterior=one.posterior,
                reason=one.reason,
                repair=one.repair,
                gain=one.gain,
                look=one.look,
                question=one.question,
                to_sign=one.to_sign,
            )
            for one in table.verdicts
        },
        records_flagged={one.site: (flagged or {}).get(one.site) for one in table.verdicts},
        cost=AuditCost(training_steps_ratio=training_steps_ratio, model_transfers=0),
    )


def _suspects(found: AuditResult, ward: Ward, rows: SiteRows) -> str:
    """The site's own records as a table; only its head where nothing was scored."""
    try:
        records = found.records(ward.site)
    except UsageError:
        return _HEAD
    return _listed(records, ward, rows)


def _listed(records: Iterable[Record], ward: Ward, rows: SiteRows) -> str:
    words = ward.schema.layout().classes or ("0", "1")
    return _HEAD + "".join(_lines(records, _sources(ward, rows), words))


def _sources(ward: Ward, rows: SiteRows) -> list[int]:
    """Where the audited records stand in the site's own table, from 1."""
    cohort, patient = ward.cohort, concatenate([rows.training, rows.calibration, rows.test]).patient
    source = np.concatenate([cohort.sources(part) for part in ("train", "calibration", "test")])[first_rows(patient)]
    return [int(one) + 1 for one in source]


def _lines(records: Iterable[Record], source: list[int], words: tuple[str, ...]) -> Iterable[str]:
    for one in records:
        near = source[one.look_alike] if one.look_alike >= 0 else ""
        label = words[one.label].replace('"', '""')
        label = f'"{label}"' if any(sign in label for sign in ',"\n') else label
        yield f"{source[one.row]},{label},{one.probability:.4f},{one.suspicion:.4f},{one.why},{near}\n"
