"""What the consortium's patients look like, from sums: counts, means, variances, quantiles, tables, events over time.

`Describe` and `Correlations` are learners by sums, so that they run as stages of a study and give the
pooled answer bit for bit for every partition. Smallest and largest values are never asked for: the range
in which a quantile must lie follows from mean and sd (Cantelli), is cut into 1,024 bins, and the bin that
holds the quantile once more into 1,024 - if it holds at least twice the smallest cell.

A state is what members' software computes with; what may be printed is decided in `release.py`.
Design: clinical-learning.md 1.6.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import ClassVar, Literal

import numpy as np
from numpy.typing import NDArray

from cohortium.core.examples import Examples, Layout
from cohortium.core.fixed_point import from_fixed, integer_dot, to_fixed
from cohortium.core.parameters import Parameters
from cohortium.core.update import Fitted, Instructions
from cohortium.data.moments import floats, moment_sums, moments, n_columns
from cohortium.data.suppression import Policy
from cohortium.errors import InvariantBroken, TrainingFailed

__all__ = ["BINS", "MAX_COLUMNS", "Correlations", "CrossTable", "Describe"]

BINS = 1024
MAX_COLUMNS = 1000
"""Columns up to which quantiles (`Describe`) and correlations are computed."""

_WIDER = 1.0 + 2.0**-20  # the range of quantiles is exact but for rounding
_BITS = 16
_FURTHEST = 64.0

Floats = NDArray[np.float64]
Integers = NDArray[np.int64]


@dataclass(frozen=True, kw_only=True)
class CrossTable:
    """A two-way table of counts: `rows` and `columns` name a subgroup, `outcome`, or a 0/1 feature.

    shape: number of levels of each; rows of unknown level are not counted.
    """

    rows: str
    columns: str
    shape: tuple[int, int] = (2, 2)

    def __post_init__(self) -> None:
        if min(self.shape) < 2 or max(self.shape) > 100:
            raise ValueError(f"shape of table {self.rows} x {self.columns} must be 2 to 100 levels, got {self.shape}")


@dataclass(frozen=True, kw_only=True)
class Describe:
    """Counts, moments, outcome, tables; then quantiles in two more exchanges (tables of up to 1,000 columns).

    quantiles: shares between 0 and 1, in order; the q-quantile is the smallest value with at least a share q
    of the values at or below it.
    """

    quantiles: tuple[float, ...] = (0.25, 0.5, 0.75)
    tables: tuple[CrossTable, ...] = ()
    policy: Policy = field(default_factory=Policy)
    learns_by: ClassVar[Literal["sums"]] = "sums"
    max_rounds: ClassVar[int] = 3

    def __post_init__(self) -> None:
        object.__setattr__(self, "quantiles", tuple(self.quantiles))
        object.__setattr__(self, "tables", tuple(self.tables))
        if any(not 0 < q < 1 for q in self.quantiles) or list(self.quantiles) != sorted(set(self.quantiles)):
            raise ValueError(f"quantiles must rise between 0 and 1, got {self.quantiles}")

    def initial(self, layout: Layout, *, rng: np.random.Generator) -> Parameters:
        """`step`, and how many columns get quantiles."""
        wanted = bool(self.quantiles) and layout.image is None and 0 < len(layout.features) <= MAX_COLUMNS
        return Parameters(
            {"step": np.zeros(1, dtype=np.int64), "wanted": np.array([wanted], dtype=np.uint8), **_empty(layout)}
        )

    def fit(
        self, start: Parameters, examples: Examples, *, instructions: Instructions, rng: np.random.Generator
    ) -> Fitted:
        """First counts and moments, then the histogram of each column, then of each quantile's bin."""
        step = int(start["step"][0])
        if step == 0:
            sums = _first_sums(examples, self.tables)
        elif step == 1:
            sums = Parameters({"bins": _histogram(start, examples)})
        else:
            sums = Parameters({"bins": _refined(start, examples, self.policy)})
        return Fitted(parameters=sums, n_samples=len(examples))

    def advance(self, start: Parameters, total: Parameters) -> Parameters:
        """The next state.

        After one exchange: `rows` (records, sites), per column `count`, `sites`, `ones`, `others` (neither 0 nor
        1), `mean`, `variance`; `classes`, or `events` and `leaving` per time cell; `table/0`, `table/1`, ...
        After three also `quantile` and `quantile_error` (q, p).
        """
        step = int(start["step"][0])
        if step == 0:
            found = _first_state(total, self.quantiles)
        elif step == 1:
            found = _coarse(start, total["bins"].astype(np.int64), self.quantiles)
        else:
            found = _fine(start, total["bins"].astype(np.int64), self.policy)
        return start | found | Parameters({"step": np.array([step + 1], dtype=np.int64)})

    def finished(self, parameters: Parameters) -> bool:
        """After one exchange without quantiles, after three with them."""
        return int(parameters["step"][0]) >= (3 if parameters["wanted"][0] else 1)

    def predict(self, parameters: Parameters, examples: Examples) -> Floats:
        """Never: statistics predict nothing."""
        raise InvariantBroken("statistics predict nothing")

    def parts(self, parameters: Parameters) -> Mapping[str, tuple[str, ...]]:
        """None."""
        return {}


