"""A patient as a network sees one: normal scores, flags and levels, and the way back to columns.

Everything is read off the foundation, the Bayesian network the sites learned by exact sums before: tables of the
numbers, their spikes, which gaps are modelled. A variable of two levels is a flag, one of more a block of levels; a
number with spikes or gaps has a variable that says whether it was measured (see `coding`). The survival time is
scored within those who died and those who did not, each by its own published table, and laid back on the same tables:
whatever a network misses, the two curves of times are those of the data.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from functools import cached_property
from typing import Protocol

import numpy as np
from numpy.typing import NDArray

from cohortium.core.parameters import Parameters
from cohortium.synth.facts import Facts
from cohortium.synth.generators.coding import Coding
from cohortium.synth.generators.heads import Heads
from cohortium.synth.generators.normal_scores import Scores, scores_of
from cohortium.synth.generators.tail import repaired
from cohortium.synth.rows import Rows

__all__ = ["Cells", "Encoded", "Foundation", "placed"]

Floats = NDArray[np.float64]
Integers = NDArray[np.int64]

Lay = Callable[[Floats, Scores, np.random.Generator], Floats]

ENDS = ("censored", "event")  # by the code of the event


class Foundation(Protocol):
    """What a network is built on: a learner by sums that says how rows are coded."""

    @property
    def facts(self) -> Facts: ...

    def coding(self, state: Parameters) -> Coding: ...


@dataclass(frozen=True, eq=False)
class Encoded:
    """Rows as cells. z: (n, numbers), NaN where there is no score; codes: (n, variables), -1 where nobody knows."""

    z: Floats
    codes: Integers

    def __len__(self) -> int:
        return len(self.codes)


@dataclass(frozen=True, eq=False)
class Cells:
    """What a foundation says of the columns. ends: tables of the survival time by the code of the event."""

    coding: Coding
    ends: tuple[Scores, ...]
    margins: tuple[Floats, ...]

    @classmethod
    def of(cls, learner: Foundation, foundation: Parameters) -> Cells:
        """Of a finished foundation."""
        coding, facts = learner.coding(foundation), learner.facts
        ends: tuple[Scores, ...] = ()
        margins = [np.asarray(foundation[f"counts/{at}"]).sum(axis=1) for at in range(len(coding.sizes))]
        if facts.time:
            ends = tuple(scores_of(foundation.under(f"table/{facts.time} {end}")) for end in ENDS)
            margins.append(np.array([int(one.counts.sum()) for one in ends], dtype=np.int64))
        return cls(coding, ends, tuple((one + 0.5) / (one + 0.5).sum() for one in margins))

    @property
    def facts(self) -> Facts:
        """The columns."""
        return self.coding.facts

    @cached_property
    def sizes(self) -> tuple[int, ...]:
        """Levels of every variable, the event last."""
        return (*self.coding.sizes, 2) if self.facts.time else self.coding.sizes

    @cached_property
    def heads(self) -> Heads:
        """Where the variables stand in a network's row."""
        return Heads(self.sizes)

    @cached_property
    def n_numbers(self) -> int:
        """Scores of a patient, the survival time's last."""
        return len(self.coding.numbers) + int(bool(self.facts.time))

    @cached_property
    def missing(self) -> Integers:
        """By variable the code that says missing, -1 where gaps are not modelled."""
        coding = self.coding
        gaps = [coding.gaps[c.name] for c in (*coding.named, *coding.stated)]
        codes = [size - 1 if gap else -1 for size, gap in zip(coding.sizes, gaps, strict=True)]
        return np.array([*codes, *([-1] if self.facts.time else [])], dtype=np.int64)

    @cached_property
    def rest(self) -> Integers:
        """By number the variable that says whether it has a score, -1 where it always has; the time's is last."""
        coding = self.coding
        stated = [c.name for c in coding.stated]
        places = [len(coding.named) + stated.index(c.name) if c.name in stated else -1 for c in coding.numbers]
        return np.array([*places, *([-1] if self.facts.time else [])], dtype=np.int64)

    def scored(self, codes: Integers) -> NDArray[np.bool_]:
        """Which numbers have a score, by the codes of all variables, (n, numbers); the time always has."""
        own = ~self.coding.unmeasured(codes[:, : len(self.coding.sizes)])
        return np.column_stack([own, np.ones(len(codes), dtype=bool)]) if self.facts.time else own

    def encode(self, rows: Rows) -> Encoded:
        """Rows as cells."""
        coding, facts = self.coding, self.facts
        codes, z = coding.codes(rows), coding.scores(rows)
        for at, fact in enumerate((*coding.named, *coding.stated)):
            if not coding.gaps[fact.name]:
                codes[np.isnan(rows[fact.name]), at] = -1
        if facts.time:
            ended, time = rows[facts.event], rows[facts.time]
            code = np.where(np.isnan(ended), -1, ended > 0).astype(np.int64)
            scores = np.full(len(rows), np.nan)
            for value, table in enumerate(self.ends):
                scores[code == value] = table.score(time[code == value])
            codes, z = np.column_stack([codes, code]), np.column_stack([z, scores])
        return Encoded(z, codes)

    def decode(self, encoded: Encoded, rng: np.random.Generator, *, lay: Lay = repaired) -> Rows:
        """Cells as rows: scores laid on the published tables, by rank or each by itself; spikes and gaps put in."""
        coding, facts = self.coding, self.facts
        n_own = len(coding.sizes)
        codes = encoded.codes[:, :n_own]
        columns = coding.named_values(codes)
        absent = coding.unmeasured(codes)
        for at, fact in enumerate(coding.numbers):
            z = np.where(absent[:, at], np.nan, encoded.z[:, at])
            columns[fact.name] = lay(z, coding.tables[fact.name], rng)
        columns |= coding.stated_values(codes, columns)
        if facts.time:
            event = encoded.codes[:, n_own]
            time = np.full(len(encoded), np.nan)
            for value, table in enumerate(self.ends):
                time[event == value] = lay(encoded.z[event == value, -1], table, rng)
            unit = float(coding.tables[facts.time].grid[3])
            columns[facts.time] = np.maximum(time, unit) if unit > 0 else time
            columns[facts.event] = event.astype(np.float64)
        return Rows(facts, columns)


def placed(z: Floats, scores: Scores, rng: np.random.Generator) -> Floats:
    """The value of every score by itself, where no sample tells its rank; NaN stays missing."""
    from scipy.stats import norm

    there = ~np.isnan(z)
    found = np.full(len(z), np.nan)
    found[there] = scores.heaped(scores.value(np.clip(norm.cdf(z[there]), 1e-9, 1 - 1e-9)), rng)
    return found
