"""What became of a site's rows: read, skipped and blanked by rule, kept. Never a patient's value.

Row numbers (from 1, after the header) are for the site's own eyes; `shared` gives the counts that may
leave it, with "<5" for small ones.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal

import numpy as np
from numpy.typing import NDArray

__all__ = ["MIN_CELL", "RULES", "Action", "Finding", "Flow", "Rule", "describe_rows", "find"]

MIN_CELL = 5
"""Smallest count that is told to others."""

Action = Literal["blank", "skip", "note"]


@dataclass(frozen=True)
class Rule:
    """What is said of one row, of several, what was expected, and what becomes of the value or row.

    impossible: stops a study whose schema says `bad_records = "refuse"`.
    """

    one: str
    many: str
    expected: str
    action: Action
    impossible: bool = False


RULES = {
    "bad_event": Rule(
        "impossible event code", "impossible event codes",
        "expected 0 (censored), 1 (event), 2, ... (competing)", "skip", True),
    "bad_image": Rule(
        "image with non-finite pixels", "images with non-finite pixels", "expected finite pixels", "skip"),
    "entry_after_time": Rule(
        "entry not before its end", "entries not before their ends", "entry must be < time", "skip", True),
    "long_time": Rule("time beyond 150 years", "times beyond 150 years", "is the unit right?", "skip", True),
    "missing_outcome": Rule("row without outcome", "rows without outcome", "such rows teach nothing", "skip"),
    "missing_patient": Rule("row without a patient", "rows without a patient", "every row needs one", "skip"),
    "negative_time": Rule("negative time", "negative times", "follow-up must be >= 0", "skip", True),
    "non_finite": Rule("non-finite value", "non-finite values", "expected finite numbers", "blank", True),
    "not_a_count": Rule("value that is no count", "values that are no counts", "expected 0, 1, 2, ...", "blank"),
    "out_of_range": Rule("value out of range", "values out of range", "expected the agreed range", "blank"),
    "same_patient": Rule(
        "row of a patient seen before", "rows of patients seen before", "expected one row per patient", "skip", True),
    "text_for_number": Rule(
        "text where a number is due", "texts where a number is due", "expected numbers", "blank", True),
    "unknown_value": Rule("unknown value", "unknown values", "expected the agreed values", "blank"),
    "zero_time": Rule("zero time", "zero times", "counted as half a time step", "note"),
}  # fmt: skip
"""Every rule a row can meet (clinical-learning.md 1.3)."""


@dataclass(frozen=True, kw_only=True)
class Finding:
    """A rule that met some rows of one column. rows: numbers from 1. Nothing of a patient but that."""

    rule: str
    column: str
    rows: tuple[int, ...]
    expected: str
    action: Action

    @property
    def count(self) -> int:
        """Rows met."""
        return len(self.rows)

    @property
    def sentence(self) -> str:
        """For the site: `column 'os_months': 14 negative times (rows 3, 8, 21, ...); follow-up must be >= 0`."""
        rule = RULES[self.rule]
        what = rule.one if self.count == 1 else rule.many
        return f"column '{self.column}': {self.count} {what} ({describe_rows(self.rows)}); {self.expected}"


def find(
    rule: str, column: str, where: NDArray[np.bool_], *, expected: str = "", action: Action | None = None
) -> list[Finding]:
    """The finding of a rule that met the rows `where`, or nothing. expected, action: else the rule's own."""
    if not where.any():
        return []
    rows = tuple((np.flatnonzero(where) + 1).tolist())
    known = RULES[rule]
    return [
        Finding(rule=rule, column=column, rows=rows, expected=expected or known.expected, action=action or known.action)
    ]


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
        done = {"skip": "skipped", "blank": "set to missing", "note": "kept"}
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
