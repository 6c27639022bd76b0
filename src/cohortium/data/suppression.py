"""What of a count, a sum or a table may be shown: small cells go, and with them what would give them back.

A released count is 0 or at least `min_cell`. In a table with totals the hidden cells are chosen so that no
difference of released numbers gives a count of 1 to `min_cell` - 1 back: every such cell can still take at
least two values, and the hidden cells of a line never add up to a small number themselves. All hidden
cells look alike, so nobody sees which of them is small.

The test is a circulation: rows, columns and their totals are nodes, cells are edges that carry their
counts. A hidden cell can take another value exactly when one unit can be sent round a loop of hidden cells
through it. The loop that hides least is added for each cell that has none. Source: Gusfield 1988, A graph
theoretic approach to statistical data security; Willenborg and de Waal 2001, Elements of Statistical
Disclosure Control. Sums over sites are pooled before they come here. Design: clinical-learning.md 1.6.
"""

from __future__ import annotations

import heapq
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

__all__ = ["HIDDEN", "Policy", "Shown", "rare_columns", "show_count", "show_row", "show_table"]

HIDDEN = -1
"""Stands for a count that is not shown."""

Counts = NDArray[np.int64]
_Loop = list[tuple[int, int]]


@dataclass(frozen=True, kw_only=True)
class Policy:
    """min_cell: smallest count shown. min_sites, min_records: behind any sum. min_carriers: of a 0/1 column."""

    min_cell: int = 5
    min_sites: int = 3
    min_records: int = 50
    min_carriers: int = 15

    def __post_init__(self) -> None:
        for name, least in (("min_cell", 2), ("min_sites", 1), ("min_records", 1), ("min_carriers", 0)):
            if getattr(self, name) < least:
                raise ValueError(f"{name} must be at least {least}, got {getattr(self, name)}")

    def raised(self, min_cell: int) -> Policy:
        """The same with a site's own `min_cell`, which may only raise the study's."""
        return Policy(
            min_cell=max(self.min_cell, min_cell),
            min_sites=self.min_sites,
            min_records=self.min_records,
            min_carriers=self.min_carriers,
        )

    def allows_sum(self, *, n_sites: int, n_records: int) -> bool:
        """Whether a sum over so many sites and records may be shown at all."""
        return n_sites >= self.min_sites and n_records >= self.min_records

    def splits(self, parent: int) -> bool:
        """Whether a cell of a histogram may be refined: it holds at least 2 min_cell."""
        return parent >= 2 * self.min_cell


@dataclass(frozen=True)
class Shown:
    """A table as released. cells (r, c), rows (r,), columns (c,), total: counts, `HIDDEN` where not shown."""

    cells: Counts
    rows: Counts
    columns: Counts
    total: int
    min_cell: int

    def text(self) -> list[list[str]]:
        """Rows of cells with their total at the end, then the line of column totals; `<5` for what is hidden.

        Hidden cells may also be larger: the mark says that the table hides counts below that number.
        """
        whole = _with_totals(self.cells, self.rows, self.columns, self.total)
        return [[_text(int(n), self.min_cell) for n in line] for line in whole]


def show_count(count: int, policy: Policy) -> str:
    """A single count as text: itself, or `<5`."""
    return _text(count if count == 0 or count >= policy.min_cell else HIDDEN, policy.min_cell)


def _text(count: int, min_cell: int) -> str:
    """A shown count, or `<min_cell` for a hidden one."""
    return f"<{min_cell}" if count == HIDDEN else str(count)


def rare_columns(carriers: Counts, present: Counts, policy: Policy) -> NDArray[np.bool_]:
    """0/1 columns with fewer than `min_carriers` ones, or as few zeros: not shown anywhere."""
    return np.asarray(np.minimum(carriers, present - carriers) < policy.min_carriers, dtype=np.bool_)


def show_row(counts: Counts, policy: Policy) -> Counts:
    """Counts that add up to a number everybody knows, with small ones and what gives them back as `HIDDEN`."""
    counts = np.asarray(counts, dtype=np.int64)
    hidden = (counts > 0) & (counts < policy.min_cell)
    while hidden.any() and not hidden.all() and (hidden.sum() == 1 or counts[hidden].sum() < policy.min_cell):
        cost = np.where(hidden, np.iinfo(np.int64).max, _costs(counts))
        hidden[int(np.argmin(cost))] = True
    return np.where(hidden, HIDDEN, counts)


