"""The part of a run's record that every run has, before the node adds what the ledger and the others say."""

from __future__ import annotations

import json
from collections.abc import Sequence
from typing import Any

from cohortium.node.work import Ward
from cohortium.reports.privacy import PrivacyRecord
from cohortium.reports.record import LedgerRecord, ModelRecord, RunRecord
from cohortium.sim.cohorts import flow_of

__all__ = ["first_record"]


def first_record(
    ward: Ward,
    *,
    sites: Sequence[str],
    model: ModelRecord,
    privacy: PrivacyRecord | None,
    notes: Sequence[str] = (),
    **more: Any,
) -> RunRecord:
    """Study, sites, the ward's flow of patients and checks. more: fields of `RunRecord` that one kind of run has."""
    study = ward.study
    return RunRecord(
        status="",
        outcome=ward.schema.outcome_kind,
        sites=tuple(sites),
        included=(),
        model=model,
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
        notes=(*notes, *ward.cohort.warnings),
        **more,
    )
