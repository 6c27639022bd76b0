"""Patients as numbers, one array a column: `Rows`, and the ways from a table or a learner's examples and back.

Numbers stand as they are, categories as the index of their level, flags and events as 0 and 1; NaN is missing.
Times are in the study's unit.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from cohortium.core.examples import Examples
from cohortium.data.flow import describe_rows
from cohortium.data.schema import DAYS_PER
from cohortium.data.table import Table, number_text, parse_number
from cohortium.errors import DataError
from cohortium.synth.facts import Fact, Facts

__all__ = ["Rows", "joined", "rows_of_examples", "rows_of_table", "table_of_rows"]

Floats = NDArray[np.float64]


@dataclass(frozen=True, eq=False)
class Rows:
    """Columns of equal length by the names of `facts`; read-only."""

    facts: Facts
    columns: Mapping[str, Floats]

    def __post_init__(self) -> None:
        sizes = {len(values) for values in self.columns.values()}
        if len(sizes) > 1 or set(self.columns) != set(self.facts.names):
            raise DataError(f"rows hold {len(self.columns)} columns of {len(sizes)} lengths; one length is expected")
        for values in self.columns.values():
            values.flags.writeable = False

    def __len__(self) -> int:
        return len(next(iter(self.columns.values()))) if self.columns else 0

    def __getitem__(self, name: str) -> Floats:
        return self.columns[name]

    def __iter__(self) -> Iterator[str]:
        return iter(self.facts.names)

    def take(self, rows: NDArray[np.integer] | NDArray[np.bool_]) -> Rows:
        """The named rows (indices or mask), in that order."""
        return Rows(self.facts, {name: self.columns[name][rows] for name in self.facts.names})

    def with_columns(self, changed: Mapping[str, Floats]) -> Rows:
        """The same rows with some columns replaced."""
        return Rows(self.facts, {name: changed.get(name, self.columns[name]) for name in self.facts.names})

    def matrix(self) -> Floats:
        """All columns in order, shape (n, p)."""
        return np.column_stack([self.columns[name] for name in self.facts.names])


def joined(parts: Sequence[Rows]) -> Rows:
    """All rows behind one another, in the order given."""
    facts = parts[0].facts
    return Rows(facts, {name: np.concatenate([part[name] for part in parts]) for name in facts.names})


def rows_of_examples(examples: Examples, facts: Facts) -> Rows:
    """What a learner was given, column by column. Raises DataError for columns the facts do not know."""
    at = {name: place for place, name in enumerate(examples.layout.features)}
    columns: dict[str, Floats] = {}
    for fact in facts.columns:
        if fact.kind == "time" and examples.time is not None:
            columns[fact.name] = examples.time / DAYS_PER[fact.unit or "d"]
        elif fact.kind == "event" and examples.event is not None:
            columns[fact.name] = (examples.event > 0).astype(np.float64)
        elif fact.group == "outcome" and examples.y is not None:
            columns[fact.name] = examples.y.astype(np.float64)
        elif fact.kind == "categorical" and f"{fact.name}={fact.levels[0]}" in at:
            block = examples.x[:, [at[f"{fact.name}={level}"] for level in fact.levels]]
            columns[fact.name] = np.where(np.isnan(block[:, 0]), np.nan, block.argmax(axis=1))
        elif fact.name in at:
            columns[fact.name] = examples.x[:, at[fact.name]].astype(np.float64)
        else:
            raise DataError(f"column '{fact.name}' is not among these examples")
    return Rows(facts, columns)


def rows_of_table(table: Table, facts: Facts) -> Rows:
    """The rows of a file of one's own.

    Raises DataError with one sentence for every column that is absent or cannot be read, with counts and row numbers.
    """
    problems: list[str] = []
    columns: dict[str, Floats] = {}
    for fact in facts.columns:
        if fact.name not in table:
            problems.append(f"column '{fact.name}' is missing; found: {', '.join(table.names[:12])}")
            continue
        values, bad = _read(table, fact)
        if bad:
            wanted = f"one of {', '.join(fact.levels[:8])}" if fact.levels else "a number"
            what = "value that is" if len(bad) == 1 else "values that are"
            problems.append(f"column '{fact.name}': {len(bad)} {what} not {wanted} ({describe_rows(bad)})")
        columns[fact.name] = values
    if problems:
        raise DataError("\n".join(problems))
    return Rows(facts, columns)


def _read(table: Table, fact: Fact) -> tuple[Floats, list[int]]:
    """The values, and the rows, from 1, that cannot be read."""
    held = table.column(fact.name)
    if fact.is_number or not fact.levels:
        if held.dtype.kind != "U":
            return np.asarray(held, dtype=np.float64).copy(), []
        read = [(np.nan if text == "" else parse_number(text)) for text in held.tolist()]
        bad = [row for row, value in enumerate(read, start=1) if value is None]
        return np.array([np.nan if value is None else value for value in read], dtype=np.float64), bad
    texts = held.tolist() if held.dtype.kind == "U" else ["" if v != v else number_text(v) for v in held.tolist()]
    codes = {level: float(place) for place, level in enumerate(fact.levels)}
    found = np.array([np.nan if text == "" else codes.get(text, -1.0) for text in texts], dtype=np.float64)
    bad = (np.flatnonzero(found == -1.0) + 1).tolist()
    return np.where(found == -1.0, np.nan, found), bad


def table_of_rows(rows: Rows) -> Table:
    """The rows as people read them: levels as texts, where they are no numbers."""
    columns: dict[str, object] = {}
    for fact in rows.facts.columns:
        values = rows[fact.name]
        if fact.is_number or not fact.levels or fact.kind == "event":
            columns[fact.name] = values
            continue
        numbers = [parse_number(level) for level in fact.levels]
        missing = np.isnan(values)
        codes = np.where(missing, 0, values).astype(np.int64)
        if all(number is not None for number in numbers):
            columns[fact.name] = np.where(missing, np.nan, np.array(numbers, dtype=np.float64)[codes])
        else:
            columns[fact.name] = np.where(missing, "", np.array(fact.levels, dtype=np.str_)[codes])
    return Table.from_columns(columns)
