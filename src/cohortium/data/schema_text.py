"""From a study's `[study] outcome` and `[cohort]` table to a `CohortSchema`, all problems at once.

The `[cohort]` table: `patient`, `group`, `part` name columns; `rows`, `predict_at`, `bad_records`,
`subgroups`; and `columns.NAME = { kind = ..., ... }` with the keys listed in `COLUMN_KEYS`. Keys that steer
preparations or parts (`fill`, `scale`, `ranges`, `split`) are read elsewhere and passed over here.
"""

from __future__ import annotations

import difflib
import re
from collections.abc import Mapping, Sequence
from dataclasses import replace
from typing import Any, get_args

from cohortium.data.schema import BadRecords, CohortSchema, Column, Kind, Role, Subgroup
from cohortium.data.table import number_text
from cohortium.errors import DataError, Problem, StudyError

__all__ = ["COLUMN_KEYS", "parse_column", "parse_subgroups", "schema_from_study"]

COLUMN_KEYS: dict[str, tuple[str, ...]] = {
    "number": ("unit", "range", "quantity"),
    "count": ("unit", "range"),
    "days": ("range",),
    "flag": ("values",),
    "category": ("values",),
    "ordered": ("values",),
    "survival": ("time", "event", "entry", "unit", "resolution_d", "horizon_d"),
    "block": ("prefix", "n", "names", "names_digest", "transform", "range"),
    "fingerprint": ("n",),
    "image": ("shape",),
    "text": (),
}
_COMMON = ("kind", "role", "missing", "known", "excluded")
_COHORT = ("patient", "group", "part", "rows", "predict_at", "bad_records", "subgroups", "columns")
_ELSEWHERE = ("fill", "ranges", "scale", "split")
_TYPES: dict[str, type | tuple[type, ...]] = {
    "unit": str, "quantity": str, "time": str, "event": str, "entry": str, "prefix": str, "names_digest": str,
    "transform": str, "known": str, "excluded": str, "role": str, "missing": str, "kind": str,
    "range": list, "values": list, "names": list, "shape": list,
    "n": int, "resolution_d": (int, float), "horizon_d": (int, float),
}  # fmt: skip
_SUBGROUP = re.compile(r"^(?P<column>[^:]+?)(?::(?P<cuts>.+))?$")
_CUT = re.compile(
    r"^(?:<\s*(?P<below>-?[\d.]+)|(?:>=?|≥)\s*(?P<above>-?[\d.]+)|(?P<low>-?[\d.]+)\s*-\s*(?P<high>-?[\d.]+))$"
)


def schema_from_study(content: Mapping[str, Any], *, path: str = "study") -> CohortSchema:
    """The full contract. content: the study file as a mapping. Raises StudyError with every problem."""
    cohort = dict(content.get("cohort", {}))
    problems = [
        Problem(f"cohort.{key}", _unknown(key, (*_COHORT, *_ELSEWHERE)))
        for key in cohort
        if key not in _COHORT and key not in _ELSEWHERE
    ]
    columns: list[Column] = []
    for name, declared in dict(cohort.get("columns", {})).items():
        try:
            columns.append(parse_column(name, declared))
        except StudyError as error:
            problems += error.problems
    outcome = content.get("study", {}).get("outcome")
    columns, wrong = _with_outcome(columns, outcome)
    problems += wrong
    for role in ("patient", "group", "part"):
        if name := cohort.get(role):
            columns = _with_role(columns, str(name), role)
    rows, bad = cohort.get("rows", "patients"), cohort.get("bad_records", "skip")
    problems += _choice("cohort.rows", rows, ("patients", "visits"))
    problems += _choice("cohort.bad_records", bad, get_args(BadRecords))
    subgroups: tuple[Subgroup, ...] = ()
    try:
        subgroups = parse_subgroups(cohort.get("subgroups", ()))
    except DataError as error:
        problems.append(Problem("cohort.subgroups", str(error)))
    if problems:
        raise StudyError(problems, path=path)
    try:
        return CohortSchema(
            columns=tuple(columns),
            rows=rows,
            subgroups=subgroups,
            bad_records=bad,
            predict_at=str(cohort.get("predict_at", "")),
        )
    except StudyError as error:
        raise StudyError(error.problems, path=path) from None


def parse_column(name: str, declared: Mapping[str, Any]) -> Column:
    """One entry of `[cohort.columns]`. Raises StudyError with every problem of this column."""
    key = f"cohort.columns.{name}"
    if not isinstance(declared, Mapping):
        raise StudyError([Problem(key, 'expected a table such as { kind = "number" }')])
    kind = declared.get("kind", "text" if "excluded" in declared else None)
    if kind not in COLUMN_KEYS:
        known = ", ".join(COLUMN_KEYS)
        found = "kind is missing" if kind is None else f"unknown kind '{kind}'"
        raise StudyError([Problem(f"{key}.kind", f"{found}; known: {known}")])
    problems = []
    for option, value in declared.items():
        if option not in (*_COMMON, *COLUMN_KEYS[kind]):
            problems.append(
                Problem(f"{key}.{option}", _unknown(option, (*_COMMON, *COLUMN_KEYS[kind]), f" of a {kind}"))
            )
        elif not isinstance(value, _TYPES[option]) or isinstance(value, bool):
            problems.append(Problem(f"{key}.{option}", f"has the wrong type, got {value!r:.40}"))
        elif isinstance(value, list):
            problems += _list_problems(f"{key}.{option}", option, value)
    problems += _choice(f"{key}.missing", declared.get("missing", "allowed"), ("allowed", "required"))
    problems += _choice(f"{key}.role", declared.get("role", "feature"), get_args(Role))
    if problems:
        raise StudyError(problems)
    return _column(name, kind, declared)


