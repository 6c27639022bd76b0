"""The release gate: all three tiers of a run's audit together, and who signed where they leave the question open.

`audit.json` beside `run.json` holds what came of it. A model that fails is not released by anybody's word; an open
verdict needs a person, by name.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import msgspec

from cohortium.core.foreign_json import read_json
from cohortium.core.study import Study
from cohortium.data.table import Table
from cohortium.errors import DataError, PolicyRefused, UsageError, VerificationFailed
from cohortium.privacy.leakage.verdict import Finding, Verdict, together
from cohortium.reports.privacy import Attack, AuditRecord
from cohortium.reports.record import plain
from cohortium.sim.deep_audit import deep_audit
from cohortium.sim.folder import write_whole
from cohortium.sim.results import read_record

__all__ = ["Release", "audit_release", "read_release"]

FORMAT = "cohortium-audit/1"
_FILE = "audit.json"
_MAX_BYTES = 16 << 20
_MAX_NAME = 100


@dataclass(frozen=True, kw_only=True)
class Release:
    """The audit of one model. model: digest (hex). references: models trained for tier 2, 0 where it was not made.

    released_by: who decided where the verdict is open; empty otherwise.
    """

    model: str
    audit: AuditRecord
    references: int = 0
    released_by: str = ""

    @property
    def sentence(self) -> str:
        """The last line of the command."""
        tiers = "tiers 0 to 2" if self.references else "tiers 0 and 1"
        signed = f"; released by {self.released_by}" if self.released_by else ""
        return f"{self.audit.verdict} ({tiers}){signed}"

    def document(self) -> dict[str, Any]:
        """For `--json` and `audit.json`."""
        return {"format": FORMAT, **plain(self)}

    def refuse(self) -> None:
        """Raise VerificationFailed for a model that leaks, PolicyRefused for an open verdict nobody has signed."""
        worst = [a for a in self.audit.attacks if a.verdict == self.audit.verdict and a.name != "prevalence"]
        why = f"{worst[0].name}: {worst[0].reason}" if worst else "no attack was made"
        if self.audit.verdict == "fail":
            raise VerificationFailed(
                f"the model fails its audit: {why}", hint="train with privacy.dp, or do not release it"
            )
        if self.audit.verdict == "inconclusive" and not self.released_by:
            needed = max((a.needed or 0 for a in worst), default=0)
            more = f"; about {needed:,} patients would decide" if needed else ""
            raise PolicyRefused(
                f"the audit is inconclusive: {why}{more}",
                hint='releasing it is a decision: --release "NAME" writes who took it into audit.json',
            )


def audit_release(
    folder: Path,
    tables: Mapping[str, Table] | None,
    *,
    references: int | None = None,
    released_by: str = "",
    approve: Callable[[Study], None] = lambda study: None,
    say: Callable[[str], None] = lambda text: None,
) -> Release:
    """Tiers 0 and 1 of the record, tier 2 where the tables are given; written to `audit.json` in the folder.

    Without tables an earlier tier 2 of the same model stands.
    """
    if len(released_by) > _MAX_NAME or not released_by.isprintable():
        raise UsageError(f"--release takes a name of at most {_MAX_NAME} printable characters")
    record = read_record(folder / "run.json")
    held = record.privacy.audit if record.privacy is not None else None
    if held is None:
        raise UsageError(
            f"run '{folder}' holds no audit of tiers 0 and 1: it has no model, or an older version made it"
        )
    attacks: Sequence[Attack] = [one for one in held.attacks if not one.site]
    n, earlier = 0, read_release(folder)
    if tables is None and earlier is not None and earlier.model == record.model.digest:
        attacks, n = earlier.audit.attacks, earlier.references
    if tables is not None:
        deep = deep_audit(folder, tables, references=references, approve=approve, say=say)
        attacks, n = [*attacks, *deep.attacks], deep.references
    verdict: Verdict = together(
        Finding(verdict=one.verdict, reason=one.reason) for one in attacks if one.name != "prevalence"
    )
    signed = released_by if verdict == "inconclusive" else ""
    release = Release(
        model=record.model.digest,
        audit=replace(held, verdict=verdict, attacks=tuple(attacks)),
        references=n,
        released_by=signed,
    )
    write_whole(folder / _FILE, [(json.dumps(release.document(), indent=1, sort_keys=True) + "\n").encode()])
    return release


def read_release(folder: Path) -> Release | None:
    """What `audit.json` holds, None where there is none. Raises DataError for something else."""
    path = folder / _FILE
    if not path.is_file():
        return None
    try:
        if path.stat().st_size > _MAX_BYTES:
            raise ValueError(f"larger than {_MAX_BYTES} bytes")
        content = read_json(path.read_bytes(), max_depth=16)
        if not isinstance(content, dict) or content.pop("format", None) != FORMAT:
            raise ValueError(f"not of the form {FORMAT}")
        return msgspec.convert(content, Release)
    except (ValueError, msgspec.ValidationError) as error:
        raise DataError(f"audit '{path}': {error}") from None
