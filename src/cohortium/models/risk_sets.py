"""Time cells and who is at risk in them: the arithmetic under Cox regression and Kaplan-Meier.

Time is cut into cells of the layout's resolution. A patient is at risk in cells `first` to `last`; an event in
cell `last` comes before a censoring in the same cell. Late entry (left truncation) makes a patient at risk
from the cell after the entry on. Everything is integers, so sums are exact.
"""

from __future__ import annotations

import math
from dataclasses import dataclass, replace

import numpy as np
from numpy.typing import NDArray

from cohortium.core import fixed_point as fp
from cohortium.core.examples import Examples, Layout
from cohortium.errors import DataError

__all__ = ["MAX_CELLS", "Spans", "at_risk_sums", "cell_sums", "in_strata", "n_cells", "spans", "spans_in"]

Integers = NDArray[np.int64]

MAX_CELLS = 600
"""Cells of the grid when the layout names no horizon."""


@dataclass(frozen=True, kw_only=True, eq=False)
class Spans:
    """At-risk spans of n rows in a grid of k cells: at risk in cells start <= c < stop, event in cell stop - 1."""

    start: Integers
    stop: Integers
    event: NDArray[np.bool_]
    k: int


def n_cells(layout: Layout) -> int:
    """Cells of the layout's grid. Raises DataError without a resolution."""
    if layout.outcome != "survival":
        raise DataError(f"a survival outcome is needed, got {layout.outcome}")
    if not layout.resolution > 0:
        raise DataError(f"the time grid needs a resolution above 0, got {layout.resolution}")
    return MAX_CELLS if layout.horizon <= 0 else max(1, math.ceil(layout.horizon / layout.resolution))


def spans(examples: Examples, *, cause: int | None = 1) -> Spans:
    """Every row's span in the full grid; follow-up beyond the grid is censored in its last cell.

    cause: the event counted; None counts any. Raises DataError with counts only.
    """
    k = n_cells(examples.layout)
    time, event = examples.time, examples.event
    if time is None or event is None:
        raise DataError("the outcome has no follow-up time or event")
    wrong = int(np.count_nonzero(~(np.isfinite(time) & (time >= 0))))
    if wrong:
        raise DataError(f"follow-up: {wrong} of {len(time)} times are missing or negative; must be >= 0")
    if (event < 0).any():
        raise DataError(f"follow-up: {int((event < 0).sum())} of {len(event)} events are unknown; must be 0, 1, 2, ...")
    cell = _cells(time, examples.layout, k)
    happened = (event > 0 if cause is None else event == cause) & (cell < k)
    last = np.minimum(cell, k - 1)
    if examples.entry is None:
        return Spans(start=np.zeros_like(last), stop=last + 1, event=happened, k=k)
    entry = examples.entry
    late = int(np.count_nonzero(~(np.isfinite(entry) & (entry <= time))))
    if late:
        raise DataError(f"follow-up: {late} of {len(entry)} entries are missing or after the end of follow-up")
    opened = _cells(entry, examples.layout, k)
    start = np.where(entry > 0, np.minimum(opened + 1, last), 0)
    return Spans(start=np.where(opened < k, start, k), stop=np.where(opened < k, last + 1, k), event=happened, k=k)


def spans_in(full: Spans, cells: Integers, *, end: Integers) -> Spans:
    """The same rows on a grid of chosen cells (sorted), censored where they reach `end`, a cell of the full grid (n,).

    Cells in which nobody has an event carry no information for Cox regression and are left out that way.
    """
    full = replace(full, stop=np.minimum(full.stop, end), event=full.event & (full.stop <= end))
    stop = np.searchsorted(cells, full.stop, side="left")
    start = np.minimum(np.searchsorted(cells, full.start, side="left"), stop)
    return Spans(start=start, stop=stop, event=full.event & (start < stop), k=len(cells))


def in_strata(rows: Spans, stratum: Integers, n_strata: int) -> Spans:
    """One grid per stratum, behind one another: stratum s has cells s k .. s k + k - 1."""
    shift = stratum * rows.k
    return replace(rows, start=rows.start + shift, stop=rows.stop + shift, k=rows.k * n_strata)


def at_risk_sums(rows: Spans, values: Integers, *, what: str) -> Integers:
    """Sum of `values` over the rows at risk in every cell: (k,) or (k, p) from (n,) or (n, p). Exact."""
    _bound(values, what)
    return _below(rows.start, values, rows.k) - _below(rows.stop, values, rows.k)


def cell_sums(rows: Spans, values: Integers, chosen: NDArray[np.bool_], *, what: str) -> Integers:
    """Sum of `values` over the chosen rows whose span ends in each cell. Exact."""
    _bound(values, what)
    chosen = chosen & (rows.start < rows.stop)
    upto = _below(rows.stop[chosen] - 1, values[chosen], rows.k)
    return np.diff(upto, axis=0, prepend=np.zeros((1, *upto.shape[1:]), dtype=np.int64))


def _cells(time: NDArray[np.float64], layout: Layout, k: int) -> Integers:
    return np.minimum(np.floor(time / layout.resolution), float(k)).astype(np.int64)


def _below(position: Integers, values: Integers, k: int) -> Integers:
    """Sum over rows whose position is at most c, for c = 0 .. k-1."""
    order = np.argsort(position, kind="stable")
    running = np.zeros((len(order) + 1, *values.shape[1:]), dtype=np.int64)
    np.cumsum(values[order], axis=0, out=running[1:])
    found: Integers = running[np.searchsorted(position[order], np.arange(k), side="right")]
    return found


def _bound(values: Integers, what: str) -> None:
    largest = 0 if values.size == 0 else max(abs(int(values.min())), abs(int(values.max())))
    fp.check_total(float(largest), len(values), what=what)
