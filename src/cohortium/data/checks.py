"""Preflight of a site's table against a study: can it be read, does it fit the schema, who is in it twice.

    checks, cohort = cohort_checks(table, schema, site="porto", secret=..., split=...)

For the site's own eyes, and still without a patient's value: columns and counts, counts under five as "<5".
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path

from cohortium.core.check import Check
from cohortium.core.examples import Examples
from cohortium.data.cohort import Cohort, build_cohort
from cohortium.data.flow import MIN_CELL, RULES, Finding
from cohortium.data.leakage import check_parts
from cohortium.data.mapping import SiteMapping
from cohortium.data.parts import PARTS, Split
from cohortium.data.readers import SUFFIXES
from cohortium.data.schema import CohortSchema
from cohortium.data.table import Table
from cohortium.errors import DataError

__all__ = ["check_file", "cohort_checks", "discreet"]

_SMALL = re.compile(rf"(?<![\w.,'<-])[1-{MIN_CELL - 1}](?![\w.'-]|,\d)")
_ROWS = re.compile(r" \(rows? [\d, .]+\)")
_UNITS = ("long_time", "negative_time", "not_a_count", "out_of_range")
_FIX = {
    "duplicate-patients": 'keep one row per patient, or agree on cohort.rows = "visits"',
    "units": "compare this column's unit with the study's; say the site's own unit in cohort.toml",
    "schema": "correct the table, or map its columns and words in cohort.toml",
}


def check_file(path: Path | None) -> Check:
    """Whether the table can be read at all."""
    if path is None:
        found = "no table is named, so this node trains on nothing"
        return Check(id="table", level="warn", found=found, fix='table = "FILE" in [data] of node.toml')
    if path.suffix.lower() not in SUFFIXES:
        found = f"'{path}' is of no known kind"
        return Check(id="table", level="fail", found=found, fix=f"known: {', '.join(SUFFIXES)}")
    try:
        with path.open("rb") as file:
            file.read(1)
    except OSError as error:
        found = f"'{path}' cannot be read: {error.strerror}"
        fix = "correct table in [data] of node.toml, or the rights of the file (the node's user must read it)"
        return Check(id="table", level="fail", found=found, fix=fix)
    return Check(id="table", level="ok", found=f"'{path}' can be read")


def cohort_checks(
    table: Table,
    schema: CohortSchema,
    *,
    site: str,
    secret: bytes,
    split: Split,
    mapping: SiteMapping | None = None,
    acknowledged: Mapping[str, str] | None = None,
) -> tuple[list[Check], Cohort | None]:
    """Schema, records, duplicate patients, units and the split; the cohort where there is one."""
    try:
        cohort = build_cohort(table, schema, site=site, secret=secret, split=split, mapping=mapping)
    except DataError as error:
        return [_refused(line.removeprefix(f"site '{site}': ")) for line in str(error).splitlines()], None
    checks = [_noted(finding) for finding in cohort.flow.findings]
    if not any(check.id == "schema" for check in checks):
        checks.insert(0, _fits(cohort))
    if not any(check.id == "duplicate-patients" for check in checks):
        checks.append(Check(id="duplicate-patients", level="ok", found="no patient has a row too many"))
    parts: dict[str, Examples] = {part: cohort.examples(part) for part in PARTS}
    checks += [replace(check, id="split") for check in check_parts(parts, acknowledged=acknowledged or {})]
    return [discreet(check) for check in checks], cohort


def discreet(check: Check) -> Check:
    """The same without row numbers and with counts under five as "<5"."""
    said = [_SMALL.sub(f"<{MIN_CELL}", _ROWS.sub("", text)) for text in (check.found, check.fix)]
    return replace(check, found=said[0], fix=said[1])


def _fits(cohort: Cohort) -> Check:
    found = f"the table fits the schema: {_count(len(cohort))} rows, {len(cohort.schema.features)} columns"
    if cohort.flow.absent:
        found += f"; absent here: {', '.join(cohort.flow.absent)}"
        return Check(id="schema", level="warn", found=found, fix=_FIX["schema"])
    return Check(id="schema", level="ok", found=found)


def _refused(sentence: str) -> Check:
    kind = _kind_of(sentence)
    return discreet(Check(id=kind, level="fail", found=sentence, fix=_FIX[kind]))


def _kind_of(sentence: str) -> str:
    for name, rule in RULES.items():
        if f" {rule.one} " in sentence or f" {rule.many} " in sentence or f"{name} " in sentence:
            return _kind(name)
    return "schema"


def _kind(rule: str) -> str:
    return "duplicate-patients" if rule == "same_patient" else "units" if rule in _UNITS else "schema"


def _noted(finding: Finding) -> Check:
    kind, rule = _kind(finding.rule), RULES[finding.rule]
    done = {"skip": "skipped", "blank": "set to missing", "note": "kept"}[finding.action]
    what = rule.one if finding.count == 1 else rule.many
    found = f"column '{finding.column}': {_count(finding.count)} {what} ({done}); {finding.expected}"
    return Check(id=kind, level="ok" if finding.action == "note" else "warn", found=found, fix=_FIX[kind])


def _count(n: int) -> str:
    return str(n) if n == 0 or n >= MIN_CELL else f"<{MIN_CELL}"
