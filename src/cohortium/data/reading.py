"""A table read against a schema: every column encoded, every rule applied, every problem gathered.

What cannot be trusted at all is refused in one DataError, one sentence a line, the site named in each;
everything else is blanked or skipped and counted. `cohort` makes the Cohort out of what is left.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace
from typing import Any, Literal

import numpy as np
from numpy.typing import NDArray

from cohortium.data.encoding import Encoded, encode
from cohortium.data.flow import RULES, Finding, find
from cohortium.data.mapping import SiteMapping
from cohortium.data.patients import Keys, content_keys, identifier_keys
from cohortium.data.schema import CohortSchema, Column, Role
from cohortium.data.table import Table
from cohortium.errors import DataError

__all__ = ["MAX_BLANK", "MAX_SKIPPED", "Reading"]

MAX_SKIPPED = 0.20
MAX_BLANK = 0.50

_IDENTIFYING: tuple[Role, ...] = ("patient", "group")


class Reading:
    """One site's table, encoded. Raises DataError when a whole column or the table cannot be used."""

    def __init__(self, table: Table, schema: CohortSchema, site: str, mapping: SiteMapping) -> None:
        self.table, self.schema, self.site, self.mapping = table, schema, site, mapping
        self.values: dict[str, NDArray[Any]] = {}
        self.masks: dict[str, NDArray[np.bool_]] = {}
        self.findings: list[Finding] = []
        problems = self._look()
        absent: list[str] = []
        for column in (*schema.features, schema.outcome, *schema.with_role("subgroup")):
            try:
                encoded = encode(table, column, mapping)
            except DataError as error:
                problems.append(str(error))
                continue
            absent += encoded.absent
            self._take(column, encoded)
        self.absent = tuple(absent)
        gone = set(absent)
        problems += [f"no column '{name}'" + self._found() for name in self._outcome_sources() if name in gone]
        problems += self._none_of_the_features()
        if problems:
            self.refuse(problems)

    def _look(self) -> list[str]:
        problems = []
        for role in _IDENTIFYING:
            column = self.schema.the(role)
            if column is not None and self.mapping.source(column.name).column not in self.table:
                problems.append(f"no {role} column '{self.mapping.source(column.name).column}'" + self._found())
        if len(self.table) == 0:
            problems.append("no rows")
        return problems

    def _take(self, column: Column, encoded: Encoded) -> None:
        """Keep what was read; an outcome that would be blanked skips its row instead."""
        self.values |= encoded.values
        self.masks[column.name] = encoded.missing
        outcome = column.role == "outcome"
        self.findings += [replace(f, action="skip") if outcome and f.action == "blank" else f for f in encoded.findings]

    def _found(self) -> str:
        return f"; found: {', '.join(self.table.names[:20])}"

    def _outcome_sources(self) -> tuple[str, ...]:
        return tuple(self.mapping.source(name).column for name in self.schema.outcome.sources)

    def _none_of_the_features(self) -> list[str]:
        there = [c for c in self.schema.features if c.name in self.masks and not self.masks[c.name].all()]
        if there or len(self.table) == 0:
            return []
        return [f"none of the {len(self.schema.features)} features has a value" + self._found()]

    def texts(self, role: Literal["patient", "group", "part"]) -> NDArray[np.str_] | None:
        """The texts of the column with this role, None where there is none."""
        column = self.schema.the(role)
        name = "" if column is None else self.mapping.source(column.name).column
        return self.table.texts(name) if name in self.table else None

    def kept_rows(self, secret: bytes) -> tuple[NDArray[np.bool_], Keys]:
        """Which rows stay, and the patient key of every row of the table."""
        n, outcome = len(self.table), self.schema.outcome.name
        gone = self.masks[outcome].copy()
        named = {row - 1 for finding in self.findings if finding.action == "skip" for row in finding.rows}
        plain = np.array([row not in named for row in range(n)], dtype=np.bool_)
        self.findings += find("missing_outcome", outcome, gone & plain)
        for name, mask in self.masks.items():
            if self.schema[name].kind == "image":
                gone |= mask
        identifiers = self.texts("patient")
        if identifiers is None:
            keys = content_keys(_row_bytes(self.schema, self.values, self.masks), secret)
        else:
            column = self.schema.the("patient")
            name = column.name if column else ""
            unknown = np.asarray(identifiers == "")
            self.findings += find("missing_patient", name, unknown & ~gone)
            gone |= unknown
            keys = identifier_keys(identifiers, secret)
            if self.schema.rows == "patients":
                again = _repeats(keys, ~gone)
                self.findings += find("same_patient", name, again)
                gone |= again
        self._refuse_impossible()
        self._refuse_too_many(int(gone.sum()))
        return ~gone, keys

    def _refuse_impossible(self) -> None:
        if self.schema.bad_records == "refuse":
            found = [finding.sentence for finding in self.findings if RULES[finding.rule].impossible]
            if found:
                self.refuse(found)

    def _refuse_too_many(self, n_skipped: int) -> None:
        n = len(self.table)
        rules = ", ".join(f"{f.rule} {f.count}" for f in self.findings if f.action == "skip")
        if n_skipped == n:
            self.refuse([f"no row is left of {n} ({rules})"])
        if n_skipped > MAX_SKIPPED * n:
            self.refuse([f"{n_skipped} of {n} rows skipped ({rules}); at most 20 % may be"])

    def check_required(self, masks: Mapping[str, NDArray[np.bool_]]) -> None:
        """Refuse a required column that is more than half empty."""
        sentences = [
            f"column '{column.name}': {int(masks[column.name].sum())} of {len(masks[column.name])} values missing; "
            "it is required, at most half may be"
            for column in self.schema.features
            if column.required and masks[column.name].mean() > MAX_BLANK
        ]
        if sentences:
            self.refuse(sentences)

    def refuse(self, sentences: Sequence[str]) -> None:
        """One DataError with all sentences, the site named in each."""
        raise DataError("\n".join(f"site '{self.site}': {sentence}" for sentence in sentences))


def _repeats(keys: Keys, looked_at: NDArray[np.bool_]) -> NDArray[np.bool_]:
    seen: set[bytes] = set()
    again = np.zeros(len(keys), dtype=np.bool_)
    for row in np.flatnonzero(looked_at).tolist():
        again[row] = keys[row] in seen
        seen.add(keys[row])
    return again


def _row_bytes(
    schema: CohortSchema, values: Mapping[str, NDArray[Any]], masks: Mapping[str, NDArray[np.bool_]]
) -> NDArray[np.uint8]:
    """The features of every row as bytes, shape (n, bytes): equal rows, equal bytes."""
    pieces: list[NDArray[np.uint8]] = []
    for column in schema.features:
        numbers = values[column.name]
        plain = numbers + 0.0 if numbers.dtype.kind == "f" else numbers  # -0.0 is 0.0
        held = np.ascontiguousarray(plain).reshape(len(masks[column.name]), -1)
        pieces += [held.view(np.uint8), masks[column.name].astype(np.uint8)[:, None]]
    return np.ascontiguousarray(np.concatenate(pieces, axis=1))
