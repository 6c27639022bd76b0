"""The leakage checks L1 to L8 over all sites of a simulation: in their order, each said once, with its sites."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import replace

from cohortium.core.check import Check
from cohortium.core.examples import concatenate
from cohortium.core.study import Study
from cohortium.data.leakage import (
    check_confounding,
    check_features,
    check_fitting,
    check_follow_up,
    check_parts,
    check_patient_key,
    check_shortcut,
    check_time_zero,
    check_timing,
    class_counts,
)
from cohortium.errors import DataError
from cohortium.sim.cohorts import Gathered

__all__ = ["leakage_checks", "refuse_leaks"]


def leakage_checks(study: Study, gathered: Gathered) -> list[Check]:
    """Every finding, L1 first; sites are named where they differ. Nothing of a patient but counts."""
    known = study.study.acknowledged
    schema, rows = gathered.schema, gathered.rows()
    training = {one.site: one.training for one in rows if len(one.training)}
    parts = {
        one.site: check_parts(
            {"train": one.training, "calibration": one.calibration, "test": one.test}, acknowledged=known
        )
        for one in rows
    }
    checks = _by_sites(parts) + _by_sites(_patient_keys(study, gathered))
    if training:
        together = concatenate(list(training.values()))
        checks += check_features(together, acknowledged=known)
        checks += check_time_zero(together, acknowledged=known)
        checks += check_shortcut(training)
        if schema.outcome_kind == "survival":
            checks += check_follow_up(training)
        checks += check_confounding({site: class_counts(examples) for site, examples in training.items()})
    checks += check_timing(
        [column.name for column in schema.features],
        outcome=schema.outcome.sources,
        survival=schema.outcome_kind == "survival",
        known={column.name: column.known for column in schema.features if column.known},
        predict_at=schema.predict_at,
        acknowledged=known,
    )
    return _in_order([*checks, *check_fitting()])


def refuse_leaks(checks: Iterable[Check]) -> None:
    """Raise DataError with every failed check, one sentence a line."""
    failed = [f"{one.id}: {one.found}" + (f"; {one.fix}" if one.fix else "") for one in checks if one.level == "fail"]
    if failed:
        raise DataError("\n".join(failed))


def _patient_keys(study: Study, gathered: Gathered) -> dict[str, list[Check]]:
    """What each site's text columns say of undeclared patient keys; the outcome is none."""
    outcome = gathered.schema.outcome.sources
    return {
        site: check_patient_key(
            {
                name: [value or None for value in table.texts(name).tolist()]
                for name in table.names
                if name not in outcome and table.is_text(name)
            },
            patient=study.cohort.patient or "",
            acknowledged=study.study.acknowledged,
        )
        for site, table in gathered.tables.items()
    }


def _in_order(checks: Sequence[Check]) -> list[Check]:
    """By their names. Where nothing is wrong one sentence says all that was looked for; else only what is wrong."""
    ordered: list[Check] = []
    for name in sorted({check.id for check in checks}):
        same = [check for check in checks if check.id == name]
        wrong = [check for check in same if check.level in ("warn", "fail")]
        best = next((check for check in same if check.level == "ok"), same[0])
        found = "; ".join(dict.fromkeys([best.found, *(check.found for check in same)]))
        ordered += wrong or [replace(best, found=found)]
    return ordered


def _by_sites(found: Mapping[str, list[Check]]) -> list[Check]:
    """The same sentence of several sites becomes one; `ok` only where it holds everywhere."""
    sites: dict[Check, list[str]] = {}
    for site, checks in found.items():
        for check in checks:
            sites.setdefault(check, []).append(site)
    bad = [check for check in sites if check.level != "ok"]
    kept = bad or list(sites)
    return [
        check
        if len(sites[check]) == len(found)
        else Check(id=check.id, level=check.level, found=f"{', '.join(sites[check])}: {check.found}", fix=check.fix)
        for check in kept
    ]