@dataclass(frozen=True, kw_only=True)
class Correlations:
    """Pearson correlation of every pair of columns over the rows that have both. Columns: at most 1,000.

    Values count up to 64 sd from the mean; they are rounded to 2^-16 sd before products are added.
    """

    learns_by: ClassVar[Literal["sums"]] = "sums"
    max_rounds: ClassVar[int] = 2

    def initial(self, layout: Layout, *, rng: np.random.Generator) -> Parameters:
        """`step`, `mean`, `sd` (p,), `n` and `r` (p, p)."""
        p = len(layout.features)
        if layout.image is not None or p > MAX_COLUMNS:
            raise TrainingFailed(
                f"correlations take at most {MAX_COLUMNS} columns", stage="statistics", code="too_wide"
            )
        arrays = {"mean": np.zeros(p), "sd": np.ones(p), "n": np.zeros((p, p), dtype=np.int64), "r": np.zeros((p, p))}
        return Parameters({"step": np.zeros(1, dtype=np.int64), **arrays})

    def fit(
        self, start: Parameters, examples: Examples, *, instructions: Instructions, rng: np.random.Generator
    ) -> Fitted:
        """Moments; then, for each pair, count, sum, sum of squares and of products on unit scale."""
        if int(start["step"][0]) == 0:
            return Fitted(parameters=moment_sums(examples), n_samples=len(examples))
        z = np.clip((examples.x - floats(start, "mean")) / floats(start, "sd"), -_FURTHEST, _FURTHEST)
        known = (~np.isnan(z)).astype(np.int64)
        z_fixed = to_fixed(np.where(np.isnan(z), 0.0, z), _BITS, what="a feature on unit scale")
        sums = {
            "n": integer_dot(known.T, known),
            "z": integer_dot(z_fixed.T, known),
            "zz": integer_dot((z_fixed * z_fixed).T, known),
            "zy": integer_dot(z_fixed.T, z_fixed),
        }
        return Fitted(parameters=Parameters(sums), n_samples=len(examples))

    def advance(self, start: Parameters, total: Parameters) -> Parameters:
        """The scale, then r; 0 where a column has one value or two columns never meet."""
        step = int(start["step"][0])
        if step == 0:
            found = moments(total)
            mean = np.where(found.count > 0, found.mean, 0.0)
            scale = {"mean": mean, "sd": np.sqrt(np.where(found.usable, found.variance, 1.0))}
            return start | Parameters({"step": np.array([1], dtype=np.int64), **scale})
        n = np.maximum(total["n"].astype(np.float64), 1.0)
        mean, square = from_fixed(total["z"], _BITS) / n, from_fixed(total["zz"], 2 * _BITS) / n
        spread = square - mean * mean
        product = np.sqrt(np.maximum(spread * spread.T, 0.0))
        joint = from_fixed(total["zy"], 2 * _BITS) / n - mean * mean.T
        r = np.where(product > 2.0**-20, joint / np.where(product > 0, product, 1.0), 0.0)
        found_r = {"n": total["n"], "r": np.clip(r, -1.0, 1.0)}
        return start | Parameters({"step": np.array([2], dtype=np.int64), **found_r})

    def finished(self, parameters: Parameters) -> bool:
        """After two exchanges."""
        return int(parameters["step"][0]) >= 2

    def predict(self, parameters: Parameters, examples: Examples) -> Floats:
        """Never: statistics predict nothing."""
        raise InvariantBroken("statistics predict nothing")

    def parts(self, parameters: Parameters) -> Mapping[str, tuple[str, ...]]:
        """None."""
        return {}