def show_table(cells: Counts | Sequence[Sequence[int]], policy: Policy) -> Shown:
    """The most of a two-way table of counts (r, c), with its totals, that gives no small cell away."""
    counts = np.asarray(cells, dtype=np.int64)
    if counts.ndim != 2 or counts.size == 0 or (counts < 0).any():
        raise ValueError(f"a table of counts must have rows and columns of 0, 1, 2, ..., got shape {counts.shape}")
    whole = _with_totals(counts, counts.sum(axis=1), counts.sum(axis=0), int(counts.sum()))
    hidden = (whole > 0) & (whole < policy.min_cell)
    small = hidden.copy()
    settled = False
    while not settled:
        settled = _hide_small_remainders(whole, hidden, policy.min_cell)
        for row, column in np.argwhere(small):
            if _free_loop(whole, hidden, (int(row), int(column))) is None:
                settled = False
                for one in _cheapest_loop(whole, hidden, (int(row), int(column))):
                    hidden[one] = True
    shown = np.where(hidden, HIDDEN, whole)
    return Shown(shown[:-1, :-1], shown[:-1, -1], shown[-1, :-1], int(shown[-1, -1]), policy.min_cell)


def _with_totals(cells: Counts, rows: Counts, columns: Counts, total: int) -> Counts:
    return np.block([[cells, rows[:, None]], [columns, np.array([[total]])]]).astype(np.int64)


def _hide_small_remainders(whole: Counts, hidden: NDArray[np.bool_], min_cell: int) -> bool:
    """Hide one more cell in every line whose hidden ones have a known small sum. True when there was none."""
    settled = True
    for table, mask in ((whole, hidden), (whole.T, hidden.T)):
        for line, covered in zip(table, mask, strict=True):
            inside = covered[:-1]
            remainder = int(line[:-1][inside].sum())
            if inside.any() and not covered[-1] and 0 < remainder < min_cell:
                settled = False
                cost = np.where(covered, np.iinfo(np.int64).max, _costs(line))
                covered[int(np.argmin(cost))] = True
    return settled


def _costs(counts: Counts) -> Counts:
    """What hiding costs: the patients no longer told of; zeros, which are shown for what they are, cost most."""
    return np.where(counts == 0, int(counts.max()) + 1, counts) + 1


def _free_loop(whole: Counts, hidden: NDArray[np.bool_], cell: tuple[int, int]) -> _Loop | None:
    """A loop of hidden cells round which one unit can be sent through `cell`, up or down; None when fixed."""
    for up in (True, False):
        if up or whole[cell] > 0:
            loop = _search(whole, np.where(hidden, 0, -1), cell, up=up)
            if loop is not None:
                return loop
    return None


def _cheapest_loop(whole: Counts, hidden: NDArray[np.bool_], cell: tuple[int, int]) -> _Loop:
    """The loop through `cell` that hides least; there is one, since every total can grow."""
    loop = _search(whole, np.where(hidden, 0, _costs(whole.reshape(-1)).reshape(whole.shape)), cell, up=True)
    if loop is None:
        raise AssertionError("a table with totals always has a loop through any cell")
    return loop


def _search(whole: Counts, cost: Counts, cell: tuple[int, int], *, up: bool) -> _Loop | None:
    """Dijkstra for the way back from one end of `cell` to the other over cells of cost >= 0.

    Nodes are lines: rows 0..r (r: totals), columns r+1... A cell carries its count from its row to its column,
    a total the other way (both totals: from row to column). Using a cell forwards adds one, backwards takes one,
    which needs a count above 0.
    """
    n_rows, n_columns = whole.shape
    start, goal = _ends(whole, cell)[::-1] if up else _ends(whole, cell)
    best = {start: 0}
    came: dict[int, tuple[int, tuple[int, int]]] = {}
    queue = [(0, start)]
    while queue:
        spent, node = heapq.heappop(queue)
        if node == goal:
            return [cell, *_way(came, start, goal)]
        if spent > best[node]:
            continue
        line = [(node, c) for c in range(n_columns)] if node < n_rows else [(r, node - n_rows) for r in range(n_rows)]
        for one in line:
            if one == cell or cost[one] < 0:
                continue
            tail, head = _ends(whole, one)
            forwards = tail == node
            if not forwards and whole[one] == 0:
                continue
            other = head if forwards else tail
            price = spent + int(cost[one])
            if price < best.get(other, price + 1):
                best[other] = price
                came[other] = (node, one)
                heapq.heappush(queue, (price, other))
    return None


def _ends(whole: Counts, cell: tuple[int, int]) -> tuple[int, int]:
    """(from, to) of a cell's count: row to column inside and for the grand total, column to row for totals."""
    n_rows, n_columns = whole.shape
    row, column = cell[0], n_rows + cell[1]
    is_total = (cell[0] == n_rows - 1) != (cell[1] == n_columns - 1)
    return (column, row) if is_total else (row, column)


def _way(came: dict[int, tuple[int, tuple[int, int]]], start: int, goal: int) -> _Loop:
    way = []
    node = goal
    while node != start:
        node, cell = came[node]
        way.append(cell)
    return way
