"""Generator `copula`: every column a normal variable that was cut, all of them jointly normal; hazards for the outcome.

    learner = Copula(facts=facts)

The cheap baseline beside `bn`, and exact like it: three kinds of whole numbers are added up (tables of pairs of levels,
sums of scores by level, products of scores), so the model of the swarm is that of the pooled table to the last bit,
under masks too. A gap that is modelled is a normal variable of its own. Exchanges: 0 ranges and gaps, 1 fine
histograms, 2 pairs, and from 2 on the Newton steps of both hazards. Source: Song 2000 (Gaussian copula), design
synthetic-data.md 5.4; correlations are solved in `latent`, which says how.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from functools import cached_property
from itertools import pairwise
from typing import ClassVar, Literal

import numpy as np
from numpy.typing import NDArray

from cohortium.core import fixed_point as fp
from cohortium.core.examples import Examples, Layout
from cohortium.core.parameters import Parameters
from cohortium.core.update import Fitted, Instructions
from cohortium.errors import UsageError
from cohortium.synth.facts import Fact, Facts
from cohortium.synth.generators.coding import Coding
from cohortium.synth.generators.hazard import MAX_STEPS
from cohortium.synth.generators.latent import kept_by_cutting, level_scores, lifted, tetrachoric
from cohortium.synth.generators.normal_scores import Scores, scores_of
from cohortium.synth.generators.outcome import (
    hazard_answer,
    hazards_begun,
    hazards_moved,
    log_risk,
    products_added,
    sampled_outcome,
)
from cohortium.synth.generators.preparing import after_histograms, after_ranges, coding_of, histograms, ranges
from cohortium.synth.generators.tail import repaired
from cohortium.synth.phases import at_phase, phase_of
from cohortium.synth.rows import Rows, rows_of_examples

__all__ = ["Copula"]

Floats = NDArray[np.float64]
Integers = NDArray[np.int64]

RANGES, HISTOGRAMS, PAIRS, OUTCOME, DONE = 0, 1, 2, 3, -1
_SCORE_BITS = 12
_SUMS = ("both", "sum", "square", "product")


@dataclass(frozen=True, kw_only=True)
class Copula:
    """facts: the columns. min_cell: fewest patients in a published cell of a histogram."""

    facts: Facts
    min_cell: int = 10

    learns_by: ClassVar[Literal["sums"]] = "sums"
    reads_columns: ClassVar[bool] = False

    def __post_init__(self) -> None:
        if not 1 <= self.min_cell <= 1000:
            raise ValueError(f"min_cell must be 1 to 1000, got {self.min_cell}")

    @property
    def max_rounds(self) -> int:
        """Most exchanges a fit takes."""
        return 3 + MAX_STEPS

    # --- Learner -----------------------------------------------------------------------------------------------

    def initial(self, layout: Layout, *, rng: np.random.Generator) -> Parameters:
        """The first question. Independent of layout and stream."""
        return Parameters(at_phase(RANGES))

    def fit(
        self, start: Parameters, examples: Examples, *, instructions: Instructions, rng: np.random.Generator
    ) -> Fitted:
        """This site's answer to the state's question, whole numbers only."""
        rows = rows_of_examples(examples, self.facts)
        return Fitted(parameters=self.answer(start, rows), n_samples=len(rows))

    def answer(self, state: Parameters, rows: Rows) -> Parameters:
        """The sums the state asks for, of these rows."""
        phase = phase_of(state)
        if phase == RANGES:
            return ranges(self.facts, rows)
        if phase == HISTOGRAMS:
            return histograms(self.facts, state, rows)
        coding = coding_of(self.facts, state)
        found: dict[str, object] = {}
        if phase == PAIRS:
            found |= self._columns(state, coding).pairs(rows)
        if self.facts.time:
            found |= hazard_answer(self.facts, state, coding, coding.codes(rows), coding.scores(rows), rows)
        return Parameters(found)

    def advance(self, start: Parameters, total: Parameters) -> Parameters:
        """The leader half: what the sums of all sites make of the state."""
        phase = phase_of(start)
        if phase == RANGES:
            return after_ranges(self.facts, total) | Parameters(at_phase(HISTOGRAMS))
        if phase == HISTOGRAMS:
            return self._after_histograms(start, total)
        found: dict[str, object] = dict(start.items())
        coding = coding_of(self.facts, start)
        hazards, still = hazards_moved(self.facts, start, total)
        found |= hazards
        if phase == PAIRS:
            columns = self._columns(start, coding)
            found |= columns.solved(total)
            joint = np.asarray(total["both"], dtype=np.int64)
            found = products_added(self.facts, found, coding, joint, columns.starts[:-1])
            still = still and not len(np.asarray(found.get("hazard pairs", ())))
        steps = int(start["hazard steps"][0]) + 1
        found["hazard steps"] = np.array([steps], dtype=np.int64)
        return Parameters(found | at_phase(DONE if still or steps > MAX_STEPS else OUTCOME))

    def finished(self, parameters: Parameters) -> bool:
        """Whether pairs are known and hazards stand still."""
        return phase_of(parameters) == DONE

    def predict(self, parameters: Parameters, examples: Examples) -> Floats:
        """Log relative hazard of every patient, (n,). Raises UsageError for an outcome that is not survival."""
        if not self.facts.time:
            raise UsageError("generator 'copula' predicts survival outcomes only")
        rows = rows_of_examples(examples, self.facts)
        return log_risk(self.facts, parameters, coding_of(self.facts, parameters), rows)

    def parts(self, parameters: Parameters) -> Mapping[str, tuple[str, ...]]:
        """None."""
        return {}

    # --- states and draws --------------------------------------------------------------------------------------

    def correlations(self, state: Parameters) -> Floats:
        """Of the normal variables behind the columns, then behind the gaps, as they were solved."""
        return np.asarray(state["correlations"], dtype=np.float64)

    def sample(self, state: Parameters, n: int, *, rng: np.random.Generator) -> Rows:
        """n new patients; gaps as in the data. Raises UsageError before the fit is finished."""
        if not self.finished(state):
            raise UsageError("this generator is not finished; fit it to the end before sampling")
        coding = coding_of(self.facts, state)
        columns = self._columns(state, coding)
        root = np.linalg.cholesky(lifted(self.correlations(state)))
        found = columns.cut(rng.normal(size=(n, len(root))) @ root.T, state, rng)
        if self.facts.time:
            found |= sampled_outcome(self.facts, state, coding, found, rng)
        return Rows(self.facts, found)

    def _after_histograms(self, start: Parameters, total: Parameters) -> Parameters:
        state = after_histograms(self.facts, start, total, min_cell=self.min_cell)
        found: dict[str, object] = dict(state.items())
        for fact in self.facts.columns:
            if fact.kind == "numeric":
                grid, whole = (np.asarray(start[f"{kind}/{fact.name}"]) for kind in ("grid", "whole"))
                fine = np.asarray(total[f"fine/{fact.name}"], dtype=np.int64)
                spikes = np.asarray(state[f"spikes/{fact.name}"], dtype=np.float64)
                alone = np.clip(np.floor((spikes - grid[0]) / grid[1]), 0, int(grid[2]) - 1).astype(np.int64)
                held = Scores.joined(grid, fine, whole=whole, min_cell=self.min_cell, alone=alone)
                found |= dict(held.to_parameters().prefixed(f"whole table/{fact.name}").items())
        found |= hazards_begun(self.facts, state, coding_of(self.facts, state))
        found["hazard steps"] = np.zeros(1, dtype=np.int64)
        return Parameters(found | at_phase(PAIRS))

    def _columns(self, state: Parameters, coding: Coding) -> _Columns:
        tables = {fact.name: scores_of(state.under(f"whole table/{fact.name}")) for fact in coding.numbers}
        return _Columns(coding, tables)


@dataclass(frozen=True, eq=False)
class _Columns:
    """The normal variables: named columns, numbers, then gaps. tables: of numbers, spikes among them."""

    coding: Coding
    tables: Mapping[str, Scores]

    @cached_property
    def gapped(self) -> tuple[Fact, ...]:
        """Columns whose gaps are modelled."""
        return tuple(c for c in (*self.coding.named, *self.coding.numbers) if self.coding.gaps[c.name])

    @cached_property
    def sizes(self) -> tuple[int, ...]:
        """Levels of every variable that has some: named columns, then gaps."""
        return (*(len(c.levels or "01") for c in self.coding.named), *(2 for _ in self.gapped))

    @cached_property
    def starts(self) -> Integers:
        """First level of every variable among all levels; the last entry is their number."""
        return np.concatenate([[0], np.add.accumulate(self.sizes)]).astype(np.int64)

    def pairs(self, rows: Rows) -> dict[str, object]:
        """Sums over patients: of each pair of levels, of scores by level, of products of scores."""
        n = len(rows)
        codes = [rows[c.name] for c in self.coding.named] + [np.isnan(rows[c.name]) for c in self.gapped]
        wide = np.zeros((n, sum(self.sizes)), dtype=np.int64)
        at = 0
        for held, size in zip(codes, self.sizes, strict=True):
            there = ~np.isnan(held)
            wide[np.flatnonzero(there), at + held[there].astype(np.int64)] = 1
            at += size
        scores = [self.tables[c.name].score(rows[c.name]) for c in self.coding.numbers]
        z = np.column_stack(scores) if scores else np.zeros((n, 0))
        there = (~np.isnan(z)).astype(np.int64)
        steps = np.rint(np.nan_to_num(z) * 2.0**_SCORE_BITS).astype(np.int64)
        left = np.hstack([wide, there])
        return {
            "both": fp.integer_dot(left.T, left, what="pairs"),
            "sum": fp.integer_dot(left.T, steps, what="sums of scores"),
            "square": fp.integer_dot(left.T, steps * steps, what="squares of scores"),
            "product": fp.integer_dot(steps.T, steps, what="products of scores"),
        }

    def solved(self, total: Parameters) -> dict[str, object]:
        """Counts of levels, and the correlations."""
        both, sums, squares, products = (np.asarray(total[name], dtype=np.int64) for name in _SUMS)
        starts = self.starts
        wide = int(starts[-1])
        counts = [np.diag(both)[a:b] for a, b in pairwise(starts)]
        scores = [level_scores(c) for c in counts]
        z_sums, z_squares = fp.from_fixed(sums, _SCORE_BITS), fp.from_fixed(squares, 2 * _SCORE_BITS)
        z_products = fp.from_fixed(products, 2 * _SCORE_BITS)
        # Every variable as a column of scores over (levels | numbers): moments of any pair follow from the same sums.
        v, m = len(counts), products.shape[0]
        weights = np.zeros((wide, v))
        held = np.zeros((wide, v))
        for j, score in enumerate(scores):
            weights[starts[j] : starts[j + 1], j] = score
            held[starts[j] : starts[j + 1], j] = 1.0
        tables = both[:wide, :wide].astype(np.float64)
        found = np.eye(v + m)
        n_both = _sandwich(held, tables, held)
        cross = _sandwich(weights, tables, weights)
        first = _sandwich(weights, tables, held)
        square = _sandwich(weights**2, tables, held)
        found[:v, :v] = _correlation(n_both, first, first.T, square, square.T, cross)
        there, z, zz = both[:wide, wide:].astype(np.float64), z_sums[:wide], z_squares[:wide]
        found[:v, v:] = _correlation(
            _tall(held, there), _tall(weights, there), _tall(held, z), _tall(weights**2, there), _tall(held, zz),
            _tall(weights, z),
        )  # fmt: skip
        found[v:, :v] = found[:v, v:].T
        n_numbers, own, own2 = both[wide:, wide:].astype(np.float64), z_sums[wide:], z_squares[wide:]
        found[v:, v:] = _correlation(n_numbers, own.T, own, own2.T, own2, z_products)
        kept = [kept_by_cutting(c, s) for c, s in zip(counts, scores, strict=True)]
        kept += [kept_by_cutting(self.tables[c.name].counts, self.tables[c.name].z) for c in self.coding.numbers]
        scale = np.array(kept)
        scale = np.where(scale > 1e-6, scale, np.inf)
        found = np.clip(found / scale[:, None] / scale, -_MOST, _MOST)
        flags = [j for j, size in enumerate(self.sizes) if size == 2]
        a, b = (np.array([pair[k] for pair in ((i, j) for i in flags for j in flags if j < i)], int) for k in (0, 1))
        ones = starts[1:] - 1
        joint = tables[ones[a], ones[b]]
        n_pair, n_first = n_both[a, b], joint + tables[ones[a], ones[b] - 1]
        solved = tetrachoric(joint, n_first, joint + tables[ones[a] - 1, ones[b]], n_pair)
        constant = np.array([int((c > 0).sum()) < 2 for c in counts], dtype=bool)
        found[a, b] = found[b, a] = np.where(constant[a] | constant[b], 0.0, solved)
        np.fill_diagonal(found, 1.0)
        levels = {f"levels/{j}": c.astype(np.int64) for j, c in enumerate(counts)}
        return {**levels, "correlations": found}

    def cut(self, z: Floats, state: Parameters, rng: np.random.Generator) -> dict[str, Floats]:
        """Columns of patients with these normal values, outcome left out."""
        found: dict[str, Floats] = {}
        n_named = len(self.coding.named)
        for j, fact in enumerate(self.coding.named):
            found[fact.name] = _levels(z[:, j], np.asarray(state[f"levels/{j}"])).astype(np.float64)
        n_levels = len(self.sizes)
        for j, fact in enumerate(self.coding.numbers):
            column, table = z[:, n_levels + j], self.tables[fact.name]
            nobody = not int(table.counts.sum())
            values = None if nobody else repaired(column, table, rng, spikes=self.coding.spikes[fact.name])
            found[fact.name] = np.full(len(z), np.nan) if values is None else values
        for j, fact in enumerate(self.gapped, start=n_named):
            gone = _levels(z[:, j], np.asarray(state[f"levels/{j}"])) == 1
            found[fact.name] = np.where(gone, np.nan, found[fact.name])
        return found


_MOST = 0.995


def _sandwich(left: Floats, middle: Floats, right: Floats) -> Floats:
    """left' middle right, every sum in the order of the rows."""
    return np.asarray(fp.ordered_sum(_tall(left, middle)[:, :, None] * right[None, :, :], axis=1))


def _tall(left: Floats, middle: Floats) -> Floats:
    """left' middle, row by row."""
    return np.asarray(fp.ordered_sum(left[:, :, None] * middle[:, None, :], axis=0))


def _correlation(n: Floats, x: Floats, y: Floats, xx: Floats, yy: Floats, xy: Floats) -> Floats:
    """Of every pair, from the sums over the patients who have both; 0 where it is not defined."""
    m = np.maximum(n, 1.0)
    vx, vy = xx / m - (x / m) ** 2, yy / m - (y / m) ** 2
    spread = np.sqrt(np.maximum(vx, 0.0) * np.maximum(vy, 0.0))
    defined = (n > 1) & (spread > 1e-9)
    return np.where(defined, (xy / m - (x / m) * (y / m)) / np.where(defined, spread, 1.0), 0.0)


def _levels(z: Floats, counts: Integers) -> Integers:
    """Which level a normal value falls into, at the counts' shares."""
    from scipy.stats import norm

    edges = np.cumsum(counts)[:-1] / max(int(counts.sum()), 1)
    return np.searchsorted(norm.ppf(edges), z, side="right")
