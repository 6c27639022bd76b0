"""Gaps of real patients filled by a generator, m times; and how good that is on cells that were hidden on purpose.

    tables = fill(generator, state, rows, sets=5, rng=rng)
    found = judge_imputation(generator, state, training, held_out, sets=20, seed=0)
    found.document()["error"]                       # {"generator": 0.82, "median": 1.01, "chained": 0.84, ...}

A tenth of the known cells of patients the generator never saw is hidden. Numbers: root mean square error of the mean
of m draws in standard deviations of the column; names: share that is right by the most frequent draw. Beside them:
median or most frequent level, and chained ridge regressions (scikit-learn's IterativeImputer) learned from the same
rows. Between the smallest and the largest of m draws a hidden number must lie in (m - 1) / (m + 1) of all cells,
whatever its distribution; ties are broken by lot. Design: synthetic-data.md section 8.
"""

from __future__ import annotations

import warnings
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from cohortium.core.parameters import Parameters
from cohortium.errors import MissingExtra, UsageError
from cohortium.synth.facts import Fact
from cohortium.synth.rows import Rows

__all__ = ["METHODS", "Imputation", "fill", "hide", "judge_imputation"]

Floats = NDArray[np.float64]
Bools = NDArray[np.bool_]

METHODS = ("generator", "median", "chained")
_FEWEST = 5


@dataclass(frozen=True, kw_only=True)
class Imputation:
    """error: by numeric column and method, in standard deviations; right: by named column and method, a share.

    covered, cells: by numeric column, share of hidden cells inside the range of the draws, and their number.
    """

    sets: int
    error: Mapping[str, Mapping[str, float]]
    right: Mapping[str, Mapping[str, float]]
    covered: Mapping[str, float]
    cells: Mapping[str, int]

    @property
    def nominal(self) -> float:
        """Share of cells that should be covered."""
        return (self.sets - 1) / (self.sets + 1)

    @property
    def coverage(self) -> float:
        """Share of all hidden numbers that are covered."""
        n = sum(self.cells.values())
        return sum(self.covered[name] * self.cells[name] for name in self.cells) / n if n else float("nan")

    def mean_error(self, method: str) -> float:
        """Mean over numeric columns."""
        return float(np.mean([one[method] for one in self.error.values()])) if self.error else float("nan")

    def mean_right(self, method: str) -> float:
        """Mean over named columns."""
        return float(np.mean([one[method] for one in self.right.values()])) if self.right else float("nan")

    def document(self) -> dict[str, Any]:
        """For `--json`."""
        return {
            "sets": self.sets,
            "error": {method: self.mean_error(method) for method in METHODS},
            "right": {method: self.mean_right(method) for method in METHODS},
            "coverage": {"found": self.coverage, "nominal": self.nominal, "cells": sum(self.cells.values())},
            "columns": {
                **{name: {"error": dict(one), "covered": self.covered[name], "cells": self.cells[name]}
                   for name, one in self.error.items()},
                **{name: {"right": dict(one)} for name, one in self.right.items()},
            },
        }  # fmt: skip


def fill(generator: Any, state: Parameters, rows: Rows, *, sets: int, rng: np.random.Generator) -> list[Rows]:
    """m tables without gaps. Raises UsageError for a generator that cannot fill them."""
    if not hasattr(generator, "impute"):
        raise UsageError(
            'this generator cannot fill gaps; learn one with generator = "bn" or "vae_bgm", and one model of all sites,'
            " by another federation than ensemble or sharing"
        )
    if sets < 1:
        raise UsageError(f"sets must be at least 1, got {sets}")
    return [generator.impute(state, rows, rng=rng) for _ in range(sets)]


def hide(rows: Rows, *, share: float, rng: np.random.Generator) -> tuple[Rows, dict[str, Bools]]:
    """(rows with a share of their known cells gone, which those are by column); the outcome stays."""
    if not 0 < share < 1:
        raise UsageError(f"share of cells to hide must lie between 0 and 1, got {share}")
    hidden = {
        fact.name: ~np.isnan(rows[fact.name]) & (rng.random(len(rows)) < share)
        for fact in rows.facts.columns
        if fact.group != "outcome"
    }
    return rows.with_columns({name: np.where(gone, np.nan, rows[name]) for name, gone in hidden.items()}), hidden


