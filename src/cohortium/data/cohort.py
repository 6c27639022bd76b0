"""`Cohort`: one site's rows in the agreed kinds, with patient keys and parts; it never leaves the site.

`build_cohort` reads a table against the schema: bad values are blanked, bad rows skipped, both counted in
`flow`; what cannot be trusted at all is refused in one DataError that holds every problem. A learner gets
`cohort.examples("train")`: a copy, through which no other row can be reached.
"""

from __future__ import annotations

import hashlib
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from functools import cached_property
from types import MappingProxyType
from typing import Any, Literal

import numpy as np
from numpy.typing import NDArray

from cohortium.core.examples import Examples
from cohortium.data.flow import Flow
from cohortium.data.mapping import SiteMapping
from cohortium.data.matrix import feature_matrix, image_array, subgroup_codes
from cohortium.data.parts import PARTS, Part, PartBook, Split, draw_folds, draw_parts, published_parts
from cohortium.data.patients import Keys, patient_index
from cohortium.data.reading import Reading
from cohortium.data.schema import CohortSchema, Column
from cohortium.data.table import Table
from cohortium.errors import DataError, Problem

__all__ = ["Cohort", "build_cohort", "check_cohorts"]

_UNIT_WORDS = {
    "d": {"day", "days"},
    "weeks": {"week", "weeks", "wk", "wks"},
    "months": {"month", "months", "mths"},
    "years": {"year", "years", "yr", "yrs"},
}


@dataclass(frozen=True, kw_only=True, eq=False)
class Cohort:
    """One site's kept rows, all arrays of equal length n.

    columns: agreed name -> stored values (0 where missing; a survival outcome as name/time, name/event,
    name/entry, times in days). masks: name -> True where missing. parts: index into PARTS per row.
    keys: patient key per row. groups: text per row, or None. warnings: sentences for the site. source: where each row
    stands in the table it was read from, from 0; None: nothing was skipped.
    """

    site: str
    schema: CohortSchema
    columns: Mapping[str, NDArray[Any]]
    masks: Mapping[str, NDArray[np.bool_]]
    parts: NDArray[np.int8]
    keys: Keys
    flow: Flow
    groups: NDArray[np.str_] | None = None
    warnings: tuple[str, ...] = ()
    source: NDArray[np.int64] | None = None

    def __post_init__(self) -> None:
        for held in (*self.columns.values(), *self.masks.values(), self.parts):
            held.flags.writeable = False
        object.__setattr__(self, "columns", MappingProxyType(dict(self.columns)))
        object.__setattr__(self, "masks", MappingProxyType(dict(self.masks)))

    def __len__(self) -> int:
        return len(self.parts)

    def rows(self, part: Part | Literal["all"]) -> NDArray[np.int64]:
        """Row numbers (from 0) of one part, or of all."""
        if part == "all":
            return np.arange(len(self), dtype=np.int64)
        if part not in PARTS:
            raise ValueError(f"part must be one of {', '.join(PARTS)} or all, got {part!r}")
        return np.flatnonzero(self.parts == PARTS.index(part))

    def n_rows(self, part: Part | Literal["all"] = "all") -> int:
        """Rows of one part."""
        return len(self.rows(part))

    def sources(self, part: Part | Literal["all"]) -> NDArray[np.int64]:
        """Where the rows of one part stand in the table they were read from, from 0."""
        rows = self.rows(part)
        return rows if self.source is None else self.source[rows]

    def places(self) -> dict[str, list[int]]:
        """Where training rows, and those that train nothing, stand in that table, from 1 without its header."""
        held_out = (*self.sources("calibration"), *self.sources("test"))
        return {
            "training": [int(row) + 1 for row in self.sources("train")],
            "held_out": [int(row) + 1 for row in held_out],
        }

    def examples(self, part: Part | Literal["all"]) -> Examples:
        """What a learner sees of one part: copies; NaN = missing; categories as 0/1 columns."""
        rows, schema = self.rows(part), self.schema
        outcome, layout = schema.outcome, schema.layout()
        image = layout.image is not None
        survival = layout.outcome == "survival"
        entry = self.columns.get(f"{outcome.name}/entry")
        return Examples(
            layout=layout,
            x=(image_array if image else feature_matrix)(schema, self.columns, self.masks, rows),
            y=None if survival else self.columns[outcome.name][rows].astype(np.float64),
            time=self.columns[f"{outcome.name}/time"][rows] if survival else None,
            event=self.columns[f"{outcome.name}/event"][rows] if survival else None,
            entry=None if entry is None else entry[rows],
            patient=self._patients[rows],
            subgroups={s.name: subgroup_codes(schema, s, self.columns, self.masks)[rows] for s in schema.subgroups},
        )

    @cached_property
    def _patients(self) -> NDArray[np.int64]:
        return patient_index(self.keys)

    @property
    def book(self) -> PartBook:
        """Who is in which part, to be kept at the site for later data versions."""
        return PartBook(dict(zip(self.keys, self.parts.tolist(), strict=True)))

    def folds(self, k: int, *, seed: int = 0) -> NDArray[np.int64]:
        """Fold 0..k-1 per row, by patient, stratified like the parts."""
        return draw_folds(self.keys, _strata(self.schema, self.columns, self.groups), k, seed=seed)

    def fold(self, number: int, k: int, *, seed: int = 0) -> Cohort:
        """The same rows with fold `number` of `k` as test part; calibration rows outside it stay."""
        test = self.folds(k, seed=seed) == number
        parts = np.where(test, 2, np.where(self.parts == 1, 1, 0)).astype(np.int8)
        return replace(self, parts=parts)

    @cached_property
    def digest(self) -> bytes:
        """SHA-256 over site, schema, values, masks and parts (32 bytes)."""
        state = hashlib.sha256(b"cohortium-cohort-1" + self.site.encode() + b"\x00" + self.schema.digest)
        for name in sorted(self.columns):
            values = self.columns[name]
            state.update(f"{len(name)}:{name}:{values.dtype.name}:{values.shape}:".encode())
            state.update(np.ascontiguousarray(values, dtype=values.dtype.newbyteorder("<")).tobytes())
        for name in sorted(self.masks):
            state.update(f"{len(name)}:{name}:".encode() + np.packbits(self.masks[name]).tobytes())
        state.update(self.parts.tobytes())
        return state.digest()


