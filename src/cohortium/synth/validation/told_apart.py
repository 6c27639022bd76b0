"""Can the hospitals together tell their patients from a synthetic table? Boosted trees that are grown from sums.

    learner = ToldApart(facts=facts, synthetic=rows)
    trees = fit_by_sums(learner, [training_a, training_b])             # or a swarm, under masks
    scores = fit_by_sums(learner.asking(trees), [reserve_a, reserve_b])
    learner.auc(scores)                                                # 0.5 = not at all, 1 = always

The synthetic half of the sums is known to all, so hospitals add up only gradients of their own patients by node, column
and bin: whole numbers, three exchanges a tree. Bins are quantiles of the synthetic table. Half of its rows are learned
from, the others are told from held-out patients, whose scores are counted in one more exchange. Exact sums give the
trees of the pooled rows. Design: synthetic-data.md 7.7, where a network of 2 x 64 averages; trees tell more.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from functools import cached_property
from typing import ClassVar, Literal

import numpy as np
from numpy.typing import NDArray

from cohortium.core.examples import Examples, Layout
from cohortium.core.parameters import Parameters
from cohortium.core.update import Fitted, Instructions
from cohortium.errors import UsageError
from cohortium.synth.facts import Facts
from cohortium.synth.generators.preparing import check_counts
from cohortium.synth.rows import Rows, rows_of_examples

__all__ = ["ToldApart"]

Floats = NDArray[np.float64]
Integers = NDArray[np.int64]

N_TREES, DEPTH = 20, 3
_SHRINKAGE, _RIDGE, _LEAST_CURVATURE = 0.3, 5.0, 2.0
_BINS = 16
_STEP = 2.0**-10
"""Of a leaf's value, in nats: scores are whole numbers of it."""
_FINE = 2.0**20
"""Gradients are rounded to whole numbers of 1 / this."""
_SCORES = 512
_DONE = N_TREES * DEPTH
_NOWHERE = -1
"""The cut of a node with too few patients to part: all go right."""


