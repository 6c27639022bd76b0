"""What a generator knows of every column: `Facts`, frozen, part of what the study's digest covers.

    facts = Facts.of(schema, genes=("TP53", "SF3B1"), after_baseline=("transplant",))

A column is numeric (numbers, counts, days), categorical (its values in order) or a flag (0 and 1). A survival outcome
is two more columns, `time` and `event`. The group says how the validation reads a column: genes have frequencies and
exclusive pairs, clinical values have marginals. Derived columns are recomputed by their rule and never modelled.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from functools import cached_property
from typing import Literal

from cohortium.data.schema import CohortSchema, Column
from cohortium.data.table import parse_number
from cohortium.errors import Problem, StudyError

__all__ = ["Fact", "Facts", "Group", "Kind"]

Kind = Literal["numeric", "categorical", "flag", "time", "event"]
Group = Literal["clinical", "gene", "outcome", "treatment"]

_KINDS: dict[str, Kind] = {
    "number": "numeric", "count": "numeric", "days": "numeric", "flag": "flag", "category": "categorical",
    "ordered": "categorical",
}  # fmt: skip


@dataclass(frozen=True, kw_only=True)
class Fact:
    """One column. levels: texts of a category in order, or of a flag's 0 and 1. low, high: agreed range, if any.

    baseline: known when the patient came; False bars the column from every model of the outcome. ordered: whether its
    levels go from less to more.
    """

    name: str
    kind: Kind
    group: Group = "clinical"
    unit: str = ""
    low: float | None = None
    high: float | None = None
    levels: tuple[str, ...] = ()
    whole: bool = False
    baseline: bool = True
    ordered: bool = True

    @property
    def is_number(self) -> bool:
        """Whether its values are measured, not named."""
        return self.kind in ("numeric", "time")


@dataclass(frozen=True, kw_only=True)
class Facts:
    """All columns a generator models, in order, the outcome last. derived: name -> rule, recomputed after sampling."""

    columns: tuple[Fact, ...]
    derived: Mapping[str, str] = field(default_factory=dict)

    def __post_init__(self) -> None:
        names = [column.name for column in self.columns]
        if twice := sorted({name for name in names if names.count(name) > 1}):
            raise StudyError([Problem("synth", f"column '{twice[0]}' is named twice")])

    def __getitem__(self, name: str) -> Fact:
        return self._by_name[name]

    def __contains__(self, name: object) -> bool:
        return name in self._by_name

    @cached_property
    def _by_name(self) -> dict[str, Fact]:
        return {column.name: column for column in self.columns}

    @property
    def names(self) -> tuple[str, ...]:
        """Names in order."""
        return tuple(column.name for column in self.columns)

    @property
    def time(self) -> str:
        """The survival time's name, empty without one."""
        return next((column.name for column in self.columns if column.kind == "time"), "")

    @property
    def event(self) -> str:
        """The event's name, empty without one."""
        return next((column.name for column in self.columns if column.kind == "event"), "")

    def of_group(self, *groups: Group) -> tuple[Fact, ...]:
        """Columns of these groups, in order."""
        return tuple(column for column in self.columns if column.group in groups)

    def ranged(self, ranges: Mapping[str, tuple[float, float, bool]]) -> Facts:
        """The same columns with agreed ranges. ranges: (low, high, whether values are whole numbers) by name."""
        known = {
            name: replace(self[name], low=low, high=high, whole=whole)
            for name, (low, high, whole) in ranges.items()
            if name in self and self[name].is_number
        }
        return replace(self, columns=tuple(known.get(column.name, column) for column in self.columns))

    @classmethod
    def of(
        cls,
        schema: CohortSchema,
        *,
        genes: Sequence[str] = (),
        treatments: Sequence[str] = (),
        after_baseline: Sequence[str] = (),
        derived: Mapping[str, str] | None = None,
    ) -> Facts:
        """The facts of a study. genes, treatments, after_baseline: column names. Raises StudyError for unknown ones."""
        rules = dict(derived or {})
        known = {column.name for column in schema.columns}
        problems = [
            Problem(f"synth.{key}", f"no column '{name}'")
            for key, names in (("genes", genes), ("treatments", treatments), ("after_baseline", after_baseline))
            for name in names
            if name not in known
        ]
        columns: list[Fact] = []
        for column in schema.columns:
            if column.name in rules or column.role not in ("feature", "outcome"):
                continue
            if column.role == "outcome":
                columns += _outcome(column)
                continue
            if column.kind not in _KINDS:
                sentence = f"is a {column.kind}; generators take numbers, counts, days, flags and categories"
                problems.append(Problem(f"cohort.columns.{column.name}", sentence))
                continue
            group: Group = "gene" if column.name in genes else "treatment" if column.name in treatments else "clinical"
            columns.append(_fact(column, group, baseline=column.name not in after_baseline))
        problems += [
            Problem("synth.genes", f"'{name}' is a {schema[name].kind}; a gene is a flag of 0 and 1")
            for name in genes
            if name in known and schema[name].kind != "flag"
        ]
        if problems:
            raise StudyError(problems)
        outcome = [column for column in columns if column.group == "outcome"]
        return cls(columns=(*(c for c in columns if c.group != "outcome"), *outcome), derived=rules)


def _fact(column: Column, group: Group, *, baseline: bool = True) -> Fact:
    low, high = column.range or (None, None)
    return Fact(
        name=column.name,
        kind=_KINDS[column.kind],
        group=group,
        unit=column.unit,
        low=low,
        high=high,
        levels=column.values,
        whole=column.kind in ("count", "days"),
        baseline=baseline,
        ordered=column.kind != "category" or _ascend(column.values),
    )


def _ascend(levels: Sequence[str]) -> bool:
    """Whether names are numbers from small to large."""
    numbers = [parse_number(level) for level in levels]
    known = [number for number in numbers if number is not None]
    return len(known) == len(levels) and known == sorted(known)


def _outcome(column: Column) -> list[Fact]:
    if column.kind != "survival":
        return [_fact(column, "outcome")] if column.kind in _KINDS else []
    return [
        Fact(name=column.time, kind="time", group="outcome", unit=column.unit, low=0.0),
        Fact(name=column.event, kind="event", group="outcome", levels=("0", "1")),
    ]