def build_cohort(
    table: Table,
    schema: CohortSchema,
    *,
    site: str,
    secret: bytes,
    split: Split | None = None,
    mapping: SiteMapping | None = None,
    earlier: PartBook | None = None,
) -> Cohort:
    """One site's cohort.

    secret: the site's own key for patient keys. mapping: its cohort.toml. earlier: parts drawn before.
    Raises DataError, one sentence a line: no rows; outcome or patient column absent; none of the features;
    more than 20 % of the rows skipped; a required column more than half empty; with
    `bad_records = "refuse"` also anything impossible (negative times, non-finite values, texts where a
    number is due, a patient twice).
    """
    mapping = mapping or SiteMapping()
    reading = Reading(table, schema, site, mapping)
    keep, keys = reading.kept_rows(secret)
    values = {name: column[keep] for name, column in reading.values.items()}
    masks = {name: mask[keep] for name, mask in reading.masks.items()}
    reading.check_required(masks)
    keys = tuple(key for key, kept in zip(keys, keep.tolist(), strict=True) if kept)
    groups = reading.texts("group")
    groups = None if groups is None else groups[keep]
    drawn = draw_parts(keys, _strata(schema, values, groups), split or Split(), earlier=earlier).parts
    parts = np.array([drawn[key] for key in keys], dtype=np.int8)
    if (words := reading.texts("part")) is not None:
        column = schema.the("part")
        published = published_parts(words[keep], column=column.name if column else "part")
        parts = np.where(published < 0, parts, published).astype(np.int8)
    flow = Flow(n_read=len(table), n_kept=len(keys), findings=tuple(reading.findings), absent=reading.absent)
    cohort = Cohort(
        site=site, schema=schema, columns=values, masks=masks, parts=parts, keys=keys, flow=flow, groups=groups,
        source=np.flatnonzero(keep).astype(np.int64),
    )  # fmt: skip
    return replace(cohort, warnings=_warnings(cohort))


def check_cohorts(cohorts: Sequence[Cohort]) -> None:
    """Refuse a study nobody can learn from: one class, or no event, over the training rows of all sites."""
    if not cohorts:
        raise DataError("no site has a cohort")
    kind = cohorts[0].schema.outcome_kind
    if kind not in ("binary", "classes", "survival"):
        return
    seen = {value for cohort in cohorts for value in _outcomes_seen(cohort)}
    if kind == "survival" and not seen - {0}:
        sentence = f"no event among the training rows of all {len(cohorts)} sites; nothing to learn from"
        raise DataError.about([Problem("study.outcome", sentence)])
    if kind != "survival" and len(seen) < 2:
        sentence = (
            f"outcome '{cohorts[0].schema.outcome.name}': one class only in the training rows of all "
            f"{len(cohorts)} sites; nothing to learn from"
        )
        raise DataError.about([Problem("study.outcome", sentence)])


def _strata(schema: CohortSchema, values: Mapping[str, NDArray[Any]], groups: NDArray[np.str_] | None) -> list[str]:
    outcome, kind = schema.outcome.name, schema.outcome_kind
    if kind == "survival":
        result = values[f"{outcome}/event"]
    elif kind in ("binary", "classes"):
        result = values[outcome]
    else:
        result = np.zeros(len(values[outcome]), dtype=np.int8)
    words = groups.tolist() if groups is not None else [""] * len(result)
    return [f"{code}:{word}" for code, word in zip(result.tolist(), words, strict=True)]


def _unit_in_name(outcome: Column) -> str:
    """A sentence where the name of the time column says another unit than the study."""
    words = set(re.split(r"[^a-z]+", outcome.time.lower()))
    named = [unit for unit, forms in _UNIT_WORDS.items() if words & forms]
    if not named or outcome.unit in named:
        return ""
    read, says = ("days" if unit == "d" else unit for unit in (outcome.unit, named[0]))
    return f"column '{outcome.time}' is read in {read}, but its name says {says}; set the outcome's unit"


def _outcomes_seen(cohort: Cohort) -> set[int]:
    name = cohort.schema.outcome.name
    held = cohort.columns[f"{name}/event" if cohort.schema.outcome_kind == "survival" else name]
    return set(np.unique(held[cohort.rows("train")]).tolist())


def _warnings(cohort: Cohort) -> tuple[str, ...]:
    found = []
    absent = [column.name for column in cohort.schema.features if cohort.masks[column.name].all()]
    if absent:
        found.append(
            f"site '{cohort.site}': no values for {', '.join(absent[:10])}{', ...' if len(absent) > 10 else ''}"
        )
    kind, seen = cohort.schema.outcome_kind, _outcomes_seen(cohort)
    if kind == "survival" and (said := _unit_in_name(cohort.schema.outcome)):
        found.append(f"site '{cohort.site}': {said}")
    if kind == "survival" and not seen - {0}:
        found.append(f"site '{cohort.site}': no event among its training rows; it learns from the others")
    if kind in ("binary", "classes") and len(seen) < 2:
        found.append(f"site '{cohort.site}': one class only among its training rows; it learns from the others")
    return tuple(found)