# Counts and moments


def _empty(layout: Layout) -> dict[str, object]:
    p = n_columns(layout)
    return {"mean": np.zeros(p), "variance": np.zeros(p)}


def _first_sums(examples: Examples, tables: tuple[CrossTable, ...]) -> Parameters:
    layout = examples.layout
    sums = dict(moment_sums(examples))
    sums["sites"] = (np.asarray(sums["count"]) > 0).astype(np.int64)
    sums["rows"] = np.array([len(examples), int(len(examples) > 0)], dtype=np.int64)
    if layout.image is None:
        zeros, ones = np.count_nonzero(examples.x == 0, axis=0), np.count_nonzero(examples.x == 1, axis=0)
        sums["ones"], sums["others"] = np.int64(1) * ones, np.asarray(sums["count"]) - zeros - ones
    sums |= _outcome_sums(examples)
    for place, table in enumerate(tables):
        rows, columns = (_codes(examples, name) for name in (table.rows, table.columns))
        counted = np.zeros(table.shape, dtype=np.int64)
        inside = (rows >= 0) & (rows < table.shape[0]) & (columns >= 0) & (columns < table.shape[1])
        np.add.at(counted, (rows[inside], columns[inside]), 1)
        sums[f"table/{place}"] = counted
    return Parameters(sums)


def _outcome_sums(examples: Examples) -> dict[str, Integers]:
    """Rows per class, or events and rows leaving in each cell of the time grid."""
    layout = examples.layout
    if examples.time is not None and examples.event is not None and layout.resolution > 0:
        n_cells = int(np.ceil(layout.horizon / layout.resolution)) + 1
        cell = np.clip(np.floor(examples.time / layout.resolution), 0, n_cells - 1).astype(np.int64)
        events = np.bincount(cell[examples.event > 0], minlength=n_cells)
        return {"events": events.astype(np.int64), "leaving": np.bincount(cell, minlength=n_cells).astype(np.int64)}
    if examples.y is not None and layout.outcome in ("binary", "classes"):
        known = examples.y[~np.isnan(examples.y)].astype(np.int64)
        return {"classes": np.bincount(known, minlength=max(2, len(layout.classes))).astype(np.int64)}
    return {}


def _codes(examples: Examples, name: str) -> Integers:
    """Level of each row, -1 where unknown: a subgroup, the outcome's class or event, or a 0/1 feature."""
    if name in examples.subgroups:
        return examples.subgroups[name].astype(np.int64)
    if name == "outcome" and examples.event is not None:
        return examples.event.astype(np.int64)
    if name == "outcome" and examples.y is not None:
        return np.where(np.isnan(examples.y), -1, np.nan_to_num(examples.y)).astype(np.int64)
    if name in examples.layout.features:
        values = examples.x[:, examples.layout.features.index(name)]
        return np.where((values == 0) | (values == 1), np.nan_to_num(values), -1).astype(np.int64)
    raise TrainingFailed(f"no subgroup, outcome or 0/1 feature is called '{name}'", stage="statistics", code="column")


