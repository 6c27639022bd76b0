"""The short form: a schema from the data themselves, for a study that names only its outcome.

Deterministic and shown to the user before anything trains. Kinds: two different numbers make a flag,
more a number, text a category of all values found, in sorted order. Left out, each with a reason: text of
more than 20 values, or another one in each row, and columns of a single value.
Nobody has agreed what an impossible value means here, so the schema says `bad_records = "refuse"`.
"""

from __future__ import annotations

import difflib
from collections.abc import Mapping, Sequence
from dataclasses import replace
from typing import Any, Literal

import numpy as np

from cohortium.data.flow import find
from cohortium.data.parts import PARTS
from cohortium.data.schema import DAYS_PER, DEFAULT_HORIZON_D, BadRecords, CohortSchema, Column, Role
from cohortium.data.schema_text import parse_column, parse_subgroups, schema_from_study
from cohortium.data.table import Table, is_code, number_text, parse_number
from cohortium.errors import DataError, Problem

__all__ = ["MAX_INFERRED_VALUES", "agreed_schema", "infer_schema", "is_pinned"]

MAX_INFERRED_VALUES = 20
MAX_STRAYS = 0.2
"""A text column is taken for numbers with mistakes when at most this share of its cells is no number."""
MIN_NUMBERS = 10
"""... and it holds more different numbers than a scale or a stage would."""
PART_COLUMN = "part"
"""A column of this name that holds nothing but train, calibration and test is a published split."""
_OUTCOME = "study.outcome"
_LEAST_CELLS = 12
_CELLS_D = (DAYS_PER["months"], DAYS_PER["weeks"], DAYS_PER["d"], DAYS_PER["d"] / 24)
"""Time cells of a survival outcome: the coarsest that divides the longest follow-up into a dozen or so. In months,
28 days on a ward would be one cell, in which nobody dies before anybody else."""


def infer_schema(
    tables: Mapping[str, Table],
    *,
    outcome: str | Mapping[str, str],
    features: Sequence[str] | None = None,
    exclude: Sequence[str] = (),
    patient: str | None = None,
    group: str | None = None,
    part: str | None = None,
    subgroups: Sequence[str] = (),
    columns: Mapping[str, Column] | None = None,
    rows: Literal["patients", "visits"] = "patients",
    bad_records: BadRecords = "refuse",
    predict_at: str = "",
) -> CohortSchema:
    """The schema of a study in its short form.

    tables: site -> its table. outcome: a column, or {time, event[, entry][, unit]}.
    features: the only columns to learn from; exclude: columns to leave out. columns: declared ones, which win.
    patient, group, part: columns with an identifier, a scanner or ward, a published split.
    rows, bad_records, predict_at: as in `CohortSchema`; impossible values are refused unless the study says `skip`.
    Raises DataError with one sentence for every problem: outcome absent, time without event, numbers at
    one site and text at another.
    """
    found = _Inference(tables, dict(columns or {})).schema(
        outcome, features, exclude, {"patient": patient, "group": group, "part": part}, subgroups
    )
    return replace(found, rows=rows, bad_records=bad_records, predict_at=predict_at)


def agreed_schema(content: Mapping[str, Any], tables: Mapping[str, Table], *, path: str = "study") -> CohortSchema:
    """The schema of a study file, whichever form it has. content: the file as a mapping.

    The full contract where it is pinned; else the short form, in which declared columns win over what the data suggest.
    """
    if is_pinned(content):
        return schema_from_study(content, path=path)
    study, cohort = content.get("study", {}), content.get("cohort", {})
    declared: Mapping[str, Any] = cohort.get("columns", {})
    return infer_schema(
        tables,
        outcome=study.get("outcome"),
        features=study.get("features"),
        exclude=study.get("exclude") or (),
        patient=cohort.get("patient"),
        group=cohort.get("group"),
        part=cohort.get("part"),
        subgroups=cohort.get("subgroups") or (),
        columns={name: parse_column(name, column) for name, column in declared.items()},
        rows=cohort.get("rows") or "patients",
        bad_records=cohort.get("bad_records") or "refuse",
        predict_at=cohort.get("predict_at") or "",
    )


def is_pinned(content: Mapping[str, Any]) -> bool:
    """Whether a study says all of its columns, so that its schema depends on nobody's table.

    It does when `[cohort.columns]` declares the outcome and `[study]` names no features.
    """
    study, outcome = content.get("study", {}), content.get("study", {}).get("outcome")
    source = outcome.get("time") if isinstance(outcome, Mapping) else outcome
    declared = content.get("cohort", {}).get("columns", {})
    return source in declared and not study.get("features") and not study.get("exclude")


