"""`study pin`: write into a study what its columns are, so that every site reads the same layout from its own table.

Hospitals of a consortium do not see each other's tables, so nothing may be inferred from all of them together, as a
simulation can. A pinned study declares every column, the outcome last; what the data suggested here is now agreed by
all, and covered by the digest that sites approve. The pinned study is a new file: comments stay in the old one.
"""

from __future__ import annotations

import json
import re
import tomllib
from collections.abc import Mapping
from dataclasses import dataclass, fields
from pathlib import Path
from typing import Any

import numpy as np

from cohortium.core.study import Study
from cohortium.core.study_text import parse_study
from cohortium.data.schema import CohortSchema, Column
from cohortium.data.schema_text import COLUMN_KEYS
from cohortium.data.table import Table
from cohortium.errors import InvariantBroken, UsageError
from cohortium.sim.cohorts import schema_of
from cohortium.sim.inputs import read_study

__all__ = ["Pinned", "pin", "write_pinned"]

_FEW = 5
_BARE = re.compile(r"^[A-Za-z0-9_-]+$")
_HEAD = (
    "# Pinned by cohortium: every site reads these columns from its own table. Check it with: cohortium study check\n"
)
_SINGLE = ("patient", "group", "part")


@dataclass(frozen=True, kw_only=True)
class Pinned:
    """A study with its columns written out. warnings: what the text now tells all sites."""

    study: Study
    schema: CohortSchema
    text: str
    warnings: tuple[str, ...]


def pin(content: Mapping[str, Any], tables: Mapping[str, Table]) -> Pinned:
    """The study with its columns as these tables suggest. content: its TOML file as a mapping; its words are kept.

    Raises StudyError, and DataError where the tables do not fit it.
    """
    study = parse_study(_toml(content))
    schema = schema_of(study, tables)
    named = dict(content["study"], outcome=schema.outcome.name)
    for key in ("features", "exclude"):
        named.pop(key, None)
    cohort = dict(content.get("cohort", {}), rows=schema.rows, bad_records=schema.bad_records)
    cohort |= {role: column.name for role in _SINGLE if (column := schema.the(role)) is not None}  # type: ignore[arg-type]
    declared = [c for c in schema.columns if c.role not in _SINGLE and c.role != "outcome"]
    cohort["columns"] = {column.name: _declared(column) for column in (*declared, schema.outcome)}
    rest = {section: values for section, values in content.items() if section not in ("study", "cohort")}
    text = _HEAD + _toml({"study": named, "cohort": cohort, **rest})
    pinned = parse_study(text)
    if schema_of(pinned, {}).layout() != schema.layout():
        raise InvariantBroken("the pinned study reads another layout than the study it was made of")
    return Pinned(study=pinned, schema=schema, text=text, warnings=tuple(_rare(schema, tables)))


def write_pinned(path: Path, tables: Mapping[str, Table], *, out: Path | None) -> tuple[Path, Pinned]:
    """Pin the study in a file and write it beside it, as `NAME-pinned.toml` or to `out`. Refuses to overwrite."""
    read_study(path, to_pin=True)  # all of its problems at once, with their lines
    made = pin(tomllib.loads(path.read_text(encoding="utf-8-sig")), tables)
    to = out or path.with_name(f"{path.stem}-pinned.toml")
    try:
        with to.open("x", encoding="utf-8") as file:
            file.write(made.text)
    except FileExistsError:
        raise UsageError(f"'{to}' exists already; choose another name with --out, or remove it") from None
    except OSError as error:
        raise UsageError(f"cannot write '{to}': {error.strerror}") from None
    return to, made


def _declared(column: Column) -> dict[str, Any]:
    """The entry of `[cohort.columns]` that reads back as this column."""
    if column.role == "excluded" and column.kind == "text":
        return {"excluded": column.reason or "excluded"}
    default = {field.name: field.default for field in fields(Column)}
    said: dict[str, Any] = {"kind": column.kind}
    for key in COLUMN_KEYS[column.kind]:
        value = getattr(column, key)
        if value != default[key] or key in ("resolution_d", "horizon_d"):
            said[key] = list(value) if isinstance(value, tuple) else value
    if column.role not in ("feature", "outcome"):
        said["role"] = column.role
    if column.required:
        said["missing"] = "required"
    if column.known:
        said["known"] = column.known
    return said


def _rare(schema: CohortSchema, tables: Mapping[str, Table]) -> list[str]:
    """Columns of which the study will name a value that hardly anybody here has. No value, no count."""
    found = []
    for column in schema.columns:
        if column.kind not in ("category", "ordered") or column.role == "excluded":
            continue
        cells = np.concatenate([table.texts(column.name) for table in tables.values() if column.name in table])
        n_rare = sum(0 < int((cells == value).sum()) < _FEW for value in column.values)
        if n_rare:
            values = "a value" if n_rare == 1 else "values"
            found.append(
                f"column '{column.name}': the study now names {values} that fewer than {_FEW} patients here have; "
                "all sites will read it"
            )
    return found


def _toml(content: Mapping[str, Any]) -> str:
    """TOML of sections of plain values; columns one a line."""
    lines = []
    for section, values in content.items():
        columns = values.get("columns") if section == "cohort" else None
        lines.append(f"[{_key(section)}]")
        lines += [f"{_key(key)} = {_value(value)}" for key, value in values.items() if key != "columns"]
        if columns:
            lines.append("[cohort.columns]")
            lines += [f"{_key(name)} = {_value(declared)}" for name, declared in columns.items()]
        lines.append("")
    return "\n".join(lines)


def _key(name: str) -> str:
    return name if _BARE.match(name) else _value(name)


def _value(value: Any) -> str:
    if isinstance(value, Mapping):
        return "{ " + ", ".join(f"{_key(key)} = {_value(inner)}" for key, inner in value.items()) + " }"
    if isinstance(value, list | tuple):
        return "[" + ", ".join(_value(inner) for inner in value) + "]"
    if isinstance(value, str):
        return json.dumps(value, ensure_ascii=False).replace("\x7f", "\\u007f")
    return json.dumps(value) if isinstance(value, bool) else repr(value)