def _first_state(total: Parameters, quantiles: tuple[float, ...]) -> Parameters:
    found = moments(total)
    mean = np.where(found.count > 0, found.mean, 0.0)
    variance = np.where(found.count > 0, found.variance, 0.0)
    kept = {n: a for n, a in total.items() if n not in ("sum", "squares")}
    state: dict[str, object] = {**kept, "mean": mean, "variance": variance}
    if quantiles:
        below = np.sqrt((1.0 - quantiles[0]) / quantiles[0]) * _WIDER
        above = np.sqrt(quantiles[-1] / (1.0 - quantiles[-1])) * _WIDER
        sd = np.sqrt(variance)
        state["low"] = mean - below * sd
        state["width"] = np.where(sd > 0, (below + above) * sd / BINS, 1.0)
    return Parameters(state)


# Quantiles


def _places(start: Parameters, x: NDArray[np.floating]) -> Floats:
    """Where values lie, in bins from the low end of their column's range; NaN where missing."""
    placed: Floats = (np.asarray(x, dtype=np.float64) - floats(start, "low")) / floats(start, "width")
    return placed


def _histogram(start: Parameters, examples: Examples) -> Integers:
    """Values below the range, in each of 1,024 bins, above it: (BINS + 2, p)."""
    bins = np.clip(np.floor(_places(start, examples.x)), -1, BINS) + 1
    return _count_by_column(bins, BINS + 2)


def _refined(start: Parameters, examples: Examples, policy: Policy) -> Integers:
    """The 1,024 parts of each quantile's bin: (q, BINS, p); none for bins that are too small to be split."""
    places = _places(start, examples.x)
    bins = np.floor(places)
    parts = np.clip(np.floor((places - bins) * BINS), 0, BINS - 1)
    split = start["inside"].astype(np.int64) >= 2 * policy.min_cell
    wanted = np.where(split, start["bin"].astype(np.float64), np.inf)
    return np.stack([_count_by_column(np.where(bins == one, parts, np.nan), BINS) for one in wanted])


def _count_by_column(bins: Floats, n_bins: int) -> Integers:
    """How often each bin occurs in each column of (n, p); NaN is not counted. Shape (n_bins, p)."""
    p = bins.shape[1]
    known = ~np.isnan(bins)
    flat = (np.where(known, bins, 0) * p + np.arange(p))[known].astype(np.int64)
    return np.bincount(flat, minlength=n_bins * p).astype(np.int64).reshape(n_bins, p)


def _coarse(start: Parameters, bins: Integers, quantiles: tuple[float, ...]) -> Parameters:
    """For each quantile: its bin, how many values lie before it and in it, and its rank from 1. All (q, p)."""
    up_to = np.cumsum(bins, axis=0)
    n = up_to[-1].astype(np.float64)
    rank = np.maximum(np.ceil(np.array(quantiles)[:, None] * n - 2.0**-20), 1.0)
    place = np.minimum((up_to[None] < rank[:, None]).sum(axis=1), BINS)  # of BINS + 2 cells
    place = np.maximum(place, 1)
    before = np.take_along_axis(up_to, place - 1, axis=0)
    inside = np.take_along_axis(bins, place, axis=0)
    arrays = {"bin": place - 1, "before": before, "inside": inside, "rank": rank.astype(np.int64)}
    return Parameters({name: array.astype(np.int64) for name, array in arrays.items()})


def _fine(start: Parameters, parts: Integers, policy: Policy) -> Parameters:
    """The quantiles (q, p), and half the width of what they were read from (`quantile_error`)."""
    up_to = np.cumsum(parts, axis=1)
    left = start["rank"].astype(np.int64) - start["before"].astype(np.int64)
    part = np.minimum((up_to < left[:, None]).sum(axis=1), BINS - 1)
    split = start["inside"].astype(np.int64) >= 2 * policy.min_cell
    inner = np.where(split, (part + 0.5) / BINS, 0.5)
    width = floats(start, "width")
    varies = floats(start, "variance") > 0
    value = floats(start, "low") + (start["bin"].astype(np.float64) + inner) * width
    error = np.where(varies, np.where(split, 0.5 / BINS, 0.5) * width, 0.0)
    return Parameters({"quantile": np.where(varies, value, floats(start, "mean")), "quantile_error": error})
