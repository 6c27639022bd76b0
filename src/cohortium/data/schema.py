"""`CohortSchema`: the agreed meaning of every column, the same at all sites, covered by the study's digest.

Two ways lead here: the full contract of a study's `[cohort.columns]` (`schema_text`) and the short
form that names only the outcome (`inference`). `layout` says what a learner will see. How a table is
turned into these kinds is `encoding`'s business.

    number count ordered days     one feature          survival   time, event, optional entry (outcome only)
    flag                          one feature, 0 / 1   block      float32 matrix, one feature per named column
    category                      one 0 / 1 feature    fingerprint  packed bits, one feature per bit
                                  per value            image      [c, h, w]; then no other features
    text                          never a feature: identifiers, groups, excluded columns
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping
from dataclasses import asdict, dataclass, fields
from functools import cached_property
from typing import Any, Literal, get_args

from cohortium.core.examples import Layout, OutcomeKind
from cohortium.errors import Problem, StudyError

__all__ = [
    "DAYS_PER",
    "MAX_FOLLOW_UP_D",
    "BadRecords",
    "CohortSchema",
    "Column",
    "Kind",
    "Role",
    "Subgroup",
]

Kind = Literal[
    "number", "count", "flag", "category", "ordered", "survival", "days", "block", "fingerprint", "image", "text"
]
Role = Literal["feature", "outcome", "patient", "group", "subgroup", "part", "excluded"]
BadRecords = Literal["skip", "refuse"]

DAYS_PER = {"d": 1.0, "weeks": 7.0, "months": 30.4375, "years": 365.25}
"""Days in one unit of time."""
MAX_FOLLOW_UP_D = 150 * 365.25
DEFAULT_RESOLUTION_D = 30.4375
DEFAULT_HORIZON_D = 30 * 365.25

_OUTCOMES: dict[str, OutcomeKind] = {"flag": "binary", "number": "number", "count": "count", "survival": "survival"}
_NUMERIC = ("number", "count", "ordered", "days", "flag")
_SINGLE: tuple[Role, ...] = ("patient", "group", "part")
MAX_VALUES = 120  # codes are int8


@dataclass(frozen=True, kw_only=True)
class Column:
    """One agreed column. Fields that do not belong to its kind stay empty.

    range: inclusive, in `unit`. values: in order, as text (`flag`: the value for 0, then for 1).
    required: a site may blank at most half of it. quantity: what is measured, where units convert by it.
    time, event, entry: source columns of a survival outcome, times in `unit`.
    names: columns of a block, or empty. n: columns of a block, bits of a fingerprint.
    shape: of an image, (channels, height, width). reason: why a column is excluded.
    """

    name: str
    kind: Kind
    role: Role = "feature"
    unit: str = ""
    quantity: str = ""
    range: tuple[float, float] | None = None
    values: tuple[str, ...] = ()
    required: bool = False
    time: str = ""
    event: str = ""
    entry: str = ""
    resolution_d: float = DEFAULT_RESOLUTION_D
    horizon_d: float = DEFAULT_HORIZON_D
    prefix: str = ""
    names: tuple[str, ...] = ()
    names_digest: str = ""
    n: int = 0
    transform: str = ""
    shape: tuple[int, int, int] | None = None
    known: str = ""
    reason: str = ""

    @property
    def features(self) -> tuple[str, ...]:
        """Names of the features this column becomes."""
        if self.kind == "category":
            return tuple(f"{self.name}={value}" for value in self.values)
        if self.kind == "block":
            return self.names or tuple(f"{self.name}:{i}" for i in range(self.n))
        if self.kind == "fingerprint":
            return tuple(f"{self.name}:{i}" for i in range(self.n))
        return (self.name,) if self.kind in _NUMERIC else ()

    @property
    def sources(self) -> tuple[str, ...]:
        """Columns of the site's table it is read from (before the site's mapping)."""
        if self.kind == "survival":
            return tuple(name for name in (self.time, self.event, self.entry) if name)
        return self.names if self.kind == "block" and self.names else (self.name,)


@dataclass(frozen=True, kw_only=True)
class Subgroup:
    """Patients to look at apart. edges: of a numeric column; else the column's own values count."""

    name: str
    column: str
    labels: tuple[str, ...] = ()
    edges: tuple[float, ...] = ()


