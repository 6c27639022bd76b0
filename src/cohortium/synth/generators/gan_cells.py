"""A patient as `ctgan` sees one: distances from modes, flags, levels, and the way back.

Every variable is a flag (two levels) or a block of levels. A number has one variable that says which mode it belongs
to, or else which spike it is, or that it is missing; its distance from the mode is 0 where there is no mode. Built on
the cells of `cells`, so tables, spikes and gaps are those of the foundation.
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property

import numpy as np
from numpy.typing import NDArray

from cohortium.core.parameters import Parameters
from cohortium.synth.generators.cells import Cells, Encoded, Foundation
from cohortium.synth.generators.heads import Heads
from cohortium.synth.generators.modal_foundation import modes_of, number_tables
from cohortium.synth.generators.modes import Modes
from cohortium.synth.generators.normal_scores import Scores
from cohortium.synth.rows import Rows

__all__ = ["GanCells", "Modal"]

Floats = NDArray[np.float64]
Integers = NDArray[np.int64]


@dataclass(frozen=True, eq=False)
class Modal:
    """Rows as a GAN sees them. places: (n, numbers), in [-1, 1]; codes: (n, variables), every one known."""

    places: Floats
    codes: Integers


@dataclass(frozen=True, eq=False)
class GanCells:
    """cells: as for any network; modes: by number, the survival time's last."""

    cells: Cells
    modes: tuple[Modes, ...]

    @classmethod
    def of(cls, learner: Foundation, foundation: Parameters) -> GanCells:
        """Of a finished foundation."""
        cells = Cells.of(learner, foundation)
        return cls(cells, modes_of(cells.coding, foundation))

    @cached_property
    def named(self) -> Integers:
        """Variables of the cells that are no part of a number: names, and the event."""
        n, own = len(self.cells.coding.named), len(self.cells.coding.sizes)
        return np.array([*range(n), *range(own, len(self.cells.sizes))], dtype=np.int64)

    @cached_property
    def n_modes(self) -> tuple[int, ...]:
        """Modes by number; none for one that is hardly anything but spikes."""
        has = [at < 0 or self._has_rest(k) for k, at in enumerate(self.cells.rest)]
        return tuple(len(one) if rest else 0 for one, rest in zip(self.modes, has, strict=True))

    @cached_property
    def margins(self) -> tuple[Floats, ...]:
        """Frequencies of every variable's levels: the named ones, then the numbers."""
        found = [self.cells.margins[at] for at in self.named]
        for k, at in enumerate(self.cells.rest):
            weights = self.modes[k].weights
            if at < 0:
                found.append(weights)
                continue
            states = self.cells.margins[at]
            found.append(np.concatenate([weights * states[0], states[1:]]) if self.n_modes[k] else states)
        return tuple(found)

    @property
    def named_margins(self) -> tuple[Floats, ...]:
        """Of the named variables alone, which can be asked for."""
        return self.margins[: len(self.named)]

    @cached_property
    def sizes(self) -> tuple[int, ...]:
        """Levels of every variable."""
        return tuple(len(one) for one in self.margins)

    @cached_property
    def heads(self) -> Heads:
        """Where the variables stand in a network's row."""
        return Heads(self.sizes)

    @property
    def n_numbers(self) -> int:
        """Distances of a patient."""
        return len(self.modes)

    def encode(self, rows: Rows, rng: np.random.Generator) -> Modal:
        """Rows as modes, flags and levels. rng: draws the modes. The few unknown levels become the most frequent."""
        cells = self.cells
        encoded = cells.encode(rows)
        middle = np.array([int(np.argmax(one)) for one in cells.margins], dtype=np.int64)
        codes = np.where(encoded.codes < 0, middle, encoded.codes)
        columns = [codes[:, at] for at in self.named]
        places = np.zeros((len(rows), self.n_numbers))
        for k, name in enumerate(self._numbers):
            at, m = int(cells.rest[k]), self.n_modes[k]
            state = codes[:, at] if at >= 0 else np.zeros(len(rows), dtype=np.int64)
            if m == 0:
                columns.append(state)
                continue
            mode, place = self.modes[k].encode(np.where(state == 0, rows[name], np.nan), rng)
            columns.append(np.where(state == 0, mode, m + state - 1))
            places[:, k] = place
        return Modal(places, np.column_stack(columns))

    def decode(self, modal: Modal, rng: np.random.Generator) -> Rows:
        """As rows: values laid on the published tables by rank, spikes and gaps put in."""
        cells = self.cells
        codes = np.zeros((len(modal.codes), len(cells.sizes)), dtype=np.int64)
        codes[:, self.named] = modal.codes[:, : len(self.named)]
        z = np.full((len(codes), self.n_numbers), np.nan)
        for k in range(self.n_numbers):
            code, at, m = modal.codes[:, len(self.named) + k], int(cells.rest[k]), self.n_modes[k]
            measured = code < m
            if at >= 0:
                codes[:, at] = np.where(measured, 0, code - m + int(m > 0))
            value = self.modes[k].decode(np.where(measured, code, 0), modal.places[:, k])
            z[:, k] = np.where(measured, self._score(k, value, codes), np.nan)
        return cells.decode(Encoded(z, codes), rng)

    def _score(self, k: int, value: Floats, codes: Integers) -> Floats:
        """Normal scores of values; a tiny share of the value keeps ranks apart within a cell of the table."""
        last = self.cells.ends and k == self.n_numbers - 1
        if not last:
            return _fine_score(self.cells.coding.tables[self._numbers[k]], value)
        found = np.zeros(len(value))
        for end, table in enumerate(self.cells.ends):
            mine = codes[:, -1] == end
            found[mine] = _fine_score(table, value[mine])
        return found

    @cached_property
    def _numbers(self) -> tuple[str, ...]:
        return number_tables(self.cells.coding)[0]

    def _has_rest(self, k: int) -> bool:
        name = self.cells.coding.numbers[k].name
        return int(self.cells.coding.tables[name].counts.sum()) > 0 or not len(self.cells.coding.spikes[name])


def _fine_score(table: Scores, value: Floats) -> Floats:
    spread = max(table.high - table.low, 1e-9)
    return table.score(value) + 1e-3 * np.clip((value - table.low) / spread, -2.0, 3.0)
