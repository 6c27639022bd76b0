"""The validation without pooled rows: what every hospital counts, and the scores that come out of the sums.

    census = Census(facts=facts)
    real = fit_by_sums(census, [site_a, site_b])                 # or a stage of a swarm, under masks
    made = fit_by_sums(census.like(real), [synthetic])           # the same grids and bins
    compare(facts, real, made)                                   # c1, c2, c4, g1 to g5, log-rank, restricted means

Three exchanges of whole numbers: ranges, histograms on a fine grid, sums over pairs of columns. Numbers are compared on
the grid (4,096 cells at most, ends where extremes are patients); the scores equal those of the pooled table on the same
grid to rounding. Indistinguishability has sums of its own: `told_apart`. Design: synthetic-data.md 7.7.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import ClassVar, Literal

import numpy as np
from numpy.typing import NDArray

from cohortium.core.examples import Examples, Layout
from cohortium.core.parameters import Parameters
from cohortium.core.update import Fitted, Instructions
from cohortium.errors import UsageError
from cohortium.synth.facts import Fact, Facts
from cohortium.synth.generators.normal_scores import (
    N_FINE,
    coarse_counts,
    fine_cells,
    fine_counts,
    fine_grid,
    step_counts,
)
from cohortium.synth.generators.preparing import check_counts
from cohortium.synth.phases import at_phase, phase_of
from cohortium.synth.rows import Rows, rows_of_examples
from cohortium.synth.validation.association import N_BINS

__all__ = ["Census", "on_the_grid"]

Floats = NDArray[np.float64]
Integers = NDArray[np.int64]

RANGES, HISTOGRAMS, PAIRS, DONE = 0, 1, 2, -1
_SUMS = ("sum", "square", "product")
"""Totals of ranks, which are larger than any number of patients."""


@dataclass(frozen=True, kw_only=True)
class Census:
    """A learner by sums. reference: a finished census whose grids and bins are used; its own without one."""

    facts: Facts
    reference: Parameters | None = None

    learns_by: ClassVar[Literal["sums"]] = "sums"
    reads_columns: ClassVar[bool] = False
    max_rounds: ClassVar[int] = 3

    def like(self, finished: Parameters) -> Census:
        """A census on the grids and bins of a finished one."""
        return Census(facts=self.facts, reference=finished)

    # --- Learner -----------------------------------------------------------------------------------------------

    def initial(self, layout: Layout | None, *, rng: np.random.Generator | None) -> Parameters:
        """The first question."""
        if self.reference is None:
            return Parameters(at_phase(RANGES))
        kept = {name: array for name, array in self.reference.items() if name.startswith(("grid/", "bins/"))}
        return Parameters({**at_phase(HISTOGRAMS), **kept})

    def fit(
        self, start: Parameters, examples: Examples, *, instructions: Instructions, rng: np.random.Generator
    ) -> Fitted:
        """This site's counts."""
        rows = rows_of_examples(examples, self.facts)
        return Fitted(parameters=self.answer(start, rows), n_samples=len(rows))

    def answer(self, state: Parameters, rows: Rows) -> Parameters:
        """The sums the state asks for, of these rows."""
        phase = phase_of(state)
        if phase == RANGES:
            return Parameters(
                {f"coarse/{f.name}": coarse_counts(rows[f.name]) for f in self._numbers}
                | {f"steps/{f.name}": step_counts(rows[f.name]) for f in self._numbers}
                | {"n": np.array([len(rows)], dtype=np.int64)}
            )
        return self._histograms(state, rows) if phase == HISTOGRAMS else self._pairs(state, rows)

    def advance(self, start: Parameters, total: Parameters) -> Parameters:
        """The leader half. Raises ValueError for totals that are no counts."""
        phase = phase_of(start)
        check_counts(total.without(_SUMS) if phase == PAIRS else total)
        found: dict[str, object] = {k: v for k, v in start.items() if k != "phase"}
        if phase == RANGES:
            for fact in self._numbers:
                found[f"grid/{fact.name}"] = fine_grid(
                    np.asarray(total[f"coarse/{fact.name}"]), np.asarray(total[f"steps/{fact.name}"]),
                    low=fact.low, high=fact.high,
                )  # fmt: skip
            return Parameters({**at_phase(HISTOGRAMS), **found})
        found |= dict(total.items())
        if phase == HISTOGRAMS:
            for fact in self._numbers:
                if f"bins/{fact.name}" not in found:
                    found[f"bins/{fact.name}"] = _bin_edges(np.asarray(total[f"fine/{fact.name}"], dtype=np.int64))
        done = phase == PAIRS
        return Parameters({**at_phase(DONE if done else PAIRS), **found})

    def finished(self, parameters: Parameters) -> bool:
        """Whether all sums are in."""
        return phase_of(parameters) == DONE

    def predict(self, parameters: Parameters, examples: Examples) -> Floats:
        """Nothing is predicted: raises UsageError."""
        raise UsageError("a census counts, it predicts nothing")

    def parts(self, parameters: Parameters) -> Mapping[str, tuple[str, ...]]:
        """None."""
        return {}

    # --- what sites answer -------------------------------------------------------------------------------------

    @property
    def _numbers(self) -> tuple[Fact, ...]:
        return tuple(fact for fact in self.facts.columns if fact.is_number)

    def _histograms(self, state: Parameters, rows: Rows) -> Parameters:
        found: dict[str, object] = {"n": np.array([len(rows)], dtype=np.int64)}
        for fact in self.facts.columns:
            held = rows[fact.name]
            if fact.is_number:
                found[f"fine/{fact.name}"] = fine_counts(held, _grid(state, fact.name))
            else:
                size = len(fact.levels) or 2
                codes = np.where(np.isnan(held), size, held).astype(np.int64)
                found[f"levels/{fact.name}"] = np.bincount(codes, minlength=size + 1).astype(np.int64)
        genes = [fact.name for fact in self.facts.of_group("gene")]
        if genes:
            burden = np.nansum(np.column_stack([rows[name] for name in genes]), axis=1).astype(np.int64)
            found["burden"] = np.bincount(burden, minlength=len(genes) + 1).astype(np.int64)
        if self.facts.time:
            cells = fine_cells(rows[self.facts.time], _grid(state, self.facts.time))
            died = rows[self.facts.event] == 1
            found["deaths"] = np.bincount(cells[died], minlength=N_FINE).astype(np.int64)
        return Parameters(found)

    def _pairs(self, state: Parameters, rows: Rows) -> Parameters:
        cells = on_the_grid(self.facts, state, rows)
        values, there = _ranks_and_flags(self.facts, state, cells)
        wide = _one_hot(self.facts, state, cells)
        return Parameters(
            {
                "both": there.T @ there,
                "sum": values.T @ there,
                "square": (values**2).T @ there,
                "product": values.T @ values,
                "tables": wide.T @ wide,
            }
        )