@dataclass(frozen=True, kw_only=True)
class CohortSchema:
    """All columns, one of them the outcome. Raises StudyError with every contradiction at once.

    rows: `patients` = one row each; `visits` = several rows may share a patient.
    bad_records: `skip` = impossible values are blanked, impossible rows skipped, both counted;
    `refuse` = they stop the run (the short form, where nobody has agreed what they mean).
    """

    columns: tuple[Column, ...]
    rows: Literal["patients", "visits"] = "patients"
    subgroups: tuple[Subgroup, ...] = ()
    bad_records: BadRecords = "skip"
    predict_at: str = ""

    def __post_init__(self) -> None:
        problems = list(_contradictions(self))
        if problems:
            raise StudyError(problems)

    def __getitem__(self, name: str) -> Column:
        return self._by_name[name]

    def __contains__(self, name: object) -> bool:
        return name in self._by_name

    @cached_property
    def _by_name(self) -> dict[str, Column]:
        return {column.name: column for column in self.columns}

    def with_role(self, role: Role) -> tuple[Column, ...]:
        """Columns of one role, in order."""
        return tuple(column for column in self.columns if column.role == role)

    @property
    def outcome(self) -> Column:
        """The outcome column."""
        return self.with_role("outcome")[0]

    @property
    def outcome_kind(self) -> OutcomeKind:
        """binary, classes, number, count or survival."""
        if self.outcome.kind in ("category", "ordered"):
            return "binary" if len(self.outcome.values) == 2 else "classes"
        return _OUTCOMES[self.outcome.kind]

    @property
    def features(self) -> tuple[Column, ...]:
        """Columns learners may see, in order."""
        return self.with_role("feature")

    @property
    def excluded(self) -> dict[str, str]:
        """Column -> why learners do not see it."""
        return {column.name: column.reason for column in self.with_role("excluded")}

    def the(self, role: Role) -> Column | None:
        """The only column of a role (patient, group, part), or None."""
        found = self.with_role(role)
        return found[0] if found else None

    def layout(self) -> Layout:
        """What a learner sees: feature names, outcome, classes; times in days."""
        outcome, kind = self.outcome, self.outcome_kind
        image = next((column.shape for column in self.features if column.kind == "image"), None)
        return Layout(
            features=() if image else tuple(name for column in self.features for name in column.features),
            outcome=kind,
            classes=outcome.values if kind in ("binary", "classes") else (),
            image=image,
            resolution=outcome.resolution_d if kind == "survival" else 0.0,
            horizon=outcome.horizon_d if kind == "survival" else 0.0,
        )

    def to_dict(self) -> dict[str, Any]:
        """Plain JSON values; fields at their defaults are left out."""
        plain = {field.name: getattr(self, field.name) for field in fields(self)}
        plain["columns"] = [_sparse(column) for column in self.columns]
        plain["subgroups"] = [_sparse(subgroup) for subgroup in self.subgroups]
        return plain

    @classmethod
    def from_dict(cls, content: Mapping[str, Any]) -> CohortSchema:
        """The schema `to_dict` gave. Raises StudyError when it is not one."""
        try:
            rest = {name: value for name, value in content.items() if name not in ("columns", "subgroups")}
            columns = tuple(Column(**_tuples(column)) for column in content["columns"])
            subgroups = tuple(Subgroup(**_tuples(subgroup)) for subgroup in content.get("subgroups", ()))
            return cls(columns=columns, subgroups=subgroups, **rest)
        except (TypeError, KeyError, AttributeError) as error:
            raise StudyError([Problem("cohort", f"not a saved cohort schema: {error}")]) from None

    @cached_property
    def digest(self) -> bytes:
        """SHA-256 over `to_dict` as canonical JSON (32 bytes)."""
        text = json.dumps(self.to_dict(), sort_keys=True, separators=(",", ":"), ensure_ascii=True, allow_nan=False)
        return hashlib.sha256(b"cohortium-schema-1" + text.encode()).digest()


def _sparse(thing: Column | Subgroup) -> dict[str, Any]:
    default = {field.name: field.default for field in fields(thing)}
    plain = {name: value for name, value in asdict(thing).items() if value != default[name]}
    return {name: list(value) if isinstance(value, tuple) else value for name, value in plain.items()}


def _tuples(content: Mapping[str, Any]) -> dict[str, Any]:
    return {name: tuple(value) if isinstance(value, list) else value for name, value in content.items()}


