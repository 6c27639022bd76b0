"""From columns to codes and scores and back: what of a patient goes to the network, and what to the regression tail.

A category or flag is a variable of the network; where it may be missing, `missing` is one level more. A number goes to
the tail as its normal score. What a straight line cannot carry goes to the network too: a number with values that many
patients share (spikes: 0 blasts, ECOG 1), or that may be missing, has a variable that says which spike it is, that it
is missing, or that it is the rest; only the rest has a score. A column of hardly anything but spikes has no rest.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from functools import cached_property

import numpy as np
from numpy.typing import NDArray

from cohortium.synth.facts import Fact, Facts
from cohortium.synth.generators.normal_scores import Scores
from cohortium.synth.rows import Rows

__all__ = ["MODELLED_GAP", "Coding", "spikes_of"]

Floats = NDArray[np.float64]
Integers = NDArray[np.int64]

MODELLED_GAP = 0.01
"""A column missing in at least this share of patients has its gaps modelled; fewer are filled with the middle."""
SPIKE = 0.05
"""A value that at least this share of patients have is a spike."""
MAX_SPIKES = 8


def spikes_of(fine: Integers, grid: Floats, *, zeros: int, min_cell: int) -> tuple[Floats, Integers]:
    """(values that many share, ascending; the histogram without them). zeros: patients with exactly 0.

    Where cells are wider than a step only 0 can be told apart. With fewer than `min_cell` patients left beside the
    spikes, the histogram is empty: they go to the nearest spike.
    """
    unit, width, n = float(grid[3]), float(grid[1]), int(fine.sum())
    least = max(SPIKE * n, min_cell)
    rest = fine.copy()
    if unit <= 0 or abs(width - unit) > 1e-9 * unit:
        if zeros < least:
            return np.zeros(0), fine
        rest[int(np.clip(np.floor(-float(grid[0]) / width), 0, int(grid[2]) - 1))] -= zeros
        return np.zeros(1), _or_nothing(rest, min_cell)
    large = np.flatnonzero(fine >= least)
    large = np.sort(large[np.argsort(-fine[large], kind="stable")][:MAX_SPIKES])
    rest[large] = 0
    values = np.round(np.rint((float(grid[0]) + 0.5 * unit) / unit + large) * unit, 6)
    return values, _or_nothing(rest, min_cell)


def _or_nothing(rest: Integers, min_cell: int) -> Integers:
    return rest if int(rest.sum()) >= min_cell else np.zeros_like(rest)


@dataclass(frozen=True, eq=False)
class Coding:
    """gaps: by column, whether its missing values are modelled. tables: of the numbers, without their spikes.

    middle: most frequent level by column. spikes: shared values by numeric column.
    """

    facts: Facts
    gaps: Mapping[str, bool]
    tables: Mapping[str, Scores]
    middle: Mapping[str, int]
    spikes: Mapping[str, Floats]

    @cached_property
    def named(self) -> tuple[Fact, ...]:
        """Columns of the network."""
        return tuple(c for c in self.facts.columns if c.kind in ("categorical", "flag"))

    @cached_property
    def numbers(self) -> tuple[Fact, ...]:
        """Columns of the tail."""
        return tuple(c for c in self.facts.columns if c.kind == "numeric")

    @cached_property
    def stated(self) -> tuple[Fact, ...]:
        """Numeric columns with a variable of their own: spikes or modelled gaps."""
        return tuple(c for c in self.numbers if self.gaps[c.name] or len(self.spikes[c.name]))

    @cached_property
    def sizes(self) -> tuple[int, ...]:
        """Levels of every variable."""
        return tuple(len(levels) - 1 for levels in self.variables)

    @cached_property
    def variables(self) -> tuple[tuple[str, ...], ...]:
        """(name, level, level, ...) of every variable."""
        named = [(c.name, *(c.levels or ("0", "1")), *(("missing",) if self.gaps[c.name] else ())) for c in self.named]
        stated = []
        for c in self.stated:
            rest = ("measured",) if self.has_rest(c.name) else ()
            missing = ("missing",) if self.gaps[c.name] else ()
            stated.append((f"{c.name} is", *rest, *(f"{v:g}" for v in self.spikes[c.name]), *missing))
        return (*named, *stated)

    def codes(self, rows: Rows) -> Integers:
        """(n, variables)."""
        columns = []
        for fact in self.named:
            held = rows[fact.name]
            absent = len(fact.levels or "01") if self.gaps[fact.name] else self.middle.get(fact.name, 0)
            columns.append(np.where(np.isnan(held), absent, held).astype(np.int64))
        columns += [self._state(fact.name, rows[fact.name]) for fact in self.stated]
        return np.column_stack(columns) if columns else np.zeros((len(rows), 0), dtype=np.int64)

    def scores(self, rows: Rows) -> Floats:
        """(n, numbers), NaN where missing or a spike."""
        columns = []
        for fact in self.numbers:
            held = rows[fact.name]
            spikes = self.spikes[fact.name]
            if len(spikes):
                there = np.zeros(len(held), dtype=bool) if self.has_rest(fact.name) else np.ones(len(held), dtype=bool)
                held = np.where(there | self._on_spike(fact.name, held), np.nan, held)
            columns.append(self.tables[fact.name].score(held))
        return np.column_stack(columns) if columns else np.zeros((len(rows), 0))

    def unmeasured(self, codes: Integers) -> NDArray[np.bool_]:
        """Which numbers have no score, by their codes, (n, numbers)."""
        found = np.zeros((len(codes), len(self.numbers)), dtype=bool)
        for place, fact in enumerate(self.stated):
            rest = codes[:, len(self.named) + place] == 0 if self.has_rest(fact.name) else np.zeros(len(codes), bool)
            found[:, self.numbers.index(fact)] = ~rest
        return found

    def named_values(self, codes: Integers) -> dict[str, Floats]:
        """Codes back as columns, NaN where missing."""
        found = {}
        for place, fact in enumerate(self.named):
            values = codes[:, place].astype(np.float64)
            found[fact.name] = np.where(values == len(fact.levels or "01"), np.nan, values)
        return found

    def stated_values(self, codes: Integers, columns: Mapping[str, Floats]) -> dict[str, Floats]:
        """Numbers with their spikes put in. columns: what the tail gave."""
        found = {}
        for place, fact in enumerate(self.stated):
            code = codes[:, len(self.named) + place] - int(self.has_rest(fact.name))
            spikes = np.append(self.spikes[fact.name], np.nan)
            found[fact.name] = np.where(code < 0, columns[fact.name], spikes[np.clip(code, 0, len(spikes) - 1)])
        return found

    def has_rest(self, name: str) -> bool:
        """Whether a number has values beside its spikes, hence scores."""
        return int(self.tables[name].counts.sum()) > 0 or not len(self.spikes[name])

    def _on_spike(self, name: str, held: Floats) -> NDArray[np.bool_]:
        half = 0.25 * float(self.tables[name].grid[3]) or 1e-12
        return np.asarray((np.abs(held[:, None] - self.spikes[name]) < half).any(axis=1))

    def _state(self, name: str, held: Floats) -> Integers:
        spikes, rest = self.spikes[name], int(self.has_rest(name))
        missing = np.isnan(held)
        code = np.zeros(len(held), dtype=np.int64)
        if len(spikes):
            at = np.abs(np.where(missing, np.inf, held)[:, None] - spikes).argmin(axis=1)
            exact = self._on_spike(name, held) if rest else ~missing
            code = np.where(exact, at + rest, 0)
        return np.where(missing, len(spikes) + rest if self.gaps[name] else 0, code).astype(np.int64)
