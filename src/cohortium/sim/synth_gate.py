"""What stands behind `synth gate`: a site asks before it gives a table away, and others check what it was told.

The verdict file says pass or fail, of which bytes and under which study; the findings stay at the site.
"""

from __future__ import annotations

import hashlib
import json
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from cohortium.core.foreign_json import read_json
from cohortium.core.study import Study
from cohortium.data.readers import read
from cohortium.errors import DataError, UsageError, VerificationFailed
from cohortium.sim.cohorts import schema_of
from cohortium.sim.synth_tables import rows_of_file, without_column
from cohortium.synth.federate.gate import GateVerdict, gate
from cohortium.synth.study import facts_of, plan_of
from cohortium.synth.validation.distances import same_patients

__all__ = ["Asked", "ask_gate", "check_verdict"]

_FORMAT = "cohortium-gate/1"


@dataclass(frozen=True, kw_only=True)
class Asked:
    """The verdict on one table under one study."""

    verdict: GateVerdict
    study: bytes

    def file(self) -> bytes:
        """What may leave the site: no finding, no figure."""
        said = {
            "format": _FORMAT,
            "table": self.verdict.subject.hex(),
            "study": self.study.hex(),
            "passed": self.verdict.passed,
        }
        return (json.dumps(said, sort_keys=True) + "\n").encode()

    def document(self) -> dict[str, Any]:
        """For `--json`, at the site."""
        return {
            **json.loads(self.file()),
            "reason": self.verdict.reason,
            "findings": dict(self.verdict.findings),
        }


def ask_gate(
    study: Study, *, training: Path, reserve: Path, table: Path, site_column: str | None = None, seed: int = 0
) -> Asked:
    """Judge a table against a site's own patients. Raises UsageError, StudyError or DataError."""
    plan = plan_of(study)
    held = {name: without_column(read(path), site_column) for name, path in
            (("training", training), ("reserve", reserve), ("table", table))}  # fmt: skip
    facts = facts_of(study, schema_of(study, {"training": held["training"], "reserve": held["reserve"]}))
    rows = {name: rows_of_file(one, facts, study, name=name, site_column=site_column) for name, one in held.items()}
    if same_patients(rows["reserve"], rows["training"]):
        raise DataError(
            f"reserve '{reserve}': half or more of its rows also stand in '{training}'; give patients that"
            " trained nothing"
        )
    if same_patients(rows["table"], rows["reserve"]):
        raise DataError(f"table '{table}': half or more of its rows stand in '{reserve}'; is it the right file?")
    verdict = gate(
        rows["training"],
        rows["reserve"],
        rows["table"],
        subject=_digest(table),
        seed=seed,
        attack_risk_max=plan.validation.attack_risk_max,
    )
    return Asked(verdict=verdict, study=study.digest)


def check_verdict(study: Study, *, table: Path, verdict: Path) -> None:
    """Whether this verdict was given to this table under this study, and passed. Raises VerificationFailed."""
    try:
        said = read_json(verdict.read_bytes(), max_depth=2)
        found = (said["format"], said["table"], said["study"], said["passed"])
    except OSError as error:
        raise UsageError(f"cannot read verdict '{verdict}': {error.strerror}") from None
    except (ValueError, KeyError, TypeError):
        raise DataError(f"'{verdict}' is no verdict of `cohortium synth gate`") from None
    if found[0] != _FORMAT:
        raise DataError(f"verdict '{verdict}': format {found[0]!r:.40}, expected {_FORMAT!r}")
    if found[1] != _digest(table).hex():
        raise VerificationFailed(f"verdict '{verdict}' was given to another table than '{table}'; ask the gate anew")
    if found[2] != study.digest.hex():
        raise VerificationFailed(f"verdict '{verdict}' was given under another study than '{study.name}'")
    if found[3] is not True:
        raise VerificationFailed(f"table '{table}' did not pass the gate of its site")


def _digest(table: Path) -> bytes:
    try:
        return hashlib.sha256(table.read_bytes()).digest()
    except OSError as error:
        raise UsageError(f"cannot read table '{table}': {error.strerror}") from None