class _Inference:
    """What is gathered while the columns are looked at: the tables, and every problem found."""

    def __init__(self, tables: Mapping[str, Table], declared: dict[str, Column]) -> None:
        self.tables = {site: tables[site] for site in sorted(tables)}
        self.declared = declared
        self.names = tuple(dict.fromkeys(name for table in self.tables.values() for name in table.names))
        self.problems: list[Problem] = []

    def schema(
        self,
        outcome: str | Mapping[str, str],
        features: Sequence[str] | None,
        exclude: Sequence[str],
        roles: Mapping[str, str | None],
        subgroups: Sequence[str],
    ) -> CohortSchema:
        if not self.tables:
            raise DataError("no site has a table")
        result = self._survival(outcome) if isinstance(outcome, Mapping) else self._outcome(outcome)
        for key, names in {"study.features": features or (), "study.exclude": exclude}.items():
            for name in names:
                self._known(name, key)
        special = {name: role for role, name in roles.items() if name}
        for name, role in special.items():
            self._known(name, f"cohort.{role}")
        taken = set(result.sources) if result else set()
        if not roles["part"] and self._is_published_split(PART_COLUMN):
            special[PART_COLUMN] = "part"
        asked = parse_subgroups(subgroups)
        looked_at = {subgroup.column for subgroup in asked}
        held = []
        for name in self.names:
            if name in taken:
                continue
            if name in special:
                held.append(Column(name=name, kind="text", role=_role(special[name])))
            elif name in exclude or (features is not None and name not in features):
                reason = "excluded by the study" if name in exclude else "not among the study's features"
                held.append(self._apart(name, reason, looked_at))
            else:
                held.append(self.declared.get(name) or self._feature(name))
        if self.problems or result is None:
            raise DataError.about(self.problems)
        held = _images_alone(held, explicit=features is not None)
        return CohortSchema(columns=(*held, result), subgroups=asked, bad_records="refuse")

    def _is_published_split(self, name: str) -> bool:
        held = [table.texts(name) for table in self.tables.values() if name in table and table.is_text(name)]
        return bool(held) and set(np.unique(np.concatenate(held)).tolist()) <= {"", *PARTS}

    def _wrong(self, message: str, key: str = "") -> None:
        """Note a problem. key: of the study, where it asks for what the tables do not have."""
        self.problems.append(Problem(key, message))

    def _known(self, name: str, key: str) -> bool:
        if name in self.names:
            return True
        near = difflib.get_close_matches(name, self.names, n=1, cutoff=0.6)
        guess = f"; did you mean '{near[0]}'?" if near else f"; found: {', '.join(self.names[:20])}"
        self._wrong(f"no column '{name}' at any site{guess}", key)
        return False

    def _everywhere(self, name: str) -> bool:
        """Whether all sites have the outcome's column; says which do not."""
        if not self._known(name, _OUTCOME):
            return False
        without = [site for site, table in self.tables.items() if name not in table]
        if without:
            self._wrong(f"outcome column '{name}': missing at {', '.join(without)}; every site needs it", _OUTCOME)
        return not without

    def _survival(self, outcome: Mapping[str, str]) -> Column | None:
        unknown = sorted(set(outcome) - {"time", "event", "entry", "unit"})
        if unknown:
            self._wrong(f"outcome: unknown key '{unknown[0]}'; known: time, event, entry, unit", _OUTCOME)
        for key in ("time", "event"):
            if not outcome.get(key):
                self._wrong(f"outcome: survival needs time and event columns, '{key}' is missing", _OUTCOME)
        unit = outcome.get("unit") or "d"
        if unit not in DAYS_PER:
            self._wrong(f"outcome: unit '{unit}' is unknown; known: {', '.join(DAYS_PER)}", _OUTCOME)
        sources = [outcome[key] for key in ("time", "event", "entry") if outcome.get(key)]
        found = [self._everywhere(name) for name in sources]
        numeric = [self._numeric(name) for name, known in zip(sources, found, strict=True) if known]
        if self.problems or not all(numeric):
            return None
        longest = max(float(np.nanmax(t.column(sources[0]), initial=0.0)) for t in self.tables.values())
        days = longest * DAYS_PER[unit] if np.isfinite(longest) else 0.0
        cell = next((one for one in _CELLS_D if days > one * (_LEAST_CELLS - 1)), _CELLS_D[0])
        dozen = _LEAST_CELLS * cell
        return Column(
            name=sources[0],
            kind="survival",
            role="outcome",
            unit=unit,
            time=sources[0],
            event=sources[1],
            entry=outcome.get("entry") or "",
            resolution_d=cell,
            horizon_d=min(max(float(np.ceil(days / dozen)), 1.0) * dozen, 5 * DEFAULT_HORIZON_D),
        )

    def _outcome(self, name: str) -> Column | None:
        if name in self.declared and self.declared[name].role == "outcome":
            return self.declared[name]
        if not self._everywhere(name):
            return None
        found = self._feature(name)
        if found.role == "excluded":
            self._wrong(f"outcome column '{name}': {found.reason}; expected two classes, a few, or numbers", _OUTCOME)
            return None
        if found.kind in ("image", "block", "fingerprint"):
            self._wrong(f"outcome column '{name}': holds an array per row; expected one value", _OUTCOME)
            return None
        return Column(name=name, kind=found.kind, role="outcome", values=found.values)

    def _numeric(self, name: str) -> bool:
        text = [s for s, table in self.tables.items() if name in table and table.is_text(name)]
        if text:
            self._wrong(f"column '{name}': holds text at {', '.join(text)}; expected numbers")
        return not text

    def _apart(self, name: str, reason: str, looked_at: set[str]) -> Column:
        """A column learners do not see; it may still divide the patients into subgroups."""
        if name in looked_at:
            found = self.declared.get(name) or self._feature(name)
            if found.role != "excluded":
                return Column(name=name, kind=found.kind, role="subgroup", values=found.values)
        return Column(name=name, kind="text", role="excluded", reason=reason)

    def _feature(self, name: str) -> Column:
        held = {site: table for site, table in self.tables.items() if name in table}
        if any(table.is_array(name) for table in held.values()):
            return self._array(name, held)
        filled = {site: table for site, table in held.items() if not table.missing(name).all()}
        text = [site for site, table in filled.items() if table.is_text(name)]
        if text and len(text) < len(filled):
            rest = [site for site in filled if site not in text]
            if not self._strays(name, {site: filled[site] for site in text}):
                self._wrong(
                    f"column '{name}': holds text at {', '.join(text)} and numbers at {', '.join(rest)}; "
                    "expected numbers everywhere, or declare the column"
                )
            return _out(name, "text and numbers")
        if not text:
            return _from_numbers(name, filled)
        return _out(name, "text and numbers") if self._strays(name, filled) else _from_text(name, filled)

    def _strays(self, name: str, tables: Mapping[str, Table]) -> bool:
        """Whether a column of text is one of numbers but for a few cells; says where they are."""
        found: list[str] = []
        n_cells = n_strays = 0
        numbers: set[float] = set()
        for site, table in tables.items():
            words = table.texts(name)
            meant = {word: parse_number(word) for word in np.unique(words).tolist() if word}
            if any(is_code(word) for word in meant):
                return False
            stray = np.isin(words, [word for word, number in meant.items() if number is None])
            n_cells, n_strays = n_cells + int((words != "").sum()), n_strays + int(stray.sum())
            numbers |= {number for number in meant.values() if number is not None}
            found += [f"site '{site}': {f.sentence}" for f in find("text_for_number", name, stray)]
        few = n_strays <= MAX_STRAYS * n_cells and len(numbers) > MIN_NUMBERS
        if few:
            self.problems += [Problem("", f"{sentence}; correct them, or declare the column") for sentence in found]
        return few

    def _array(self, name: str, held: Mapping[str, Table]) -> Column:
        shapes = {table.column(name).shape[1:] for table in held.values() if table.is_array(name)}
        if len(shapes) > 1 or not all(table.is_array(name) for table in held.values()):
            self._wrong(f"column '{name}': arrays of different shape at different sites")
            return _out(name, "arrays of different shape")
        shape = next(iter(shapes))
        if len(shape) == 1:
            packed = next(iter(held.values())).column(name).dtype == np.uint8
            kind, n = ("fingerprint", 8 * shape[0]) if packed else ("block", shape[0])
            return Column(name=name, kind="fingerprint" if packed else "block", n=n) if kind else _out(name, "")
        if len(shape) > 3:
            return _out(name, f"arrays of {len(shape)} dimensions")
        channels, height, width = shape if len(shape) == 3 else (1, *shape)
        return Column(name=name, kind="image", shape=(channels, height, width))