@dataclass(frozen=True, kw_only=True)
class ToldApart:
    """A learner by sums. synthetic: known to all, its even rows are learned from. trees: finished ones, to be asked."""

    facts: Facts
    synthetic: Rows
    trees: Parameters | None = None

    learns_by: ClassVar[Literal["sums"]] = "sums"
    reads_columns: ClassVar[bool] = False
    max_rounds: ClassVar[int] = _DONE

    def asking(self, trees: Parameters) -> ToldApart:
        """The learner that counts what finished trees say of other patients."""
        return ToldApart(facts=self.facts, synthetic=self.synthetic, trees=trees)

    def auc(self, scores: Parameters) -> float:
        """Chance that a held-out patient looks more real than a synthetic row, ties half; NaN without patients."""
        real = np.asarray(scores["patients"], dtype=np.float64)
        made = _counted(_scores(scores, self._codes(self._halves[1]), self._ordered))
        if not real.sum() or not made.sum():
            return float("nan")
        below = np.cumsum(made) - made
        return float(real @ (below + 0.5 * made) / (real.sum() * made.sum()))

    # --- Learner -----------------------------------------------------------------------------------------------

    def initial(self, layout: Layout | None, *, rng: np.random.Generator | None) -> Parameters:
        """No tree yet, or the finished ones."""
        if self.trees is not None:
            return Parameters({name: array for name, array in self.trees.items() if name != "patients"})
        inner, leaves = (N_TREES, 2**DEPTH - 1), (N_TREES, 2**DEPTH)
        return Parameters(
            {
                "asked": np.zeros(1, dtype=np.int64),
                "column": np.zeros(inner, dtype=np.int64),
                "cut": np.zeros(inner, dtype=np.int64),
                "leaf": np.zeros(leaves, dtype=np.int64),
            }
        )

    def fit(
        self, start: Parameters, examples: Examples, *, instructions: Instructions, rng: np.random.Generator
    ) -> Fitted:
        """This site's sums."""
        rows = rows_of_examples(examples, self.facts)
        return Fitted(parameters=self.answer(start, rows), n_samples=len(rows))

    def answer(self, state: Parameters, rows: Rows) -> Parameters:
        """Gradients of these patients by node, column and bin; with finished trees, patients by score."""
        codes = self._codes(rows)
        if _asked(state) == _DONE:
            return Parameters({"patients": _counted(_scores(state, codes, self._ordered))})
        slope, curve = self._sums(state, codes, 1.0)
        return Parameters({"slope": slope, "curve": curve, "n": np.array([len(rows)], dtype=np.int64)})

    def advance(self, start: Parameters, total: Parameters) -> Parameters:
        """The leader half. Raises ValueError for totals that no patients give."""
        held = dict(start.items())
        asked = _asked(start)
        if asked == _DONE:
            check_counts(total)
            return Parameters({**held, "patients": total["patients"]})
        check_counts(total.without(("slope", "curve")))
        n = int(total["n"][0])
        for name, low, high in (("slope", -1.0, 1.0), ("curve", 0.0, 0.25)):
            if np.min(total[name]) < low * _FINE * n or np.max(total[name]) > (high * _FINE + 1) * n:
                raise ValueError(f"totals '{name}' of {n} patients lie outside {low:g} to {high:g} each")
        codes = self._codes(self._halves[0])
        made = self._sums(start, codes, 0.0)
        weight = n / max(len(codes), 1)
        slope, curve = (
            (np.asarray(total[name], dtype=np.float64) + weight * mine) / _FINE
            for name, mine in zip(("slope", "curve"), made, strict=True)
        )
        tree, level = divmod(asked, DEPTH)
        first = 2**level - 1
        column, cut, values = self._split(slope, curve)
        changed = {name: np.array(held[name]) for name in ("column", "cut", "leaf")}
        changed["column"][tree, first : 2 * first + 1] = column
        changed["cut"][tree, first : 2 * first + 1] = cut
        if level == DEPTH - 1:
            changed["leaf"][tree] = values
        return Parameters({**held, **changed, "asked": np.array([asked + 1], dtype=np.int64)})

    def finished(self, parameters: Parameters) -> bool:
        """Whether all trees stand; whether patients are counted, where finished ones are asked."""
        return _asked(parameters) == _DONE and (self.trees is None or "patients" in parameters)

    def predict(self, parameters: Parameters, examples: Examples) -> Floats:
        """Nothing is predicted: raises UsageError."""
        raise UsageError("trees that tell patients from synthetic rows predict nothing")

    def parts(self, parameters: Parameters) -> Mapping[str, tuple[str, ...]]:
        """None."""
        return {}

    # --- bins and sums -----------------------------------------------------------------------------------------

    @cached_property
    def _halves(self) -> tuple[Rows, Rows]:
        at = np.arange(len(self.synthetic))
        return self.synthetic.take(at % 2 == 0), self.synthetic.take(at % 2 == 1)

    @cached_property
    def _edges(self) -> dict[str, Floats]:
        found = {}
        for fact in self.facts.columns:
            if fact.is_number:
                held = self.synthetic[fact.name]
                held = held[~np.isnan(held)]
                shares = np.arange(1, _BINS) / _BINS
                found[fact.name] = np.unique(np.quantile(held, shares)) if len(held) else np.zeros(0)
        return found

    @cached_property
    def _width(self) -> int:
        """Bins or levels of the widest column, and one for missing."""
        levels = [len(fact.levels) or 2 for fact in self.facts.columns if not fact.is_number]
        return 1 + max([len(edges) + 1 for edges in self._edges.values()] + levels)

    @cached_property
    def _ordered(self) -> NDArray[np.bool_]:
        """Which columns are cut between bins, (p,); the others are asked for one level."""
        return np.array([fact.is_number for fact in self.facts.columns])

    def _codes(self, rows: Rows) -> Integers:
        columns = []
        for fact in self.facts.columns:
            held = rows[fact.name]
            missing = np.isnan(held)
            there = np.where(missing, 0, held)
            bins = np.searchsorted(self._edges[fact.name], there, side="right") if fact.is_number else there
            columns.append(np.where(missing, self._width - 1, bins).astype(np.int64))
        return np.column_stack(columns)

    def _sums(self, state: Parameters, codes: Integers, y: float) -> tuple[Integers, Integers]:
        """(slope, curvature) of the likelihood by node of the level asked for, column and bin: (nodes, p, bins)."""
        tree, level = divmod(_asked(state), DEPTH)
        real = 1.0 / (1.0 + np.exp(-_STEP * _scores(state, codes, self._ordered, trees=tree)))
        node = _node(state, tree, codes, self._ordered, level)
        shape = (2**level, codes.shape[1], self._width)
        cell = (node[:, None] * shape[1] + np.arange(shape[1])) * shape[2] + codes
        found = []
        for each in (y - real, real * (1.0 - real)):
            whole = np.rint(_FINE * each)  # sums of doubles are exact: below 2^53 for 2^33 patients
            flat = np.bincount(cell.ravel(), np.repeat(whole, shape[1]), minlength=int(np.prod(shape)))
            found.append(flat.reshape(shape).astype(np.int64))
        return found[0], found[1]

    def _split(self, slope: Floats, curve: Floats) -> tuple[Integers, Integers, Integers]:
        """Best column and cut of every node, (nodes,), and the values of both children behind one another."""
        ordered = self._ordered[None, :, None]
        left = [np.where(ordered, one.cumsum(axis=2), one) for one in (slope, curve)]
        whole = [one.sum(axis=2)[:, :1, None] for one in (slope, curve)]
        right = [a - b for a, b in zip(whole, left, strict=True)]
        gain = left[0] ** 2 / (left[1] + _RIDGE) + right[0] ** 2 / (right[1] + _RIDGE)
        gain = np.where((left[1] >= _LEAST_CURVATURE) & (right[1] >= _LEAST_CURVATURE), gain, -1.0)
        column, cut = np.divmod(gain.reshape(len(gain), -1).argmax(axis=1), gain.shape[2])
        at = (np.arange(len(gain)), column, cut)
        parted = gain[at] >= 0.0
        sides = [(a[at], b[at]) for a, b in (right, left)]
        undivided = whole[0][:, 0, 0] / (whole[1][:, 0, 0] + _RIDGE)
        values = [np.where(parted, a / (b + _RIDGE), undivided) for a, b in sides]
        leaves = np.rint(_SHRINKAGE / _STEP * np.column_stack(values)).astype(np.int64)
        return column, np.where(parted, cut, _NOWHERE), leaves.ravel()