def _contradictions(schema: CohortSchema) -> list[Problem]:
    problems = [problem for column in schema.columns for problem in _column_problems(column)]
    names = [column.name for column in schema.columns]
    twice = sorted({name for name in names if names.count(name) > 1})
    problems += [Problem(f"cohort.columns.{name}", "is named twice") for name in twice]
    outcomes = schema.with_role("outcome")
    if len(outcomes) != 1:
        problems.append(Problem("study.outcome", f"exactly one outcome column is needed, found {len(outcomes)}"))
    for role in _SINGLE:
        found = [column.name for column in schema.with_role(role)]
        problems += [Problem(f"cohort.{role}", f"one column at most, found {', '.join(found)}")][: len(found) > 1]
    images = [column.name for column in schema.features if column.kind == "image"]
    if images and len(schema.features) > 1:
        rest = [column.name for column in schema.features if column.name != images[0]]
        sentence = f"image '{images[0]}' is learned alone in this release; exclude {', '.join(rest[:5])}"
        problems.append(Problem("cohort.columns", sentence))
    if schema.rows == "visits" and not schema.with_role("patient"):
        problems.append(Problem("cohort.rows", 'rows = "visits" needs a patient column'))
    for subgroup in schema.subgroups:
        problems += _subgroup_problems(schema, subgroup)
    features = [name for column in schema.features for name in column.features]
    if len(set(features)) < len(features):
        problems.append(Problem("cohort.columns", "two columns give features of the same name; rename one"))
    if len(outcomes) == 1 and not features and not images:
        problems.append(Problem("study.features", "no feature is left to learn from"))
    return problems


def _column_problems(column: Column) -> list[Problem]:
    key = f"cohort.columns.{column.name}"
    sentences = []
    if column.kind not in get_args(Kind):
        return [Problem(key, f"unknown kind '{column.kind}'; known: {', '.join(get_args(Kind))}")]
    if column.role not in get_args(Role):
        return [Problem(key, f"unknown role '{column.role}'; known: {', '.join(get_args(Role))}")]
    if column.kind in ("flag", "category", "ordered"):
        if len(set(column.values)) != len(column.values):
            sentences.append("values holds a value twice")
        if column.kind == "flag" and len(column.values) != 2:
            sentences.append(f"a flag has 2 values (for 0, for 1), got {len(column.values)}")
        elif not 2 <= len(column.values) <= MAX_VALUES:
            sentences.append(f"a {column.kind} has 2 to {MAX_VALUES} values, got {len(column.values)}")
    if column.range is not None and not (len(column.range) == 2 and column.range[0] < column.range[1]):
        sentences.append("range must be [lowest, highest] with lowest < highest")
    if column.kind == "survival":
        sentences += _survival_sentences(column)
    if column.kind in ("block", "fingerprint") and not column.features:
        sentences.append(
            f"a {column.kind} needs n, its number of {'bits' if column.kind == 'fingerprint' else 'columns'}"
        )
    if column.kind == "image" and (column.shape is None or len(column.shape) != 3 or min(column.shape) < 1):
        sentences.append("an image needs shape = [channels, height, width]")
    if column.kind == "text" and column.role in ("feature", "outcome", "subgroup"):
        sentences.append(f"text cannot be a{'n' if column.role == 'outcome' else ''} {column.role}; name its values")
    if column.role == "outcome" and column.kind in ("block", "fingerprint", "image", "days"):
        article = "an" if column.kind == "image" else "a"
        sentences.append(f"{article} {column.kind} cannot be the outcome")
    return [Problem(key, sentence) for sentence in sentences]


def _survival_sentences(column: Column) -> list[str]:
    sentences = []
    if column.role != "outcome":
        sentences.append("a survival column is an outcome; exclude it or name it as study.outcome")
    if not column.time or not column.event:
        sentences.append(f"a survival outcome needs time and event, {'event' if column.time else 'time'} is missing")
    if column.unit not in DAYS_PER:
        sentences.append(f"unit must be one of {', '.join(DAYS_PER)}, got '{column.unit}'")
    if not 0 < column.resolution_d <= column.horizon_d <= MAX_FOLLOW_UP_D:
        sentences.append("needs 0 < resolution_d <= horizon_d <= 150 years")
    return sentences


def _subgroup_problems(schema: CohortSchema, subgroup: Subgroup) -> list[Problem]:
    key = f"cohort.subgroups.{subgroup.name}"
    if subgroup.column not in schema:
        return [Problem(key, f"no column '{subgroup.column}'")]
    kind = schema[subgroup.column].kind
    if subgroup.edges and kind not in ("number", "count", "days"):
        return [Problem(key, f"column '{subgroup.column}' is a {kind}; only numbers are cut at edges")]
    if not subgroup.edges and kind not in ("flag", "category", "ordered"):
        return [Problem(key, f"column '{subgroup.column}' is a {kind}; give edges, e.g. '{subgroup.column}:<50,>=50'")]
    return []