def _from_text(name: str, tables: Mapping[str, Table]) -> Column:
    cells = np.concatenate([table.column(name) for table in tables.values()])
    cells = cells[cells != ""]
    values = np.unique(cells)
    if len(values) > MAX_INFERRED_VALUES or (len(values) == len(cells) and len(values) > 2):
        return _out(name, f"text of {'one value per row' if len(values) == len(cells) else f'{len(values)} values'}")
    if len(values) < 2:
        return _out(name, "a single value")
    return Column(name=name, kind="category", values=tuple(values.tolist()))


def _from_numbers(name: str, tables: Mapping[str, Table]) -> Column:
    seen = np.unique(np.concatenate([np.zeros(0), *(np.unique(table.column(name)) for table in tables.values())]))
    values = seen[~np.isnan(seen)]
    if len(values) < 2:
        return _out(name, "a single value" if len(values) else "no value at any site")
    if len(values) == 2 and np.isfinite(values).all():
        return Column(name=name, kind="flag", values=(number_text(values[0]), number_text(values[1])))
    return Column(name=name, kind="number")


def _images_alone(columns: Sequence[Column], *, explicit: bool) -> list[Column]:
    """Beside an image, columns nobody asked for are left out: image and table are not yet learned together."""
    if explicit or not any(column.kind == "image" for column in columns):
        return list(columns)
    reason = "image and table are not learned together in this release"
    return [_out(c.name, reason) if c.role == "feature" and c.kind != "image" else c for c in columns]


def _out(name: str, reason: str) -> Column:
    return Column(name=name, kind="text", role="excluded", reason=reason)


def _role(name: str) -> Role:
    roles: dict[str, Role] = {"patient": "patient", "group": "group", "part": "part"}
    return roles[name]