def _asked(state: Parameters) -> int:
    """How many levels of trees are grown."""
    return int(state["asked"][0])


def _node(state: Parameters, tree: int, codes: Integers, ordered: NDArray[np.bool_], depth: int) -> Integers:
    """Place of every row among the nodes of this depth, (n,): twice the parent's, one more where it goes left."""
    column, cut = np.asarray(state["column"])[tree], np.asarray(state["cut"])[tree]
    node = np.zeros(len(codes), dtype=np.int64)
    for level in range(depth):
        at = node + 2**level - 1
        held = codes[np.arange(len(codes)), column[at]]
        left = np.where(ordered[column[at]], held <= cut[at], held == cut[at])
        node = 2 * node + left
    return node


def _scores(state: Parameters, codes: Integers, ordered: NDArray[np.bool_], *, trees: int = N_TREES) -> Integers:
    """Sum of the leaves of the first trees, (n,), in steps: above 0 looks real."""
    leaf = np.asarray(state["leaf"])
    found = np.zeros(len(codes), dtype=np.int64)
    for tree in range(trees):
        found += leaf[tree][_node(state, tree, codes, ordered, DEPTH)]
    return found


def _counted(scores: Integers) -> Integers:
    """Rows by score, from -4 to 4 nats in cells of a sixty-fourth; what lies beyond is in the last ones."""
    cells = np.clip(scores // 16 + _SCORES // 2, 0, _SCORES - 1)
    return np.bincount(cells, minlength=_SCORES).astype(np.int64)