def judge_imputation(
    generator: Any, state: Parameters, training: Rows, held_out: Rows, *, share: float = 0.1, sets: int = 20, seed: int
) -> Imputation:
    """Hide cells of held-out patients and fill them by all three methods. Raises UsageError, MissingExtra."""
    if sets < 3:
        raise UsageError(f"at least 3 sets are needed to say what they cover, got {sets}")
    rng = np.random.default_rng([seed, 31])
    gappy, hidden = hide(held_out, share=share, rng=rng)
    tables = fill(generator, state, gappy, sets=sets, rng=rng)
    chained = _chained(training, gappy)
    error: dict[str, dict[str, float]] = {}
    right: dict[str, dict[str, float]] = {}
    covered: dict[str, float] = {}
    cells: dict[str, int] = {}
    for fact in training.facts.columns:
        gone = hidden.get(fact.name)
        if gone is None or int(gone.sum()) < _FEWEST:
            continue
        truth, known = held_out[fact.name][gone], training[fact.name][~np.isnan(training[fact.name])]
        draws = np.stack([table[fact.name][gone] for table in tables])
        if fact.is_number:
            spread = float(known.std()) or 1.0
            guesses = {"generator": draws.mean(axis=0), "median": np.median(known), "chained": chained[fact.name][gone]}
            error[fact.name] = {m: float(np.sqrt(np.mean((g - truth) ** 2)) / spread) for m, g in guesses.items()}
            covered[fact.name] = float(_inside(draws, truth, rng).mean())
            cells[fact.name] = len(truth)
        else:
            levels = len(fact.levels or "01")
            votes = np.stack([(draws == level).sum(axis=0) for level in range(levels)])
            most = np.bincount(known.astype(np.int64), minlength=levels).argmax()
            named = {"generator": votes.argmax(axis=0), "median": most, "chained": chained[fact.name][gone]}
            right[fact.name] = {m: float(np.mean(g == truth)) for m, g in named.items()}
    return Imputation(sets=sets, error=error, right=right, covered=covered, cells=cells)


def _inside(draws: Floats, truth: Floats, rng: np.random.Generator) -> Bools:
    """Whether the truth is neither first nor last among itself and the draws; equal ones are ordered by lot."""
    ties = (draws == truth).sum(axis=0)
    place = (draws < truth).sum(axis=0) + rng.integers(0, ties + 1)
    return np.asarray((place > 0) & (place < len(draws)))


def _chained(training: Rows, gappy: Rows) -> dict[str, Floats]:
    """Columns filled by chained ridge regressions learned from the training rows."""
    try:
        from sklearn.experimental import enable_iterative_imputer  # noqa: F401
        from sklearn.impute import IterativeImputer
    except ImportError:
        raise MissingExtra("the chained regressions beside an imputation", extra="synth") from None
    facts = training.facts.columns
    (x, where), (x_new, _) = _numbers(training, facts), _numbers(gappy, facts)
    varies = np.array([len(np.unique(column[~np.isnan(column)])) > 1 for column in x.T])
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # ten rounds are what is asked for, converged or not
        model = IterativeImputer(max_iter=10, random_state=0).fit(x[:, varies])
        filled = np.nan_to_num(x_new)
        filled[:, varies] = model.transform(x_new[:, varies])
    found = {}
    for fact in facts:
        block = filled[:, where[fact.name]]
        if fact.is_number or fact.kind == "event":
            found[fact.name] = block[:, 0]
        elif block.shape[1] == 1:
            found[fact.name] = (block[:, 0] > 0.5).astype(np.float64)
        else:
            found[fact.name] = block.argmax(axis=1).astype(np.float64)
    return found


def _numbers(rows: Rows, facts: tuple[Fact, ...]) -> tuple[Floats, dict[str, slice]]:
    """(all columns as numbers, categories as 0/1, time as its logarithm; where each column's are)."""
    columns: list[Floats] = []
    where: dict[str, slice] = {}
    for fact in facts:
        held, start = rows[fact.name], len(columns)
        if fact.kind == "time":
            columns.append(np.log1p(held))
        elif fact.kind == "categorical" and len(fact.levels) > 2:
            columns += [np.where(np.isnan(held), np.nan, held == level) for level in range(len(fact.levels))]
        else:
            columns.append(held)
        where[fact.name] = slice(start, len(columns))
    return np.column_stack(columns), where