def _column(name: str, kind: Kind, declared: Mapping[str, Any]) -> Column:
    taken = {option: declared[option] for option in COLUMN_KEYS[kind] if option in declared}
    for option, value in taken.items():
        if isinstance(value, list):
            numbers = option in ("range", "shape")
            taken[option] = tuple(value) if numbers else tuple(_word(item) for item in value)
    if kind == "flag":
        taken.setdefault("values", ("0", "1"))
    if kind == "block" and "names" in taken:
        taken.setdefault("n", len(taken["names"]))
    role = "excluded" if "excluded" in declared else "feature" if kind != "text" else "excluded"
    return Column(
        name=name,
        kind=kind,
        role=declared.get("role", role),
        required=declared.get("missing") == "required",
        known=declared.get("known", ""),
        reason=declared.get("excluded", "text" if kind == "text" and "role" not in declared else ""),
        **taken,
    )


def _word(item: object) -> str:
    return number_text(item) if isinstance(item, float) else str(item)


def parse_subgroups(texts: Sequence[str]) -> tuple[Subgroup, ...]:
    """Subgroups from their short texts: `"sex"`, `"age:<50,50-70,>70"`. Raises DataError."""
    return tuple(_subgroup(text) for text in texts)


def _subgroup(text: str) -> Subgroup:
    found = _SUBGROUP.match(text) if isinstance(text, str) else None
    if found is None:
        raise DataError(f"subgroup {text!r}: expected 'column' or 'column:<50,50-70,>70'")
    column = found["column"].strip()
    if found["cuts"] is None:
        return Subgroup(name=column, column=column)
    labels = tuple(cut.strip() for cut in found["cuts"].split(","))
    edges = [_CUT.match(label) for label in labels]
    if None in edges or len(labels) < 2:
        raise DataError(f"subgroup {text!r}: expected cuts such as '<50,50-70,>70'")
    uppers = [cut["below"] or cut["high"] for cut in edges[:-1] if cut is not None]
    if None in uppers or edges[-1] is None or edges[-1]["below"]:
        raise DataError(f"subgroup {text!r}: cuts must rise, e.g. '<50,50-70,>70'")
    numbers = tuple(float(upper) for upper in uppers if upper is not None)
    if list(numbers) != sorted(set(numbers)):
        raise DataError(f"subgroup {text!r}: cuts must rise, e.g. '<50,50-70,>70'")
    return Subgroup(name=text.partition(":")[0].strip(), column=column, labels=labels, edges=numbers)


def _with_outcome(columns: list[Column], outcome: object) -> tuple[list[Column], list[Problem]]:
    """The declared columns with the study's outcome marked, or added where it is a time and an event."""
    if isinstance(outcome, Mapping):
        try:
            made = parse_column(str(outcome.get("time", "outcome")), {"kind": "survival", "role": "outcome", **outcome})
        except StudyError as error:
            key = f"cohort.columns.{outcome.get('time', 'outcome')}"
            renamed = [Problem(p.key.replace(key, "study.outcome"), p.message) for p in error.problems]
            return columns, renamed
        made = made if made.unit else _replaced(made, unit="d")
        return [*(c for c in columns if c.name != made.name), made], []
    named = [column.name for column in columns if column.role == "outcome"]
    if outcome is None and len(named) == 1:
        return columns, []
    if not isinstance(outcome, str):
        return columns, [Problem("study.outcome", "is missing")]
    if outcome not in [column.name for column in columns]:
        near = difflib.get_close_matches(outcome, [column.name for column in columns], n=1, cutoff=0.6)
        guess = f"; did you mean '{near[0]}'?" if near else "; declare it under [cohort.columns]"
        return columns, [Problem("study.outcome", f"no column '{outcome}'{guess}")]
    return [_replaced(c, role="outcome") if c.name == outcome else c for c in columns], []


def _with_role(columns: list[Column], name: str, role: str) -> list[Column]:
    held = [column for column in columns if column.name != name]
    return [*held, Column(name=name, kind="text", role=role)]  # type: ignore[arg-type]


def _replaced(column: Column, **changes: Any) -> Column:
    if changes.get("role") == "outcome" and column.kind == "survival" and not column.unit:
        changes["unit"] = "d"
    return replace(column, **changes)


def _list_problems(key: str, option: str, value: list[Any]) -> list[Problem]:
    if option in ("range", "shape"):
        size = 2 if option == "range" else 3
        if len(value) != size or not all(isinstance(v, (int, float)) and not isinstance(v, bool) for v in value):
            return [Problem(key, f"expected {size} numbers, got {value!r:.40}")]
        return []
    if not value or not all(isinstance(item, (str, int, float)) for item in value):
        return [Problem(key, "expected a list of texts")]
    return []


def _choice(key: str, found: object, known: Sequence[str]) -> list[Problem]:
    return [] if found in known else [Problem(key, f"must be one of {', '.join(known)}, got {found!r:.40}")]


def _unknown(key: str, known: Sequence[str], where: str = "") -> str:
    near = difflib.get_close_matches(key, known, n=1, cutoff=0.6)
    guess = f"; did you mean '{near[0]}'?" if near else f"; known{where}: {', '.join(sorted(known))}"
    return f"unknown key '{key}'{guess}"
