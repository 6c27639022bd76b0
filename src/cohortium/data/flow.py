"""What became of a site's rows: read, skipped and blanked by rule, kept. Never a patient's value.

Row numbers (from 1, after the header) are for the site's own eyes; `shared` gives the counts that may
leave it, with "<5" for small ones.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal

__all__ = ["MIN_CELL", "Action", "Finding", "Flow", "describe_rows"]

MIN_CELL = 5
"""Smallest count that is told to others."""

Action = Literal["blank", "skip", "refuse", "note"]


@dataclass(frozen=True)
class Finding:
    """One rule that met some rows of one column.

    rule: a stable word, e.g. `negative_time`. what: plural noun phrase. expected: the other half of the
    sentence. rows: row numbers from 1. action: `note` = kept, told.
    """

    rule: str
    column: str
    what: str
    expected: str
    rows: tuple[int, ...]
    action: Action

    @property
    def count(self) -> int:
        """Rows met."""
        return len(self.rows)

    @property
    def sentence(self) -> str:
        """For the site: `column 'os_months': 14 negative times (rows 3, 8, 21, ...); follow-up must be >= 0`."""
        where = f"column '{self.column}': " if self.column else ""
        return f"{where}{self.count} {self.what} ({describe_rows(self.rows)}); {self.expected}"


@dataclass(frozen=True, kw_only=True)
class Flow:
    """Rows of one site from file to cohort. n_read = n_kept + all skipped rows."""

    n_read: int
    n_kept: int
    findings: tuple[Finding, ...] = ()
    absent: tuple[str, ...] = ()

    @property
    def skipped(self) -> dict[str, int]:
        """Rule -> rows left out (a row may be met by several rules)."""
        return self._counts("skip")

    @property
    def blanked(self) -> dict[str, int]:
        """Rule -> values set to missing."""
        return self._counts("blank")

    @property
    def sentences(self) -> tuple[str, ...]:
        """What the site is told, with row numbers."""
        done = {"skip": "skipped", "blank": "set to missing", "note": "kept", "refuse": "refused"}
        return tuple(f"{finding.sentence} ({done[finding.action]})" for finding in self.findings)

    def shared(self) -> dict[str, int | str]:
        """What others are told: counts by rule, small ones as "<5"."""
        counts = {"read": self.n_read, "kept": self.n_kept}
        counts |= {f"skipped {rule}": n for rule, n in self.skipped.items()}
        counts |= {f"blanked {rule}": n for rule, n in self.blanked.items()}
        return {name: count if count == 0 or count >= MIN_CELL else f"<{MIN_CELL}" for name, count in counts.items()}

    def _counts(self, action: Action) -> dict[str, int]:
        counts: dict[str, int] = {}
        for finding in self.findings:
            if finding.action == action:
                counts[finding.rule] = counts.get(finding.rule, 0) + finding.count
        return counts


def describe_rows(rows: Sequence[int]) -> str:
    """`row 3`, `rows 3, 8`, or `rows 3, 8, 21, ...`."""
    shown = ", ".join(str(row) for row in rows[:3])
    return f"row{'' if len(rows) == 1 else 's'} {shown}{', ...' if len(rows) > 3 else ''}"
