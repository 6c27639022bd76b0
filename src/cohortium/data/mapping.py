"""`SiteMapping`: how one site's columns, units and codes become the agreed ones; read from its cohort.toml.

The file never leaves the site; its digest is in the run record.
"""

from __future__ import annotations

import difflib
import hashlib
import json
import re
import tomllib
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, field
from functools import cached_property
from typing import Any

from cohortium.core.study_text import key_lines
from cohortium.data.csv_reader import MISSING_MARKERS, CsvFormat
from cohortium.data.schema import CohortSchema
from cohortium.errors import Problem, StudyError

__all__ = ["MAX_MAPPING_BYTES", "SiteColumn", "SiteMapping", "parse_mapping"]

MAX_MAPPING_BYTES = 1 << 20

_SOURCE = ("file", "delimiter", "decimal", "encoding", "missing")
_COLUMN = ("column", "unit", "values")


@dataclass(frozen=True, kw_only=True)
class SiteColumn:
    """Where an agreed column is found here: the site's own name, unit and codes."""

    column: str
    unit: str = ""
    values: Mapping[str, str] = field(default_factory=dict)


@dataclass(frozen=True, kw_only=True)
class SiteMapping:
    """One site's cohort.toml. columns: agreed name -> where it is found; others keep their names."""

    file: str = ""
    form: CsvFormat = field(default_factory=CsvFormat)
    columns: Mapping[str, SiteColumn] = field(default_factory=dict)

    def source(self, name: str) -> SiteColumn:
        """Where the agreed column is found at this site."""
        return self.columns.get(name) or SiteColumn(column=name)

    def problems(self, schema: CohortSchema, lines: Mapping[str, int] | None = None) -> tuple[Problem, ...]:
        """Entries that map to no agreed column or to no agreed value."""
        agreed = {source: column for column in schema.columns for source in (column.name, *column.sources)}
        found = []
        for name, entry in self.columns.items():
            key = f"columns.{name}"
            line = (lines or {}).get(key)
            if name not in agreed:
                near = difflib.get_close_matches(name, agreed, n=1, cutoff=0.6)
                guess = f"; did you mean '{near[0]}'?" if near else f"; agreed: {', '.join(list(agreed)[:20])}"
                found.append(Problem(key, f"the study has no column '{name}'{guess}", line))
                continue
            known = agreed[name].values
            wrong = sorted({value for value in entry.values.values() if value not in known}) if known else []
            found += [
                Problem(key, f"'{value}' is no agreed value; agreed: {', '.join(known)}", line) for value in wrong
            ]
        return tuple(found)

    @cached_property
    def digest(self) -> bytes:
        """SHA-256 over every entry (32 bytes)."""
        content = {"file": self.file, "form": asdict(self.form)}
        content["columns"] = {name: asdict(column) for name, column in self.columns.items()}
        return hashlib.sha256(b"cohortium-mapping-1" + json.dumps(content, sort_keys=True).encode()).digest()


def parse_mapping(text: str, *, path: str = "cohort.toml", schema: CohortSchema | None = None) -> SiteMapping:
    """The mapping in a TOML text. Raises StudyError with every problem and its line.

    schema: checked against, when given.
    """
    if len(text.encode()) > MAX_MAPPING_BYTES:
        raise StudyError([Problem("", f"the file is larger than {MAX_MAPPING_BYTES} bytes")], path=path)
    try:
        content = tomllib.loads(text)
    except tomllib.TOMLDecodeError as error:
        line = re.search(r"at line (\d+)", str(error))
        problem = Problem("", f"not valid TOML: {error}", int(line[1]) if line else None)
        raise StudyError([problem], path=path) from None
    lines = key_lines(text)
    problems = _unknown(content, ("source", "columns"), "", lines)
    source, columns = content.get("source", {}), content.get("columns", {})
    problems += _source_problems(source, lines)
    problems += _columns_problems(columns, lines)
    if problems:
        raise StudyError(problems, path=path)
    mapping = SiteMapping(file=source.get("file", ""), form=_form(source), columns=_columns(columns))
    if schema is not None and (wrong := mapping.problems(schema, lines)):
        raise StudyError(wrong, path=path)
    return mapping


def _source_problems(source: object, lines: Mapping[str, int]) -> list[Problem]:
    if not isinstance(source, Mapping):
        return [Problem("source", "expected a table", lines.get("source"))]
    problems = _unknown(source, _SOURCE, "source.", lines)
    for key, value in source.items():
        fits = isinstance(value, list) if key == "missing" else isinstance(value, str)
        if key in _SOURCE and (not fits or (key == "missing" and not all(isinstance(v, str) for v in value))):
            expected = "a list of texts" if key == "missing" else "text"
            problems.append(
                Problem(f"source.{key}", f"expected {expected}, got {value!r:.40}", lines.get(f"source.{key}"))
            )
    if not problems:
        try:
            _form(source)
        except ValueError as error:
            key = str(error).split()[0]
            problems.append(Problem(f"source.{key}", str(error), lines.get(f"source.{key}")))
    return problems


def _columns_problems(columns: object, lines: Mapping[str, int]) -> list[Problem]:
    if not isinstance(columns, Mapping):
        return [Problem("columns", "expected a table", lines.get("columns"))]
    problems = []
    for name, entry in columns.items():
        key = f"columns.{name}"
        line = lines.get(key)
        if isinstance(entry, str):
            continue
        if not isinstance(entry, Mapping):
            problems.append(Problem(key, "expected the site's column name, or a table", line))
            continue
        problems += _unknown(entry, _COLUMN, f"{key}.", {**lines, **{f"{key}.{k}": line for k in entry if line}})
        for option in ("column", "unit"):
            if not isinstance(entry.get(option, ""), str):
                problems.append(Problem(f"{key}.{option}", f"expected text, got {entry[option]!r:.40}", line))
        values = entry.get("values", {})
        if not isinstance(values, Mapping) or not all(isinstance(value, str) for value in values.values()):
            problems.append(Problem(f"{key}.values", "expected a table from the site's codes to agreed values", line))
    return problems


def _unknown(content: Mapping[str, Any], known: Sequence[str], prefix: str, lines: Mapping[str, int]) -> list[Problem]:
    problems = []
    for key in content:
        if key not in known:
            near = difflib.get_close_matches(key, known, n=1, cutoff=0.6)
            guess = f"; did you mean '{near[0]}'?" if near else f"; known here: {', '.join(sorted(known))}"
            problems.append(Problem(f"{prefix}{key}", f"unknown key '{key}'{guess}", lines.get(f"{prefix}{key}")))
    return problems


def _form(source: Mapping[str, Any]) -> CsvFormat:
    return CsvFormat(
        encoding=source.get("encoding", "utf-8"),
        delimiter=source.get("delimiter"),
        decimal=source.get("decimal"),
        missing=tuple(source["missing"]) if "missing" in source else MISSING_MARKERS,
    )


def _columns(columns: Mapping[str, Any]) -> dict[str, SiteColumn]:
    entries: dict[str, dict[str, Any]] = {
        name: {"column": entry} if isinstance(entry, str) else dict(entry) for name, entry in columns.items()
    }
    return {
        name: SiteColumn(column=entry.get("column", name), unit=entry.get("unit", ""), values=entry.get("values", {}))
        for name, entry in entries.items()
    }