def on_the_grid(facts: Facts, state: Parameters, rows: Rows) -> Rows:
    """The rows with every number as the cell of the census's grid it lies in; what is named stays."""
    changed = {}
    for fact in facts.columns:
        if fact.is_number:
            there = ~np.isnan(rows[fact.name])
            cells = np.full(len(rows), np.nan)
            cells[there] = fine_cells(rows[fact.name][there], _grid(state, fact.name))
            changed[fact.name] = cells
    return rows.with_columns(changed)


def _ranks_and_flags(facts: Facts, state: Parameters, cells: Rows) -> tuple[Integers, Integers]:
    """(values, known), each (n, columns): doubled mid-ranks of numbers, then flags; 0 where missing."""
    columns = []
    for fact in facts.columns:
        if fact.is_number:
            fine = np.asarray(state[f"fine/{fact.name}"], dtype=np.int64)
            doubled = 2 * np.concatenate([[0], np.cumsum(fine)[:-1]]) + fine
            held = cells[fact.name]
            at = np.where(np.isnan(held), 0, held).astype(np.int64)
            columns.append(np.where(np.isnan(held), np.nan, doubled[at]))
    columns += [cells[fact.name] for fact in facts.of_group("gene")]
    matrix = np.column_stack(columns) if columns else np.zeros((len(cells), 0))
    missing = np.isnan(matrix)
    return np.where(missing, 0, matrix).astype(np.int64), (~missing).astype(np.int64)


def _one_hot(facts: Facts, state: Parameters, cells: Rows) -> Integers:
    """0/1 columns of every clinical column's bins or levels, missing the last of them, (n, width)."""
    blocks = []
    for fact in facts.of_group("clinical", "outcome", "treatment"):
        held = cells[fact.name]
        missing = np.isnan(held)
        if fact.is_number:
            edges = np.asarray(state[f"bins/{fact.name}"], dtype=np.float64)
            size = len(edges) + 1
            codes = np.searchsorted(edges, held, side="right")
        else:
            size = len(fact.levels) or 2
            codes = np.where(missing, 0, held).astype(np.int64)
        codes = np.where(missing, size, codes)
        blocks.append((codes[:, None] == np.arange(size + 1)).astype(np.int64))
    return np.concatenate(blocks, axis=1) if blocks else np.zeros((len(cells), 0), dtype=np.int64)


def _bin_edges(fine: Integers) -> Floats:
    """Inner edges of five bins of equal share, in cells."""
    if not fine.sum():
        return np.zeros(0)
    shares = np.arange(1, N_BINS) / N_BINS
    return np.unique(np.quantile(np.repeat(np.arange(len(fine), dtype=np.float64), fine), shares))


def _grid(state: Parameters, name: str) -> Floats:
    return np.asarray(state[f"grid/{name}"], dtype=np.float64)
